"""What relay-send puts on top: DKIM signatures and ARC sets, whatever the message's form."""

import re
import time
from dataclasses import dataclass

import pytest

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.fields import split_message
from mailtools.protocol.smtp.offer import Offer
from mailtools.protocol.smtp.transaction import Finish, Message, Transaction, message_of
from mailtools.services.relay.dkim_keys import Keyring
from mailtools.services.relay.signing import Signing
from mailtools.trust.arc import Arc, ArcResult, verify_message_chain
from mailtools.trust.arc_seal import seal
from mailtools.trust.authres import AuthenticationResults, MethodResult, format_authres
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim import verify_message
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer
from mailtools.trust.keys import new_private_key

RSA, ED = new_private_key("rsa"), new_private_key("ed25519")
TEXT = b"Received: x\nFrom: a@example.org\nTo: b@example.net\nSubject: x\n\nHello  you \n\n\n"


@dataclass
class _Answer:
    records: tuple[str, ...]
    exists: bool = True
    secure: bool = False


def lookup(name, rrtype):
    key = RSA if name.startswith("r.") else ED
    assert name in (
        "r._domainkey.example.org",
        "e._domainkey.example.org",
        "e._domainkey.list.test",
    )
    return _Answer((key.record(),))


@pytest.fixture
def etc(tmp_path):
    (tmp_path / "dkim").mkdir()
    for selector, key in (("r", RSA), ("e", ED)):
        path = tmp_path / "dkim" / f"{selector}._domainkey.example.org.pem"
        path.write_bytes(key.pem())
        path.chmod(0o600)
    (tmp_path / "dkim-keys").write_text("example.org e\nexample.org r\n")
    return tmp_path


def envelope(*parameters):
    return Envelope("a@x.test", (ForwardPath("b@example.net"),), dict.fromkeys(parameters, ""))


def finished(signing, message, *parameters):
    finish = signing.finish("id", envelope(*parameters), message)
    return finish(message) if finish else None


def going(message: Message, finish: Finish | None = None) -> Transaction:
    return Transaction("", (ForwardPath("b@example.net"),), message, {}, finish)


def whole(message):
    return b"".join(message.chunks())


def verdicts(text, now=None):
    found = verify_message(text, lookup, int(now or time.time()))
    return [each.result for each in found]


# -- DKIM -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("text", [TEXT, TEXT.partition(b"Hello")[0], b"From: a@example.org\n", b""])
def test_a_message_in_chunks_of_any_size(etc, size, text):
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    message = Message(lambda: chunks, len(text) + text.count(b"\n"))
    signed = finished(Signing(Keyring(str(etc))), message, "SUBMITTED")
    if not text:
        assert signed is None  # no From: nobody could verify it
        return
    assert verdicts(whole(signed)) == ["pass", "pass"]
    assert whole(signed).endswith(text)
    assert signed.size == len(whole(signed).replace(b"\n", b"\r\n"))


def test_who_is_not_signed_for(etc, capfd):
    signing = Signing(Keyring(str(etc)))
    assert finished(signing, message_of(TEXT)) is None
    assert finished(signing, message_of(TEXT.replace(b"org", b"com")), "SUBMITTED") is None
    assert finished(signing, message_of(b"From: b@example.com\n" + TEXT), "SUBMITTED") is None
    assert "unsigned id=id reason=" in capfd.readouterr().err
    (etc / "dkim-keys").unlink()
    assert finished(signing, message_of(TEXT), "SUBMITTED") is None


def test_one_signature_for_each_form_however_many_are_asked(etc, capfd):
    text = TEXT.replace(b"Hello", "Grüße".encode())
    signing, message = Signing(Keyring(str(etc))), message_of(text)
    finish = signing.finish("id", envelope("SUBMITTED"), message)
    able, unable = Offer("new", ["8BITMIME"]), Offer("old", [])
    first = [whole(offer.fitting(going(message, finish))) for offer in (able, unable)]
    again = [whole(offer.fitting(going(message, finish))) for offer in (able, unable)]
    assert first == again
    assert capfd.readouterr().err.count("signed id=id domain=example.org selectors=e,r") == 2
    assert [verdicts(each) for each in first] == [["pass", "pass"]] * 2
    assert not first[0].isascii()
    assert first[1].isascii()
    assert verdicts(first[0].replace("ü".encode(), b"u")) == ["fail", "fail"]


def test_the_limit_of_a_peer_counts_the_signature(etc):
    message = message_of(TEXT)
    finish = Signing(Keyring(str(etc))).finish("id", envelope("SUBMITTED"), message)
    assert Offer("x", [f"SIZE {message.size}"]).fitting(going(message))
    with pytest.raises(Exception, match="octets"):
        Offer("x", [f"SIZE {message.size}"]).fitting(going(message, finish))


def test_a_signature_expires_where_that_is_wanted(etc):
    signed = whole(
        finished(Signing(Keyring(str(etc)), lifetime=3600), message_of(TEXT), "SUBMITTED")
    )
    made, until = re.findall(rb"\bt=([0-9]+);\s*x=([0-9]+)", signed)[0]
    assert int(until) - int(made) == 3600
    assert verdicts(signed) == ["pass", "pass"]
    assert verdicts(signed, time.time() + 7200) == ["permerror", "permerror"]


# -- ARC ------------------------------------------------------------------------------------------


def sealing(etc):
    sealers = ("mail.example.org", "example.com")
    return Signing(Keyring(str(etc)), sealers=sealers, authserv_id="mail.example.org")


def arrived(*found, text=TEXT):
    """A stranger's message as local-deliver sends it on."""
    methods = (MethodResult("spf", "pass", (("smtp.mailfrom", "a@x.test"),)), *found)
    results = format_authres(AuthenticationResults("mail.example.org", methods))
    return b"Delivered-To: team@example.org\n" + results + b"Received: y\n" + text


def from_a_list():
    """A message with a set by list.test."""
    header, body = split_message(TEXT)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    results = AuthenticationResults("list.test", (MethodResult("dmarc", "pass"),))
    signer = Signer("list.test", "e", ED)
    return seal(header, hashes, signer, ArcResult(Arc.NONE), results, now=int(time.time())) + TEXT


def chain_of(message):
    return verify_message_chain(whole(message), lookup, int(time.time()))


def test_a_first_set_is_made_with_the_rsa_key_of_our_domain(etc):
    sealed = finished(sealing(etc), message_of(arrived()))
    found = chain_of(sealed)
    assert (found.result, found.chain.highest) == (Arc.PASS, 1)
    assert found.chain.sets[0].seal.selector == "r"
    assert [each.result for each in found.believed(["example.org"]).of("spf")] == ["pass"]


def test_a_chain_goes_on_or_is_called_broken(etc):
    text = from_a_list()
    sealed = finished(sealing(etc), message_of(arrived(MethodResult("arc", "pass"), text=text)))
    found = chain_of(sealed)
    assert (found.result, found.chain.highest) == (Arc.PASS, 2)
    for verdict in ((MethodResult("arc", "fail"),), ()):
        sealed = finished(sealing(etc), message_of(arrived(*verdict, text=text)))
        assert b"cv=fail" in whole(sealed)
        assert chain_of(sealed).result is Arc.FAIL


def test_what_is_not_sealed(etc):
    signing = sealing(etc)
    assert finished(signing, message_of(arrived().partition(b"\n")[2])) is None  # not sent on
    foreign = arrived().replace(b"mail.example.org;", b"mail.example.net;")
    assert finished(signing, message_of(foreign)) is None
    top, results, received = re.split(rb"(?=Authentication-|Received: y)", arrived())
    forged = top + received.replace(b"Received: y\n", b"Received: y\n" + results)
    assert finished(signing, message_of(forged)) is None
    assert finished(Signing(Keyring(str(etc))), message_of(arrived())) is None
    (etc / "dkim-keys").unlink()
    assert finished(signing, message_of(arrived())) is None
