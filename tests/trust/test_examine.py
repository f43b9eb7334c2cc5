"""A message examined while it arrives, however it is cut."""

import subprocess
import sys

import pytest
from dkim2_signer import instance
from dkim2_signer import sign as sign_dkim2
from hypothesis import given, settings
from hypothesis import strategies as st

from mailtools.errors import BadMessage
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.fields import split_message
from mailtools.net.dns import Answer
from mailtools.trust.arc import Arc, ArcResult
from mailtools.trust.arc_seal import seal
from mailtools.trust.authres import AuthenticationResults
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer, sign
from mailtools.trust.examine import HEADER_MOST, Examination
from mailtools.trust.keys import new_private_key
from mailtools.trust.spf import Spf, SpfResult

NOW = 1_700_000_000
KEY = new_private_key("ed25519")
SIGNER = Signer("example.org", "s", KEY)
PLAIN = b"From: a@example.org\nTo: b@example.net\nSubject: x\n\nHello\n\nthere \n\n"
SPF = SpfResult(Spf.PASS, "example.org")


def lookup(name, rrtype):
    if name == "_dmarc.example.org":
        return Answer(("v=DMARC1; p=reject",))
    return Answer((KEY.record(),) if "_domainkey" in name else ())


def protected():
    header, body = split_message(PLAIN)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    header = sign(header, hashes, [SIGNER], NOW) + header
    results = AuthenticationResults("mx.example.org")
    header = seal(header, hashes, SIGNER, ArcResult(Arc.NONE), results, now=NOW) + header
    return header + b"\n" + body


def examined(message, cuts=(), spf=None):
    examination = Examination()
    last = 0
    for cut in [*sorted(cuts), len(message)]:
        examination.update(message[last:cut])
        last = cut
    return examination.judge(spf, lookup, NOW)


@given(st.data())
@settings(max_examples=60)
def test_any_cut_gives_the_same_verdicts(data):
    message = protected()
    cuts = data.draw(st.lists(st.integers(0, len(message)), max_size=8))
    found = examined(message, cuts)
    assert found == examined(message)
    assert [each.result for each in found.dkim] == ["pass"]
    assert (found.arc.result, found.dmarc.result) == ("pass", "pass")
    assert [each.method for each in found.findings("192.0.2.1")] == ["dkim", "dmarc", "arc"]


def test_spf_alone_may_do():
    assert examined(PLAIN).dmarc.result == "fail"
    found = examined(PLAIN, spf=SPF)
    assert found.dmarc.result == "pass"
    assert [(each.method, each.result) for each in found.findings("192.0.2.1")] == [
        ("dkim", "none"),
        ("dmarc", "pass"),
    ]


@pytest.mark.parametrize("message", [b"", b"\n", b"\nbody", b"From: a@example.org", b"junk\n\n"])
def test_odd_messages_are_judged(message):
    for cuts in ((), range(len(message))):
        assert examined(message, cuts).dkim == ()


def test_a_header_without_end():
    examination = Examination()
    for _ in range(HEADER_MOST // 1000):
        examination.update(b"X: " + b"y" * 996 + b"\n")
    with pytest.raises(BadMessage):
        examination.update(b"X: " + b"y" * 996 + b"\n")


def test_what_was_examined_can_be_signed():
    examination = Examination(signing=True)
    examination.update(PLAIN)
    fields = sign(examination.header, examination.hashes, [SIGNER], NOW)
    assert [each.result for each in examined(fields + PLAIN).dkim] == ["pass"]


# -- DKIM2 ----------------------------------------------------------------------------------------

TO_B = Envelope("a@example.org", (ForwardPath("b@example.net"),))


def in_custody(message=PLAIN):
    """Signed by example.org for b@example.net, who sends it on with another subject and body."""
    signed = sign_dkim2(
        instance(message), {"s": KEY}, "example.org", "a@example.org", ["b@example.net"], t=str(NOW)
    )
    changed = signed.replace(b"Subject: x", b"Subject: y").replace(b"\nthere", b"\nagain\nthere")
    changed = instance(
        changed, {"h": {"subject": [{"d": ["x"]}]}, "b": [{"c": [1, 2]}, {"c": [4, 5]}]}
    )
    return sign_dkim2(
        changed, {"s": KEY}, "example.net", "b@example.net", ["c@example.com"], t=str(NOW)
    )


@given(st.data())
@settings(max_examples=60)
def test_dkim2_in_any_cut(data):
    message = in_custody(protected())
    envelope = Envelope("b@example.net", (ForwardPath("c@example.com"),))
    examination = Examination()
    last = 0
    for cut in [
        *sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=8))),
        len(message),
    ]:
        examination.update(message[last:cut])
        last = cut
    found = examination.judge(None, lookup, NOW, envelope)
    assert found.dkim2 is not None
    assert (found.dkim2.result, found.dkim2.domains) == ("pass", ("example.org", "example.net"))
    told = {each.method: each for each in found.findings("192.0.2.1")}
    assert list(told) == ["dkim", "dkim2", "dmarc", "arc"]
    assert told["dkim2"].properties == (("header.d", "example.org"),)
    assert told["dkim2"].comment == "by way of example.net"


def test_dkim2_is_not_dmarc():
    message = sign_dkim2(
        instance(PLAIN), {"s": KEY}, "example.org", "a@example.org", ["b@example.net"], t=str(NOW)
    )
    examination = Examination()
    examination.update(message)
    found = examination.judge(None, lookup, NOW, TO_B)
    assert found.dkim2 is not None
    assert (found.dkim2.result, found.dmarc.result) == ("pass", "fail")


def test_dkim2_tells_where_it_breaks():
    examination = Examination()
    examination.update(in_custody().replace(b"i=2; m=2; ", b"i=2; m=2; zz=1; "))
    found = examination.judge(None, lookup, NOW)
    (told,) = [each for each in found.findings("192.0.2.1") if each.method == "dkim2"]
    assert (told.result, told.get("header.i")) == ("fail", "2")
    assert told.reason == "DKIM2-Signature i=2 s incorrect signature"


def test_who_has_no_dkim2_pays_nothing_for_it():
    code = (
        "import sys; from mailtools.trust.examine import Examination; e = Examination();"
        "e.update(b'From: a@example.org\\n\\nbody\\n');"
        "print([name for name in sys.modules if 'dkim2' in name or name == 'json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
