"""A message examined while it arrives, however it is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailtools.errors import BadMessage
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
