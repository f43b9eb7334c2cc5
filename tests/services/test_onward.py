"""What is sent on: reverse-paths of ours and back again, and what is not sent on at all."""

import time

import pytest

from mailtools.errors import BadAddress, Misconfigured, PolicyRefused
from mailtools.mail.address import parse_address
from mailtools.services.local.onward import Onward
from mailtools.services.local.srs import Srs
from mailtools.trust.srs import srs_forward

FORBIDDEN = (
    b"Delivered-To: bob@example.org\nAuthentication-Results: mx.example.org;\n"
    b"\tdmarc=fail header.from=bank.test policy.dmarc=reject\nReceived: x\nFrom: a@bank.test\n"
)


@pytest.fixture
def secrets(tmp_path):
    path = tmp_path / "srs-secrets"
    path.write_text("# the newest first\nnew\n\nold\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def srs(secrets):
    return Srs(str(secrets), "example.org")


@pytest.fixture
def onward(srs):
    return Onward(lambda domain: domain == "example.org", srs=srs, authserv_id="mx.example.org")


def test_there_and_back(srs):
    sent = srs.forward("Alice.B+x@example.net")
    assert sent.startswith("SRS0=")
    assert sent.endswith("=example.net=Alice.B+x@example.org")
    assert str(srs.reverse(parse_address(sent))) == "Alice.B+x@example.net"
    again = srs.forward(sent.replace("@example.org", "@first.test"))
    assert again.startswith("SRS1=")
    assert str(srs.reverse(parse_address(again))) == sent.replace("@example.org", "@first.test")


def test_a_secret_is_replaced_and_read_again(srs, secrets):
    sent = parse_address(srs.forward("alice@example.net"))
    secrets.write_text("newest\nnew\n")
    assert srs.reverse(sent)
    assert srs.forward("alice@example.net") != str(sent)
    secrets.write_text("newest\n")
    with pytest.raises(BadAddress):
        srs.reverse(sent)


def test_what_is_no_address_of_ours(srs):
    assert srs.reverse(parse_address("bob@example.org")) is None
    assert srs.reverse(parse_address("srs0bob@example.org")) is None
    assert srs.reverse(parse_address(srs.forward("a@b.test").replace("example.org", "c.test"))) is (
        None
    )
    with pytest.raises(BadAddress):
        srs.reverse(parse_address("SRS0=AAAA=BB=b.test=a@example.org"))


def test_an_old_address_has_expired(srs):
    now = int(time.time())
    for days, good in ((20, True), (23, False)):
        old = srs_forward(parse_address("a@b.test"), "example.org", b"old", now - days * 86400)
        if good:
            assert srs.reverse(old)
        else:
            with pytest.raises(BadAddress):
                srs.reverse(old)


def test_what_cannot_be_rewritten_stays(srs):
    for path in (
        "alice@[192.0.2.1]",
        f"{'a' * 64}@{'.'.join(['b' * 50] * 4)}.test",
        "not an address",
    ):
        assert srs.forward(path) == path
    long = srs.forward(f"{'a' * 64}@b.test")  # beyond 64 octets, and read again all the same
    assert str(srs.reverse(parse_address(long))) == f"{'a' * 64}@b.test"
    quoted = srs.forward('"a b"@b.test')
    assert str(srs.reverse(parse_address(quoted))) == '"a b"@b.test'


def test_secrets_of_others_and_none(secrets):
    secrets.chmod(0o644)
    with pytest.raises(Misconfigured):
        Srs(str(secrets), "example.org")
    secrets.chmod(0o600)
    secrets.write_text("# none\n")
    with pytest.raises(Misconfigured):
        Srs(str(secrets), "example.org")


def test_whose_reverse_path_is_rewritten(onward):
    assert onward.reverse_path("a@b.test", {}).startswith("SRS0=")
    assert onward.reverse_path("", {}) == ""
    assert onward.reverse_path("bob@example.org", {}) == "bob@example.org"
    assert onward.reverse_path("a@b.test", {"SUBMITTED": ""}) == "a@b.test"
    assert Onward(lambda _: False).reverse_path("a@b.test", {}) == "a@b.test"


def test_what_may_not_be_sent_on(onward):
    onward.check(FORBIDDEN, ["carol@example.org"])  # it stays here
    onward.check(FORBIDDEN.replace(b"=reject", b"=none"), ["carol@c.test"])
    with pytest.raises(PolicyRefused) as caught:
        onward.check(FORBIDDEN, ["carol@example.org", "carol@c.test"])
    assert caught.value.status == "5.7.26"
    assert "carol@c.test" in caught.value.text
    assert "carol@example.org" not in caught.value.text
