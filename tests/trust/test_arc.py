"""ARC: seals of ours verify, a change breaks them, and only trusted handlers are believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.fields import split_message
from mailtools.net.dns import Answer
from mailtools.trust.arc import read_chain, verify_message_chain
from mailtools.trust.arc_seal import seal
from mailtools.trust.authres import AuthenticationResults, MethodResult
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer
from mailtools.trust.keys import new_private_key

NOW = 1_700_000_000
KEY = new_private_key("ed25519")
MESSAGE = b"From: Alice <alice@example.org>\nTo: list@example.net\nSubject: hi\n\nHello\n"


def lookup(name, rrtype):
    return Answer((KEY.record(),))


def sealed(message, domain, signer_key=KEY, dmarc="pass"):
    """Let `domain` check the chain and add to it."""
    header, body = split_message(message)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    results = AuthenticationResults(
        f"mx.{domain}", (MethodResult("dmarc", dmarc, (("header.from", "example.org"),)),)
    )
    found = verify_message_chain(message, lookup, NOW)
    signer = Signer(domain, "s1", signer_key)
    return seal(header, hashes, signer, found, results, now=NOW) + message


def test_no_chain_is_none():
    assert verify_message_chain(MESSAGE, lookup, NOW).result == "none"


def test_one_seal_after_another():
    message = MESSAGE
    for number in range(1, 5):
        message = sealed(message, f"d{number}.test")
        found = verify_message_chain(message, lookup, NOW)
        assert (found.result, found.oldest_pass) == ("pass", 0), found.problem
        assert [each.seal.domain for each in found.chain.sets] == [
            f"d{n}.test" for n in range(1, number + 1)
        ]


def test_dkimpy_believes_ours():
    dkim = pytest.importorskip("dkim")
    rsa = new_private_key("rsa")
    header, body = split_message(MESSAGE)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    found = verify_message_chain(MESSAGE, lookup, NOW)
    results = AuthenticationResults("mx.test", (MethodResult("spf", "pass"),))
    fields = seal(header, hashes, Signer("d.test", "s", rsa), found, results, now=NOW)
    wire = (fields + MESSAGE).replace(b"\n", b"\r\n")
    status, _, problem = dkim.arc_verify(
        wire, dnsfunc=lambda name, timeout=5: rsa.record().encode()
    )
    assert status == b"pass", problem


def test_we_believe_dkimpy():
    dkim = pytest.importorskip("dkim")
    rsa = new_private_key("rsa")
    wire = b"Authentication-Results: mx.test; spf=pass smtp.mailfrom=a@example.org\r\n" + (
        MESSAGE.replace(b"\n", b"\r\n")
    )
    added = dkim.arc_sign(wire, b"s", b"d.test", rsa.pem(), b"mx.test")
    message = (b"".join(added) + wire).replace(b"\r\n", b"\n")
    found = verify_message_chain(message, lambda name, rrtype: Answer((rsa.record(),)), NOW)
    assert found.result == "pass", found.problem


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Hello", b"Bye"),
        (b"Subject: hi", b"Subject: ho"),
        (b"dmarc=pass", b"dmarc=fail"),
        (b"cv=none", b"cv=pass"),
        (b"mx.d1.test", b"mx.d3.test"),
        (b"ARC-Authentication-Results: i=1", b"ARC-Authentication-Results: i=2"),
        (b"ARC-Seal: i=1", b"X: i=1"),
        (b"mx.d1.test", b"mx.\xff.test"),
        (b"a=ed25519-sha256; t=", b"a=rsa-sha1; t="),
        (b"a=ed25519-sha256;", b"a=rsa-sha1;"),
    ],
)
def test_a_change_breaks_the_chain(old, new):
    message = sealed(sealed(MESSAGE, "d1.test"), "d2.test")
    assert old in message
    found = verify_message_chain(message.replace(old, new), lookup, NOW)
    assert (found.result, bool(found.problem)) == ("fail", True)


def test_a_change_on_the_way_shows_in_the_oldest_pass():
    message = sealed(MESSAGE, "d1.test").replace(b"Hello", b"Hello\n-- \nThe list")
    first = verify_message_chain(message, lookup, NOW)
    assert first.result == "fail"  # nobody vouches for the change yet
    header, body = split_message(message)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    before = verify_message_chain(sealed(MESSAGE, "d1.test"), lookup, NOW)
    fields = seal(
        header, hashes, Signer("d2.test", "s1", KEY), before, AuthenticationResults("x"), now=NOW
    )
    found = verify_message_chain(fields + message, lookup, NOW)
    assert (found.result, found.oldest_pass) == ("pass", 2), found.problem


def test_a_broken_chain_is_sealed_as_broken_and_then_ends():
    message = sealed(MESSAGE, "d1.test").replace(b"dmarc=pass", b"dmarc=fail")
    message = sealed(message, "d2.test")
    assert b"cv=fail" in message
    found = verify_message_chain(message, lookup, NOW)
    assert (found.result, found.chain.ended) == ("fail", True)
    assert sealed(message, "d3.test") == message


def test_trouble_of_dns_fails_the_chain(zone, trouble):
    message = sealed(MESSAGE, "d1.test")
    names = zone({"s1._domainkey.d1.test": {"TXT": trouble}})
    assert verify_message_chain(message, names, NOW).result == "fail"


def test_who_is_believed():
    message = sealed(sealed(MESSAGE, "list.test"), "forwarder.test", dmarc="fail")
    found = verify_message_chain(message, lookup, NOW)
    both = found.believed({"list.test", "forwarder.test"})
    assert both is not None
    assert both.of("dmarc")[0].result == "pass"
    last = found.believed({"forwarder.test"})
    assert last is not None
    assert last.of("dmarc")[0].result == "fail"
    assert found.believed({"list.test"}) is None
    assert found.believed(set()) is None
    assert found.vouches("example.org", {"list.test", "forwarder.test"})
    assert not found.vouches("example.com", {"list.test", "forwarder.test"})
    assert not found.vouches("example.org", {"forwarder.test"})
    assert not found.vouches("example.org", {"list.test"})


def test_what_a_trusted_handler_wrote_may_be_unreadable():
    message = sealed(MESSAGE, "list.test")
    found = verify_message_chain(message, lookup, NOW)
    [only] = found.chain.sets
    garbled = only._replace(payload="((")
    chain = found.chain._replace(sets=(garbled,))
    assert found._replace(chain=chain).believed({"list.test"}) is None


def test_more_than_fifty_sets_fail_quickly():
    message = b"ARC-Seal: i=1\n" * 151 + MESSAGE
    assert verify_message_chain(message, lookup, NOW).result == "fail"
    message = b"ARC-Seal: i=51; cv=none\n" + MESSAGE
    assert verify_message_chain(message, lookup, NOW).result == "fail"


PIECES = st.sampled_from(
    [b"ARC-Seal: ", b"ARC-Message-Signature:", b"ARC-Authentication-Results:", b"i=1;",
     b"i=2;", b"\n",
     b"a=rsa-sha256;", b"b=AAAA;", b"bh=AAAA;", b"cv=none;", b"cv=fail", b"d=a.test;", b"s=s;",
     b"h=from;", b"\xff", b" ", b";", b"x", b"\n "]
)  # fmt: skip


@given(st.lists(PIECES, max_size=40).map(b"".join))
def test_any_header_gives_a_result(header):
    found = verify_message_chain(header + b"\n" + MESSAGE, lookup, NOW)
    assert found.result in ("none", "fail")
    assert found.chain.highest == read_chain(split_message(header + b"\n" + MESSAGE)[0]).highest
