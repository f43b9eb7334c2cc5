"""DKIM verified and made: the RFCs' messages, each rule of RFC 6376 6.1, dkimpy as a stranger."""

import base64
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailtools.errors import BadMessage, Misconfigured
from mailtools.mail.fields import split_message
from mailtools.trust.canonical import BodyForm, BodyHashes
from mailtools.trust.dkim import SIGNATURES_MOST, verify_message
from mailtools.trust.dkim_record import parse_key
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer, sign
from mailtools.trust.keys import load_private_key, load_public_key, new_private_key
from mailtools.trust.tags import BadRecord

DATA = Path(__file__).parent / "data"
NOW = 1_700_000_000
KEYS = {
    # RFC 6376 appendix C; RFC 8463 A.2
    "brisbane._domainkey.example.com": "v=DKIM1; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3S"
    "BsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947"
    "qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB",
    "brisbane._domainkey.football.example.com": "v=DKIM1; k=ed25519; "
    "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "test._domainkey.football.example.com": "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBi"
    "QKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8"
    "uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB",
}
RSA = new_private_key("rsa")
ED = new_private_key("ed25519")
MESSAGE = (
    b"Received: from a.test by b.test; Mon, 1 Jan 2024 00:00:00 +0000\n"
    b"From: Alice <alice@example.org>\nTo: bob@example.net\nSubject: a  folded\n\tsubject\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\n\nHello  Bob, \n\n-- \nAlice\n\n\n"
)


def signed(message=MESSAGE, signers=None, now=NOW, lifetime=0):
    """Sign a message with an RSA key at `rsa` and an Ed25519 key at `ed` of example.org."""
    if signers is None:
        signers = [Signer("example.org", "rsa", RSA), Signer("example.org", "ed", ED)]
    header, body = split_message(message)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    return sign(header, hashes, signers, now, lifetime=lifetime) + message


@pytest.fixture
def lookup(zone):
    """DNS with the keys of RFCs and those that `signed` uses; more can be put into `.names`."""
    names = {name: {"TXT": [text]} for name, text in KEYS.items()}
    names["rsa._domainkey.example.org"] = {"TXT": [RSA.record()]}
    names["ed._domainkey.example.org"] = {"TXT": [ED.record()]}
    return zone(names)


def words(results):
    return [result.result for result in results]


@pytest.mark.parametrize(
    ("name", "wanted"), [("rfc6376-a2.eml", ["pass"]), ("rfc8463-a3.eml", ["pass", "pass"])]
)
def test_the_messages_of_the_rfcs(lookup, name, wanted):
    results = verify_message((DATA / name).read_bytes(), lookup, NOW)
    assert words(results) == wanted, results


def test_ours_verify_and_say_who_signed(lookup):
    results = verify_message(signed(), lookup, NOW)
    assert words(results) == ["pass", "pass"], results
    assert [(r.domain, r.selector, r.algorithm, r.bits) for r in results] == [
        ("example.org", "rsa", "rsa-sha256", 2048),
        ("example.org", "ed", "ed25519-sha256", 256),
    ]
    assert results[0].identity == "@example.org"
    value = re.search(rb"\tb=([A-Za-z0-9+/]{8})", signed())
    assert value is not None
    assert results[0].value == value[1].decode()


def test_lines_stay_short(lookup):
    field = split_message(signed())[0].split(b"\nReceived")[0]
    assert max(map(len, field.split(b"\n"))) <= 78


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Hello  Bob", b"Hello Eve"),
        (b"Subject: a", b"Subject: A"),
        (b"\nDate:", b"\nSubject: second\nDate:"),
        (b"\nDate:", b"\nReply-To: eve@example.com\nDate:"),
        (b"\nDate:", b"\nFrom: eve@example.com\nDate:"),
    ],
)
def test_a_change_is_seen(lookup, old, new):
    message = signed()
    assert old in message
    assert words(verify_message(message.replace(old, new, 1), lookup, NOW)) == ["fail", "fail"]


@pytest.mark.parametrize(
    ("name", "result"),
    [("Subject", "policy"), ("to", "policy"), ("Date", "policy"), ("Received", "pass"),
     ("X-Other", "pass"), ("Reply-To", "pass")],  # the last three are not signed, or come often
)  # fmt: skip
def test_a_field_that_somebody_may_have_added_is_no_pass(lookup, name, result):
    message = (DATA / "rfc6376-a2.eml").read_bytes()
    [found] = verify_message(f"{name}: other\n".encode() + message, lookup, NOW)
    assert found.result == result
    assert (f"of 2 {name.title()} fields" in found.problem) == (result == "policy")


def test_what_is_signed_as_often_as_it_stands_there_is_the_signers_own(lookup):
    found = verify_message(signed(b"Subject: one\n" + MESSAGE), lookup, NOW)
    assert words(found) == ["pass", "pass"]


def test_what_relays_may_do_is_not_seen(lookup):
    message = (
        signed()
        .replace(b"Hello  Bob, \n", b"Hello\t Bob,\n")
        .replace(b"a  folded\n\tsubject", b"a folded subject")
    )
    message = b"Received: from c.test\n" + message + b"\n\n"
    assert words(verify_message(message, lookup, NOW)) == ["pass", "pass"]


def test_no_signature_gives_no_result(lookup):
    assert verify_message(MESSAGE, lookup, NOW) == []


def test_ours_verify_with_dkimpy():
    dkim = pytest.importorskip("dkim")
    wire = signed(signers=[Signer("example.org", "rsa", RSA)]).replace(b"\n", b"\r\n")
    assert dkim.verify(wire, dnsfunc=lambda name, timeout=5: RSA.record().encode())


@pytest.mark.parametrize("header_form", [b"simple", b"relaxed"])
@pytest.mark.parametrize("body_form", [b"simple", b"relaxed"])
def test_those_of_dkimpy_verify(lookup, header_form, body_form):
    dkim = pytest.importorskip("dkim")
    wire = MESSAGE.replace(b"\n", b"\r\n")
    field = dkim.sign(
        wire, b"rsa", b"example.org", RSA.pem(), canonicalize=(header_form, body_form)
    )
    message = (field + wire).replace(b"\r\n", b"\n")
    assert words(verify_message(message, lookup, NOW)) == ["pass"]
    message = (b"X: y\r\n" + field + wire).replace(b"\r\n", b"\n") + b"more\n"
    assert words(verify_message(message, lookup, NOW)) == ["fail"]


def test_ed25519_with_dkimpy_both_ways(lookup):
    dkim = pytest.importorskip("dkim")
    pytest.importorskip("nacl")  # dkimpy asks PyNaCl for Ed25519
    from cryptography.hazmat.primitives import serialization as form

    wire = signed(signers=[Signer("example.org", "ed", ED)]).replace(b"\n", b"\r\n")
    assert dkim.verify(wire, dnsfunc=lambda name, timeout=5: ED.record().encode())
    seed = ED.key.private_bytes(form.Encoding.Raw, form.PrivateFormat.Raw, form.NoEncryption())
    wire = MESSAGE.replace(b"\n", b"\r\n")
    field = dkim.sign(
        wire,
        b"ed",
        b"example.org",
        base64.b64encode(seed),
        canonicalize=(b"relaxed", b"simple"),
        signature_algorithm=b"ed25519-sha256",
    )
    message = (field + wire).replace(b"\r\n", b"\n")
    assert words(verify_message(message, lookup, NOW)) == ["pass"]
    assert words(verify_message(message + b"more\n", lookup, NOW)) == ["fail"]


# -- rules that ask for odd signatures: made by hand ----------------------------------------------


def handmade(tags, body=b"Hello\n", key=RSA, text=None):
    """Sign From alone, relaxed, with the tags given or replaced."""
    import hashlib

    digest = base64.b64encode(hashlib.sha256(body.replace(b"\n", b"\r\n")).digest()).decode()
    all_tags = {
        "v": "1", "a": f"{key.kind}-sha256", "c": "relaxed/relaxed", "d": "example.org",
        "s": key.kind[:3].removesuffix("5"), "h": "from", "bh": digest,
    }  # fmt: skip
    all_tags.update(tags)
    unsigned = "; ".join(f"{k}={v}" for k, v in all_tags.items() if v is not None) + "; b="
    covered = f"from:alice@example.org\r\ndkim-signature:{unsigned}".encode()
    value = base64.b64encode(key.sign(hashlib.sha256(covered).digest()))
    head = b"DKIM-Signature: " + unsigned.encode() + value + b"\nFrom: alice@example.org\n\n"
    return head + (body if text is None else text)


def test_the_handmade_one_passes(lookup):
    assert words(verify_message(handmade({}), lookup, NOW)) == ["pass"]


@pytest.mark.parametrize(
    ("tags", "result", "problem"),
    [
        ({"v": "2"}, "permerror", "v="),
        ({"v": None}, "permerror", "v= is missing"),
        ({"a": "rsa-sha1"}, "policy", "rsa-sha1"),
        ({"a": "dsa-sha256"}, "permerror", "a="),
        ({"c": "strict/simple"}, "permerror", "c="),
        ({"h": "to:subject"}, "permerror", "From"),
        ({"h": ""}, "permerror", "h="),
        ({"q": "http"}, "permerror", "q="),
        ({"i": "a@example.com"}, "permerror", "i="),
        ({"i": "a@notexample.org"}, "permerror", "i="),
        ({"i": "a@mail.example.org"}, "pass", ""),
        ({"t": str(NOW - 10), "x": str(NOW - 2000)}, "permerror", "x="),
        ({"t": str(NOW - 9000), "x": str(NOW - 2000)}, "permerror", "expired"),
        ({"x": str(NOW - 100)}, "pass", ""),  # clocks differ
        ({"x": "soon"}, "permerror", "x="),
        ({"l": "6x"}, "permerror", "l="),
        ({"l": "7"}, "pass", ""),
        ({"l": "8"}, "fail", "shorter"),
        ({"s": "missing"}, "permerror", "no key"),
        ({"d": "example..org"}, "permerror", "d="),
        ({"d": "bank.test(.example.org"}, "permerror", "d="),
        ({"s": "rsa;x"}, "permerror", "tag=value"),
        ({"s": "r(sa"}, "permerror", "s="),
        ({"d": "\u2028.org"}, "permerror", "d="),
        ({"i": "example.org"}, "permerror", "i="),
        ({"h": "from:" + "a:" * 2000}, "permerror", "h="),
        ({"h": "from:from:subject"}, "pass", ""),
    ],
)
def test_rules_of_the_field(lookup, tags, result, problem):
    [found] = verify_message(handmade(tags), lookup, NOW)
    assert (found.result, problem in found.problem) == (result, True), found


def test_a_tag_twice_or_a_value_that_is_no_base64(lookup):
    twice = handmade({}).replace(b"v=1;", b"v=1; v=1;", 1)
    assert words(verify_message(twice, lookup, NOW)) == ["permerror"]
    assert words(verify_message(handmade({"bh": "%%"}), lookup, NOW)) == ["permerror"]


def test_text_behind_what_is_signed_is_reported(lookup):
    [found] = verify_message(handmade({"l": "7"}, text=b"Hello\nBuy now\n"), lookup, NOW)
    assert (found.result, "7 of 16 octets" in found.problem) == ("policy", True)


@pytest.mark.parametrize(
    ("record", "result", "problem"),
    [
        ("v=DKIM1; p=", "permerror", "revoked"),
        ("v=DKIM2; p={p}", "permerror", "v="),
        ("p={p}; v=DKIM1", "permerror", "v="),
        ("k=ed25519; p={p}", "permerror", "ed25519"),
        ("h=sha1; p={p}", "permerror", "sha256"),
        ("h=sha1:sha256; p={p}", "pass", ""),
        ("s=tlsrpt; p={p}", "permerror", "not for mail"),
        ("s=tlsrpt:email; p={p}", "pass", ""),
        ("g=; n=x; p={p}", "pass", ""),
        ("p=AAAA", "permerror", "no rsa key"),
        ("p=%", "permerror", "base64"),
        ("nonsense", "permerror", "tag=value"),
        ("k=rsa", "permerror", "p="),
        ("t=s; p={p}", "permerror", "t=s"),
        ("t=y; p={p}", "pass", ""),
    ],
)
def test_rules_of_the_key(lookup, record, result, problem):
    record = record.replace("{p}", RSA.public_text())
    lookup.names["rsa._domainkey.example.org"] = {"TXT": [record]}
    [found] = verify_message(handmade({"i": "@m.example.org"}), lookup, NOW)
    assert (found.result, problem in found.problem) == (result, True), found
    assert found.testing == ("t=y" in record)


def test_a_key_in_testing_makes_a_failure_neutral(lookup):
    lookup.names["rsa._domainkey.example.org"] = {"TXT": [RSA.record() + "; t=y:s"]}
    [found] = verify_message(handmade({}, text=b"changed\n"), lookup, NOW)
    assert (found.result, found.testing) == ("neutral", True)


def test_trouble_of_dns_is_temporary(lookup, trouble):
    lookup.names["rsa._domainkey.example.org"] = {"TXT": trouble}
    assert words(verify_message(handmade({}), lookup, NOW)) == ["temperror"]


def test_a_short_rsa_key_proves_nothing(lookup):
    # 512 bits: RFC 8301 3.2
    record = (
        "k=rsa; p=MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBANmBe10IgY+u7h3enWTukkqtUD5PR52T"
        "b/mPfjC0QJTocVBq6Za/PlzfV+Py92VaCak19F4WrbVTK5Gg5tW220MCAwEAAQ=="
    )
    lookup.names["rsa._domainkey.example.org"] = {"TXT": [record]}
    [found] = verify_message(handmade({}), lookup, NOW)
    assert (found.result, found.bits) == ("policy", 512)


def test_internationalized_domains(lookup):
    lookup.names["rsa._domainkey.xn--bcher-kva.example"] = {"TXT": [RSA.record()]}
    tags = {"d": "bücher.example", "i": "é@xn--bcher-kva.example"}
    [found] = verify_message(handmade(tags), lookup, NOW)
    assert (found.result, found.domain) == ("pass", "xn--bcher-kva.example")


def test_only_so_many_signatures_are_looked_at(lookup):
    message = b"DKIM-Signature: v=1\n" * 1000 + MESSAGE
    results = verify_message(message, lookup, NOW)
    assert len(results) == SIGNATURES_MOST + 1
    assert "not looked at" in results[-1].problem


# -- signing --------------------------------------------------------------------------------------


def test_a_message_without_from_is_not_signed():
    with pytest.raises(BadMessage):
        signed(b"To: a@example.org\n\nHello\n")


def test_a_lifetime_becomes_the_expiry(lookup):
    message = signed(lifetime=3600)
    assert f"x={NOW + 3600}".encode() in message
    assert words(verify_message(message, lookup, NOW + 3601 + 300)) == ["permerror"] * 2


def test_private_keys_are_read_back():
    for key in (RSA, ED):
        again = load_private_key(key.pem())
        assert (again.kind, again.public_text()) == (key.kind, key.public_text())
    for data in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(Misconfigured):
            load_private_key(data)


def test_a_bare_rsa_public_key_is_read():
    # dkimpy's 1024 bit test key as RSAPublicKey, erratum 3017 of RFC 6376
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw = RSA.key.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert load_public_key("rsa", base64.b64encode(raw).decode()).bits == 2048


# -- fuzz -----------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b"v=1", b";", b"=", b"a=rsa-sha256", b"b=", b"bh=", b"AAAA", b"d=example.org", b"s=rsa",
     b"l=3", b"h=from",
     b":", b"\n ", b"\n", b"\xff", b"c=", b"relaxed", b"/", b"t=1", b"x=2", b"i=@", b" "]
)  # fmt: skip
FIELDS = st.lists(PIECES, max_size=30).map(b"".join) | st.binary(max_size=60)


@given(FIELDS, FIELDS)
def test_any_field_and_any_key_give_a_result(field, record):
    from mailtools.net.dns import Answer

    message = b"DKIM-Signature: " + field + b"\n" + handmade({})
    answer = Answer((record.decode("latin-1"),))
    for found in verify_message(message, lambda name, rrtype: answer, NOW):
        assert found.result in ("fail", "permerror", "policy", "neutral")


@given(st.binary(max_size=300) | st.integers(0, 293).map(
    lambda n: (raw := bytearray(base64.b64decode(RSA.public_text()))) and bytes(
        [*raw[:n], raw[n] ^ 1, *raw[n + 1 :]])))  # fmt: skip
@settings(max_examples=200)
def test_any_bytes_as_a_key_are_refused_or_do_not_verify(raw):
    for kind in ("rsa", "ed25519"):
        try:
            key = load_public_key(kind, base64.b64encode(raw).decode())
        except BadRecord:
            continue
        assert not key.verify(b"x" * 256, b"d" * 32)


@given(st.text(max_size=60))
def test_any_text_as_a_key_record(text):
    try:
        record = parse_key(text)
    except BadRecord:
        return
    assert "p" in text
    assert record.key == record.key.strip()


@given(st.binary(max_size=200).map(lambda b: b.replace(b"\r", b"")))
@settings(max_examples=50)
def test_what_is_signed_verifies(body):
    from mailtools.net.dns import Answer

    message = signed(b"From: a@example.org\n\n" + body, signers=[Signer("example.org", "ed", ED)])
    results = verify_message(message, lambda name, rrtype: Answer((ED.record(),)), NOW)
    assert words(results) == ["pass"]


def test_body_forms_are_kept_apart():
    hashes = BodyHashes([BodyForm("simple"), BodyForm("relaxed"), BodyForm("relaxed", 1)])
    hashes.update(b"a  b\n")
    digests = {
        hashes.digest(form)
        for form in (BodyForm("simple"), BodyForm("relaxed"), BodyForm("relaxed", 1))
    }
    assert len(digests) == 3
