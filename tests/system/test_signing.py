"""Outgoing mail is signed, forwards keep their worth: the real commands, a DNS server, dkimpy."""

import json
import os
import re
import shutil
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, Site
from dnsserver import DnsServer
from smtpsink import Taker

from mailtools.mail.fields import find, split_message
from mailtools.net.dns import Resolver
from mailtools.trust.arc import Arc, verify_message_chain
from mailtools.trust.dkim import Dkim, verify_message

HTML = (
    "From: Alice <alice@example.org>\nTo: bob@example.net\nSubject: x\nMIME-Version: 1.0\n"
    'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain; charset=utf-8\n'
    "Content-Transfer-Encoding: 8bit\n\nschöne  grüße \n\n--b--\n\n"
)


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer(
        {
            "example.org": {"TXT": ['"v=spf1 -all"']},
            "_dmarc.example.org": {"TXT": ['"v=DMARC1; p=reject"']},
            "bank.test": {"TXT": ['"v=spf1 ip4:192.0.2.7 -all"']},
            "_dmarc.bank.test": {"TXT": ['"v=DMARC1; p=reject"']},
            "plain.test": {"TXT": ['"v=spf1 ip4:192.0.2.7 -all"']},
        }
    ) as server:
        yield server


@pytest.fixture
def signer(site: Site, dns: DnsServer) -> Site:
    """example.org, whose mail is signed by an RSA and an Ed25519 key; team goes to example.net."""
    site.account("alice")
    site.set("aliases", "team: bob@example.net", "postmaster: alice")
    site.set("resolver", dns.at)
    site.set("plaintext-login", "yes")
    site.set("xclient-clients", "127.0.0.1")
    for kind in ("rsa", "ed25519"):
        made = site.run("mail-dkim", "new", "example.org", "--algorithm", kind)
        assert made.returncode == 0, made.stderr
        publish(dns, made.stdout.decode())
    turned = site.run("mail-dkim", "rotate")
    assert turned.stdout.decode().count("signs from now on") == 2, turned
    return site


def publish(dns: DnsServer, line: str) -> None:
    """Put a record as mail-dkim prints it into the zone."""
    name, text = line.strip().split(". IN TXT ")
    dns.zone[name] = {"TXT": [text.strip("()")]}


def wire(text: str) -> bytes:
    return text.encode().replace(b"\n", b"\r\n")


def submit(server: Server, text: str, sender: str = "alice@example.org", **more: str) -> None:
    with smtplib.SMTP(*server.address, timeout=30) as client:
        client.login(more.get("login", "alice"), "secret")
        client.sendmail(sender, ["bob@example.net"], wire(text), ["BODY=8BITMIME"])


@contextmanager
def stranger(server: Server) -> Iterator[smtplib.SMTP]:
    """A client from 192.0.2.7, as a trusted proxy says."""
    with smtplib.SMTP(*server.address, timeout=30) as client:
        client.ehlo()
        client.docmd("XCLIENT", "ADDR=192.0.2.7")
        client.ehlo("mx.plain.test")
        yield client


def relayed(site: Site, taker: Taker, count: int = 1) -> tuple[str, list[str], bytes]:
    """Run the queue until the taker has so many messages; give the last, as LF text."""
    site.set("routes", f":127.0.0.1:{taker.port}")
    for _ in range(2):  # what is sent on is a new entry
        ran = site.run("queue-run")
        assert ran.returncode == 0, ran.stderr
    assert len(taker.messages) == count, ran.stderr.decode()
    sender, paths, text = taker.messages[-1]
    return sender, paths, text.replace(b"\r\n", b"\n")


def results(text: bytes, dns: DnsServer) -> list[tuple[str, str, str]]:
    found = verify_message(text, Resolver(dns.at).lookup, int(time.time()))
    return [(each.result, each.domain, each.algorithm) for each in found]


def answer(dns: DnsServer) -> Any:
    def ask(name: bytes, timeout: int = 5) -> bytes:
        return Resolver(dns.at).lookup(name.decode().rstrip("."), "TXT").records[0].encode()

    return ask


BOTH = [(Dkim.PASS, "example.org", "rsa-sha256"), (Dkim.PASS, "example.org", "ed25519-sha256")]


@pytest.mark.parametrize("offers", [("8BITMIME", "PIPELINING"), ()])
def test_what_is_submitted_verifies_in_the_form_the_peer_takes(
    signer: Site, dns: DnsServer, offers: tuple[str, ...]
) -> None:
    dkim = pytest.importorskip("dkim")
    server = signer.listen("smtpd-accept", "--submission")
    submit(server, HTML)
    with Taker(offers=offers) as taker:
        sender, _, text = relayed(signer, taker)
    header, body = split_message(text)
    assert body.isascii() == (not offers)
    assert sender == "alice@example.org"
    assert results(text, dns) == BOTH
    as_sent = text.replace(b"\n", b"\r\n")
    assert dkim.DKIM(as_sent).verify(idx=0, dnsfunc=answer(dns))
    first = next(find(header, b"DKIM-Signature")).body
    assert b"a=rsa-sha256" in first
    assert re.search(rb"h=from:from:to:to:cc:", re.sub(rb"\s", b"", first))


def test_long_lines_are_signed_as_they_go(signer: Site, dns: DnsServer) -> None:
    dkim = pytest.importorskip("dkim")
    submit(signer.listen("smtpd-accept", "--submission"), HTML + "<p>" + "long " * 500 + "</p>\n")
    with Taker(offers=("8BITMIME", "CHUNKING")) as taker:
        _, _, text = relayed(signer, taker)
    assert max(map(len, text.split(b"\n"))) <= 998
    assert results(text, dns) == BOTH
    assert dkim.DKIM(text.replace(b"\n", b"\r\n")).verify(idx=0, dnsfunc=answer(dns))


def test_a_field_put_in_later_breaks_the_signature(signer: Site, dns: DnsServer) -> None:
    server = signer.listen("smtpd-accept", "--submission")
    submit(server, "From: alice@example.org\nSubject: x\n\nhello\n")
    with Taker() as taker:
        text = relayed(signer, taker)[2]
    assert results(text, dns) == BOTH
    for more in (b"To: eve@example.net\n", b"Subject: y\n", b"From: eve@example.net\n"):
        assert {each[0] for each in results(more + text, dns)} == {Dkim.FAIL}


def test_sendmail_and_bounces_are_signed(signer: Site, dns: DnsServer) -> None:
    signer.set("masquerade", "example.org")
    assert signer.run("sendmail", "-f", "alice", "bob@example.net", input=b"\nhi\n").returncode == 0
    with Taker() as taker:
        text = relayed(signer, taker)[2]
        assert results(text, dns) == BOTH
        signer.set("me", "example.org")
        with stranger(signer.listen("smtpd-accept")) as client:
            signer.set("aliases", "team: bob@example.net", "out: error:5.2.1 gone")
            client.sendmail("a@plain.test", ["alice@example.org"], "From: a@plain.test\n\nx\n")
        (signer.etc / "accounts").write_text("nobody:{PLAIN}x\n")
        sender, paths, text = relayed(signer, taker, 2)
    assert (sender, paths) == ("", ["a@plain.test"])
    assert b"Undelivered" in text
    assert results(text, dns) == BOTH


def test_a_subdomain_is_signed_for_by_the_domain_above_it(signer: Site, dns: DnsServer) -> None:
    with (signer.etc / "accounts").open("a") as file:
        file.write("carol:{PLAIN}secret::::::send-as=*\n")
    server = signer.listen("smtpd-accept", "--submission")
    text = "From: carol@lists.example.org\nSubject: x\n\nhello\n"
    submit(server, text, "carol@lists.example.org", login="carol")
    submit(server, text.replace("lists.example.org", "example.com"), "carol@x.test", login="carol")
    with Taker() as taker:
        relayed(signer, taker, 2)
    signed, foreign = sorted(taker.messages, key=lambda each: each[0])
    assert results(signed[2].replace(b"\r\n", b"\n"), dns) == BOTH
    assert b"DKIM-Signature" not in foreign[2]


def test_mail_waits_for_a_key_that_cannot_be_used(signer: Site, dns: DnsServer) -> None:
    server = signer.listen("smtpd-accept", "--submission")
    submit(server, "From: alice@example.org\n\nhello\n")
    (key,) = (signer.etc / "dkim").glob("*-rsa.*.pem")
    key.chmod(0o644)
    with Taker() as taker:
        signer.set("routes", f":127.0.0.1:{taker.port}")
        ran = signer.run("queue-run").stderr.decode()
        assert f"{key}: others can read it: chmod o= {key}" in ran
        assert "delayed " in ran
        assert "status=4.3.5" in ran
        assert not taker.messages
        key.chmod(0o600)
        signer.run("queue-run", "--id", os.listdir(next((signer.queue / "wait").iterdir()))[0])
        assert len(taker.messages) == 1
    assert results(taker.messages[0][2].replace(b"\r\n", b"\n"), dns) == BOTH


# -- forwards -------------------------------------------------------------------------------------


def forwarded(site: Site, taker: Taker, author: str, *, more: str = "") -> tuple[str, bytes]:
    """Have a stranger write to the alias team; give reverse-path and text as they leave."""
    with stranger(site.listen("smtpd-accept")) as client:
        text = f"{more}From: {author}\nTo: team@example.org\nSubject: x\n\nhello\n"
        client.sendmail(author, ["team@example.org"], text)
    sender, paths, message = relayed(site, taker)
    assert paths == ["bob@example.net"]
    return sender, message


def test_a_stranger_is_not_signed_for_and_srs_brings_bounces_back(signer: Site) -> None:
    signer.set("srs-secrets", "new secret", "old secret").chmod(0o600)
    with Taker() as taker:
        sender, text = forwarded(signer, taker, "a@plain.test")
        assert re.fullmatch(r"SRS0=[^=]{4}=[A-Z2-7]{2}=plain\.test=a@example\.org", sender)
        assert b"DKIM-Signature" not in text
        assert b"ARC-Seal" not in text
        assert b"From: a@plain.test\n" in text
        signer.set("srs-secrets", "newest secret", "new secret")
        with stranger(signer.listen("smtpd-accept")) as client:
            forged = sender.replace("=a@", "=b@")
            assert client.docmd("MAIL", "FROM:<>")[0] == 250
            assert client.docmd("RCPT", f"TO:<{forged}>")[0] == 550
            assert client.docmd("RCPT", f"TO:<{sender.swapcase()}>")[0] == 250
            client.rset()
            client.sendmail("", [sender], "From: MAILER-DAEMON@plain.test\n\nno such user\n")
        back = relayed(signer, taker, 2)
    assert back[:2] == ("", ["a@plain.test"])


def test_a_forged_author_of_ours_is_not_signed(signer: Site) -> None:
    with Taker() as taker:
        _, text = forwarded(signer, taker, "alice@example.org")
    assert b"DKIM-Signature" not in text


def test_a_forward_is_sealed_with_what_was_found(signer: Site, dns: DnsServer) -> None:
    dkim = pytest.importorskip("dkim")
    signer.set("checks", "mark")
    signer.set("arc-seal", "yes")
    forged = "Authentication-Results: mail.example.org; dmarc=pass header.from=bank.test\n"
    with Taker() as taker:
        _, text = forwarded(signer, taker, "a@plain.test", more=forged)
    chain = verify_message_chain(text, Resolver(dns.at).lookup, int(time.time()))
    assert chain.result is Arc.PASS, chain.problem
    found = chain.believed(["example.org"])
    assert found is not None
    assert [each.result for each in found.of("spf")] == ["pass"]
    assert all(each.get("header.from") != "bank.test" for each in found.results)
    status, _, problem = dkim.arc_verify(text.replace(b"\n", b"\r\n"), dnsfunc=answer(dns))
    assert status == b"pass", problem
    assert b"\nDKIM-Signature" not in text


def test_what_its_author_wants_rejected_is_not_sent_on(signer: Site) -> None:
    signer.set("checks", "mark")
    with stranger(signer.listen("smtpd-accept")) as client:
        client.sendmail("a@plain.test", ["team@example.org"], "From: a@bank.test\n\nhello\n")
    with Taker() as taker:
        signer.set("routes", f":127.0.0.1:{taker.port}")
        ran = signer.run("queue-run")
        assert b"status=5.7.26" in ran.stderr
        signer.run("queue-run")
    assert [(sender, paths) for sender, paths, _ in taker.messages] == [("", ["a@plain.test"])]


# -- strangers of opendkim-tools ------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("opendkim-genkey"), reason="needs opendkim-tools")
def test_a_key_of_opendkim_goes_on(site: Site, dns: DnsServer) -> None:
    site.set("resolver", dns.at)
    (site.etc / "dkim").mkdir()
    subprocess.run(
        ["opendkim-genkey", "-b", "2048", "-s", "old", "-d", "example.org", "-D", str(site.root)],
        check=True,
    )
    key = site.etc / "dkim" / "old._domainkey.example.org.pem"
    shutil.copy(site.root / "old.private", key)
    key.chmod(0o600)
    text = "".join(re.findall(r'"([^"]*)"', (site.root / "old.txt").read_text()))
    half = len(text) // 2
    record = f'"{text[:half]}" "{text[half:]}"'
    dns.zone["old._domainkey.example.org"] = {"TXT": [record]}
    site.set("dkim-keys", "example.org old")
    found = site.run("mail-dkim", "check")
    assert found.stdout == b"example.org\told\tsigning\tok\n", found


DNS = f"""
import json, sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from dnsserver import DnsServer
with DnsServer(json.load(open(sys.argv[1])), port=53):
    print("listening", flush=True)
    sys.stdin.read()
"""
IN_A_ROOM = """
set -e
ip link set lo up
mount --bind "$1/resolv.conf" /etc/resolv.conf
mkfifo "$1/end"
"$2" "$1/server.py" "$1/zone.json" <"$1/end" >"$1/dns.log" &
exec 9>"$1/end"
until grep -q listening "$1/dns.log"; do kill -0 $!; done
code=0
opendkim-testmsg 9>&- <"$1/message" || code=$?
exec 9>&-
wait
exit $code
"""


@pytest.mark.skipif(not shutil.which("opendkim-testmsg"), reason="needs opendkim-tools")
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
def test_opendkim_believes_us(signer: Site, dns: DnsServer) -> None:
    """In namespaces of its own, where the system's resolver is our server."""
    server = signer.listen("smtpd-accept", "--submission")
    submit(server, "From: alice@example.org\nTo: bob@example.net\nSubject: x\n\nhello \n\n")
    with Taker() as taker:
        text = relayed(signer, taker)[2]
    room = signer.root / "room"
    room.mkdir()
    (room / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (room / "server.py").write_text(DNS)
    (room / "zone.json").write_text(json.dumps(dns.zone))

    def believed(message: bytes) -> bool:
        (room / "message").write_bytes(message.replace(b"\n", b"\r\n"))
        (room / "end").unlink(missing_ok=True)
        command = ["unshare", "--mount", "--net", "sh", "-c", IN_A_ROOM, "sh"]
        done = subprocess.run(
            [*command, str(room), sys.executable], capture_output=True, timeout=60, check=False
        )
        assert b"Traceback" not in done.stderr, done.stderr
        return done.returncode == 0

    assert believed(text)
    assert not believed(text.replace(b"hello", b"hallo"))
