"""MTA-STS, DANE, TLS-Required: what domains and senders want of TLS."""

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import Misconfigured
from mailtools.services.route.certificate import read_der
from mailtools.trust.dane import matches, parse_tlsa, tlsa_name, usable
from mailtools.trust.mta_sts import (
    AGE_MOST,
    Mode,
    StsPolicy,
    format_sts_policy,
    matches_pattern,
    parse_sts_policy,
    parse_sts_record,
    parse_tlsrpt_record,
)
from mailtools.trust.tags import BadRecord
from mailtools.trust.tls_required import tls_wish

# -- MTA-STS --------------------------------------------------------------------------------------

# RFC 8461 3.2
EXAMPLE = (
    b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n"
    b"mx: backupmx.example.com\r\nmax_age: 604800\r\n"
)


def test_the_policy_of_the_rfc():
    policy = parse_sts_policy(EXAMPLE)
    assert policy == StsPolicy(
        Mode.ENFORCE, ("mail.example.com", "*.example.net", "backupmx.example.com"), 604800
    )
    assert policy.matches("Mail.Example.Com.")
    assert policy.matches("a.example.net")
    assert not policy.matches("a.b.example.net")
    assert not policy.matches("example.net")
    assert not policy.matches("mail.example.org")
    assert format_sts_policy(policy) == EXAMPLE


def test_a_policy_as_people_write_it():
    policy = parse_sts_policy(
        b"version:STSv1\n\nmode:   testing  \nmode: none\nx_new: 1\nmx:A.test.\nmax_age:9999999999"
    )
    assert policy == StsPolicy(Mode.TESTING, ("a.test",), AGE_MOST)
    assert parse_sts_policy(b"version: STSv1\nmode: none\nmax_age: 0\n").mx == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"version: STSv2\nmode: none\nmax_age: 1",
        b"mode: none\nmax_age: 1",
        b"version: STSv1\nmode: maybe\nmax_age: 1",
        b"version: STSv1\nmode: none",
        b"version: STSv1\nmode: none\nmax_age: -1",
        b"version: STSv1\nmode: enforce\nmax_age: 1",
        b"version: STSv1\nmode: enforce\nmax_age: 1\nmx: *",
        b"version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.*.test",
        b"version: STSv1\nmode: enforce\nmax_age: 1\nmx: -a.test",
        b"<html>version: STSv1",
        b"version: STSv1\xff",
        b"version: STSv1\n" + b"x: y\n" * 20000,
    ],
)
def test_bad_policies(data):
    with pytest.raises(BadRecord):
        parse_sts_policy(data)


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["other", "v=STSv1;id=1"], "1"),
        (["v=STSv1 ; x=y; id = 2 "], "2"),
        ([], None),
        (["v=STSv10; id=1"], None),
        (["v=STSv1; id=1", "v=STSv1; id=2"], None),
    ],
)
def test_records(records, wanted):
    assert parse_sts_record(records) == wanted


@pytest.mark.parametrize(
    "text", ["v=STSv1", "v=STSv1; id=", "v=STSv1; id=a-b", "v=STSv1; id=" + "1" * 33]
)
def test_bad_records(text):
    with pytest.raises(BadRecord):
        parse_sts_record([text])


def test_where_tls_reports_go():
    text = "v=TLSRPTv1; rua=mailto:a@example.org , https://x.test/y,ftp://z.test"
    assert parse_tlsrpt_record([text]) == ("mailto:a@example.org", "https://x.test/y")
    assert parse_tlsrpt_record(["v=spf1 -all"]) == ()


@given(st.binary(max_size=80) | st.lists(st.sampled_from(EXAMPLE.split(b"\r\n"))).map(b"\n".join))
def test_any_policy_is_read_or_refused(data):
    try:
        policy = parse_sts_policy(data)
    except BadRecord:
        return
    assert policy.mx or policy.mode is Mode.NONE


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_pattern_never_matches_more_than_one_label(pattern, name):
    if matches_pattern("*." + pattern, name):
        assert name.rstrip(".").count(".") == pattern.rstrip(".").count(".") + 1


# -- DANE -----------------------------------------------------------------------------------------

NOW = 1_700_000_000
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "inter", "leaf", "x")}


def certificate(
    subject, issuer, *, ca=False, names=("mx.example.org",), days=(-10, 10), signer=None
):
    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    start = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(KEYS[subject].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start + datetime.timedelta(days=days[0]))
        .not_valid_after(start + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
    )
    if not ca and names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False
        )
    key = KEYS[signer or issuer]
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = builder.sign(key, digest)
    return made.public_bytes(Encoding.DER)


ROOT = certificate("root", "root", ca=True)
INTER = certificate("inter", "root", ca=True)
LEAF = certificate("leaf", "inter")
CHAIN = [LEAF, INTER, ROOT]
NAMES = ["mx.example.org", "example.org"]


def spki(name):
    return KEYS[name].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def matched(text, chain=CHAIN, names=NAMES, now=NOW):
    return matches(usable([text]), chain, names, now)


def test_the_servers_own_key_or_certificate():
    assert matched(f"3 1 1 {sha256(spki('leaf'))}")
    assert matched(f"3 0 1 {sha256(LEAF)}")
    assert matched(f"3 1 2 {hashlib.sha512(spki('leaf')).hexdigest().upper()}")
    assert matched(f"3 1 0 {spki('leaf').hex()}")
    assert not matched(f"3 1 1 {sha256(spki('x'))}")
    assert not matched(f"3 1 1 {sha256(spki('inter'))}")  # EE is the first certificate only


def test_for_the_servers_own_key_names_and_dates_do_not_matter():
    # RFC 7672 3.1.1
    record = f"3 1 1 {sha256(spki('leaf'))}"
    old = certificate("leaf", "inter", names=("other.test",), days=(-20, -10))
    assert matched(record, [old], ["mx.example.org"])


def test_an_authority_in_the_chain():
    for name, der in (("inter", INTER), ("root", ROOT)):
        assert matched(f"2 1 1 {sha256(spki(name))}")
        assert matched(f"2 0 1 {sha256(der)}")
    assert not matched(f"2 1 1 {sha256(spki('x'))}")


def test_an_authority_that_only_dns_has():
    assert matched(f"2 0 0 {ROOT.hex()}", [LEAF, INTER])
    assert matched(f"2 1 0 {spki('root').hex()}", [LEAF, INTER])
    assert not matched(f"2 1 0 {spki('x').hex()}", [LEAF, INTER])
    assert not matched(f"2 1 1 {sha256(spki('root'))}", [LEAF, INTER])  # a digest is no key


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_bare_key_of_other_kinds(kind):
    key = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    KEYS["root"], kept = key, KEYS["root"]
    try:
        inter = certificate("inter", "root", ca=True)
        assert matched(f"2 1 0 {spki('root').hex()}", [LEAF, inter])
    finally:
        KEYS["root"] = kept
    assert not matched(f"2 1 0 {spki('root').hex()}", [LEAF, inter])


def test_an_authority_vouches_for_names_and_dates():
    record = f"2 1 1 {sha256(spki('root'))}"
    assert matched(record, names=["example.org", "mx.example.org"])
    assert not matched(record, names=["mx.example.com"])
    assert not matched(record, now=NOW + 11 * 86400)
    wild = certificate("leaf", "inter", names=("*.example.org",))
    assert matched(record, [wild, INTER, ROOT])
    plain = certificate("leaf", "inter", names=())  # common name only
    assert matched(record, [plain, INTER, ROOT], ["leaf"])


def test_a_chain_that_is_no_chain():
    record = f"2 1 1 {sha256(spki('root'))}"
    forged = certificate("leaf", "inter", signer="x")
    assert not matched(record, [forged, INTER, ROOT])
    no_authority = certificate("inter", "root", ca=False)
    assert not matched(record, [LEAF, no_authority, ROOT])
    assert not matched(record, [LEAF, ROOT])
    assert not matched(record, [])
    assert not matched(record, [b"junk"])
    assert matched(record, [LEAF, b"junk", ROOT, INTER])  # order and litter do not matter


def test_a_certificate_that_cannot_be_read_proves_nothing():
    """With an extension twice: RFC 5280 4.2 forbids it, and anybody can write it."""
    twice = LEAF.replace(b"\x06\x03\x55\x1d\x13", b"\x06\x03\x55\x1d\x11")
    assert twice != LEAF
    assert not matched(f"2 1 1 {sha256(spki('root'))}", [twice, INTER, ROOT])
    assert matched(f"3 0 1 {sha256(twice)}", [twice])  # nothing in it has to be read
    later = LEAF.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1)  # version 10
    assert not matched(f"2 1 1 {sha256(spki('root'))}", [later, INTER, ROOT])
    assert not matched(f"3 1 1 {sha256(spki('leaf'))}", [later])
    for each in (twice, later):
        with pytest.raises(Misconfigured):
            read_der(each)


@pytest.mark.parametrize(
    "text",
    ["", "3 1 1", "3 1 1 zz", "3 1 1 abc", "3 1 1 ab", "0 0 1 " + "ab" * 32, "1 1 1 " + "ab" * 32,
     "3 2 1 " + "ab" * 32, "3 1 3 " + "ab" * 32, "3 1 2 " + "ab" * 32, "256 1 1 " + "ab" * 32]
)  # fmt: skip
def test_unusable_records(text):
    assert parse_tlsa(text) is None
    assert usable([text]) == ()


def test_the_strongest_digest_counts():
    # RFC 7671 9
    weak, strong = f"3 1 1 {sha256(spki('leaf'))}", "3 1 2 " + "00" * 64
    assert [record.matching for record in usable([weak, strong])] == [2]
    assert not matches(usable([weak, strong]), CHAIN, NAMES, NOW)
    other = f"3 0 1 {sha256(LEAF)}"
    assert matches(usable([other, strong]), CHAIN, NAMES, NOW)


def test_where_tlsa_records_are():
    assert tlsa_name("mx.example.org.") == "_25._tcp.mx.example.org"


@given(st.text(alphabet="0123 abz", max_size=40), st.binary(max_size=40))
def test_any_record_and_certificate(text, der):
    assert not matches(usable([text]), [der], NAMES, NOW)


# -- RFC 8689 -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "requiretls", "wish"),
    [
        (b"", False, "default"),
        (b"", True, "required"),
        (b"tls-required: No\n", False, "optional"),
        (b"TLS-Required: no\n", True, "required"),
        (b"TLS-Required: yes\n", False, "default"),
        (b"TLS-Required: no\nTLS-Required: no\n", False, "default"),
    ],
)
def test_what_a_sender_wants(header, requiretls, wish):
    assert tls_wish(header, requiretls=requiretls) == wish
