"""ARC: seals of ours verify, a change breaks them, and only trusted handlers are believed."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.fields import fields, split_message
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


def of_set(number, key):
    """Find a field of the chain that `two` makes, with its line end."""
    return next(
        field.raw
        for field in fields(two())
        if field.key == key and b"i=%d;" % number in field.raw.partition(b":")[2][:5]
    )


@cache
def two():
    return sealed(sealed(MESSAGE, "d1.test"), "d2.test")


AAR, AMS, SEAL = b"arc-authentication-results", b"arc-message-signature", b"arc-seal"


@pytest.mark.parametrize(
    ("number", "key", "change", "problem"),
    [
        (1, SEAL, lambda raw: b"", "arc-seal with i=1 is missing"),
        (1, AMS, lambda raw: b"", "arc-message-signature with i=1 is missing"),
        (1, AAR, lambda raw: b"", "arc-authentication-results with i=1 is missing"),
        (2, SEAL, lambda raw: b"", "arc-seal with i=2 is missing"),
        (2, SEAL, lambda raw: raw + raw, "two ARC-Seal with i=2"),
        (1, AAR, lambda raw: raw + raw, "two ARC-Authentication-Results with i=1"),
        (2, AMS, lambda raw: raw.replace(b"i=2", b"i=0"), "no number of 1 to 50"),
        (2, AMS, lambda raw: raw.replace(b"i=2", b"i=51"), "no number of 1 to 50"),
        (2, AMS, lambda raw: raw.replace(b"i=2", b"i=02"), "no number of 1 to 50"),
        (2, SEAL, lambda raw: raw.replace(b"i=2;", b""), "no number of 1 to 50"),
        (2, AAR, lambda raw: raw.replace(b"i=2;", b"i=two;"), "no number of 1 to 50"),
        (2, AAR, lambda raw: raw.replace(b"i=2;", b""), "no number of 1 to 50"),
        (2, SEAL, lambda raw: raw.replace(b"i=2", b"i=3"), "is missing"),
        (2, SEAL, lambda raw: raw.replace(b"cv=pass", b"cv=none"), "i=2 says cv=none"),
        (2, SEAL, lambda raw: raw.replace(b"cv=pass", b"cv=fine"), "i=2 says cv=fine"),
        (2, SEAL, lambda raw: raw.replace(b"cv=pass;", b""), "cv= is missing"),
        (2, SEAL, lambda raw: raw.replace(b"cv=pass", b"cv=fail"), "found it broken"),
        (2, SEAL, lambda raw: raw.replace(b"cv=", b"h=from; cv="), "h= is not allowed"),
        (2, SEAL, lambda raw: raw.replace(b"d=d2.test", b"d=d2.test; d=d3.test"), "twice"),
        (2, SEAL, lambda raw: raw.replace(b"d=d2.test", b"d=d2..test"), "d= is no domain"),
        (2, SEAL, lambda raw: raw.replace(b"t=", b"t=x"), "t= is no time"),
        (2, SEAL, lambda raw: raw.replace(b"b=", b"b=!"), "bad base64"),
        (2, SEAL, lambda raw: raw.replace(b"ed25519-sha256", b"rsa-md5"), "no algorithm"),
        (2, AMS, lambda raw: raw.replace(b"bh=", b"x="), "bh= is missing"),
        (2, AMS, lambda raw: raw.replace(b"s=s1", b"x=s1"), "s= is missing"),
        (2, AMS, lambda raw: raw.replace(b"\th=", b"\tl=3; h="), "l= leaves part"),
        (2, AMS, lambda raw: raw.replace(b"\th=", b"\th=arc-seal:"), "h= names arc-seal"),
        (2, AMS, lambda raw: raw.replace(b"relaxed/relaxed", b"nowsp/simple"), "no canonical"),
        (2, AMS, lambda raw: raw.replace(b"relaxed/relaxed", b"simple/simple"), "changed"),
        (2, AAR, lambda raw: raw.replace(b"dmarc", b"spf"), "the seal with i=2"),
        (1, AAR, lambda raw: raw.replace(b"dmarc", b"spf"), "the seal with i=1"),
        (2, AMS, lambda raw: raw.replace(b"s=s1", b"s=s2"), "header was changed"),
    ],
)  # fmt: skip
def test_rules_of_a_set(number, key, change, problem):
    before = of_set(number, key)
    after = change(before)
    assert after != before
    found = verify_message_chain(two().replace(before, after), lookup, NOW)
    assert found.result == "fail"
    assert problem in found.problem


def test_where_the_fields_of_a_chain_stand_is_their_own_affair():
    parts = [of_set(number, key) for number in (1, 2) for key in (SEAL, AAR, AMS)]
    rest = two()
    for part in parts:
        rest = rest.replace(part, b"")
    folded = [part.replace(b"; ", b";\n\t ") if b"Seal" in part else part for part in parts]
    assert folded != parts
    for order in (parts, parts[::-1], parts[1::2] + parts[::2], folded):
        found = verify_message_chain(b"".join(order) + rest, lookup, NOW)
        assert found.result == "pass", found.problem


@pytest.mark.parametrize("record", ["v=DKIM1; k=ed25519; p=", "v=DKIM1; k=rsa; p=x", "none", None])
def test_a_key_that_proves_nothing(zone, record):
    names = {f"s1._domainkey.{name}": {"TXT": [KEY.record()]} for name in ("d1.test", "d2.test")}
    assert verify_message_chain(two(), zone(names), NOW).result == "pass"
    names["s1._domainkey.d1.test"] = {"TXT": [record] if record else []}
    assert verify_message_chain(two(), zone(names), NOW).result == "fail"


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


@pytest.mark.parametrize(
    ("said", "vouched"),
    [("xn--bcher-kva.example", True), ("Bücher.Example", True), ("a@bücher.example", True),
     ("example", False), ("", False), ("..", False)],
)  # fmt: skip
def test_an_author_is_the_same_however_he_is_written(said, vouched):
    header, body = split_message(MESSAGE)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    result = MethodResult("dmarc", "pass", (("header.from", said),))
    before = verify_message_chain(MESSAGE, lookup, NOW)
    results = AuthenticationResults("mx.list.test", (result,))
    fields_ = seal(header, hashes, Signer("list.test", "s1", KEY), before, results, now=NOW)
    found = verify_message_chain(fields_ + MESSAGE, lookup, NOW)
    assert found.vouches("xn--bcher-kva.example", {"list.test"}) is vouched


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
