"""A tag in our reverse-paths: from the message that leaves to the DSN that comes back."""

import os
import smtplib

import pytest
from conftest import Server, Site
from smtpsink import Taker

DSN = """\
From: MAILER-DAEMON@mx.example.net
To: bob@example.org
Subject: failed
Content-Type: multipart/report; boundary=b;
\treport-type="delivery-status"

--b

It failed.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; carol@example.net
Action: failed
Status: 5.1.1
--b--
"""
MDN = DSN.replace("delivery-status", "disposition-notification")
TEXT = "From: MAILER-DAEMON@mx.example.net\nTo: bob@example.org\n\nHi. This is the qmail-send.\n"


@pytest.fixture
def tagging(site: Site) -> Site:
    """bob lives at example.org, whose reverse-paths carry tags."""
    site.account("bob")
    site.set("aliases", "postmaster: bob")
    site.set("checks", "enforce")
    site.set("resolver", "127.0.0.1:1")  # nobody: what DNS does not answer refuses nothing
    site.set("batv-secrets", "new", "old").chmod(0o600)
    return site


def bounced(server: Server, to: str, text: str = DSN, sender: str = "") -> tuple[int, str]:
    """Send a message; give the last reply."""
    with smtplib.SMTP(*server.address, local_hostname="mx.example.net", timeout=60) as smtp:
        smtp.ehlo()
        smtp.mail(sender)
        code, said = smtp.rcpt(to)
        if code == 250:
            code, said = smtp.data(text)
        return code, said.decode()


def test_there_and_back(tagging: Site) -> None:
    with Taker() as taker:
        tagging.set("routes", f":127.0.0.1:{taker.port}")
        message = b"From: bob@example.org\nTo: carol@example.net\n\nHello\n"
        assert tagging.run("sendmail", "-f", "bob@example.org", "carol@example.net",
                           input=message).returncode == os.EX_OK  # fmt: skip
        assert tagging.run("queue-run").returncode == os.EX_OK
    ((sender, paths, text),) = taker.messages
    assert paths == ["carol@example.net"]
    assert b"From: bob@example.org" in text
    assert sender.startswith("prvs=0")
    assert sender.endswith("=bob@example.org")
    server = tagging.listen("smtpd-accept")
    assert bounced(server, sender)[0] == 250
    assert bounced(server, sender.upper())[0] == 250
    # an answer that goes to the reverse-path, as vacation programs write
    assert bounced(server, sender, TEXT, "carol@example.net")[0] == 250
    assert tagging.run("queue-run").returncode == os.EX_OK
    assert sum(b"Action: failed" in each for each in tagging.messages("bob")) == 2
    assert len(tagging.messages("bob")) == 3
    # another secret, and the first one is old now
    tagging.set("batv-secrets", "newest", "new")
    assert bounced(server, sender)[0] == 250
    tagging.set("batv-secrets", "newest")
    assert bounced(server, sender)[0] == 550


def test_a_dsn_for_what_was_never_sent_is_refused(tagging: Site) -> None:
    tagging.set("rejects", "7d")
    server = tagging.listen("smtpd-accept")
    for path in ("bob@example.org", "bob+x@example.org", "prvs=0000000000=bob@example.org"):
        code, said = bounced(server, path)
        assert (code, said[:6]) == (550, "5.7.1 ")
        assert f"was not sent from here: <{path}> lacks the tag" in said
    assert 'reason="a DSN without our tag"' in server.log_line("judged ")
    assert bounced(server, "prvs=0000000000=nobody@example.org")[0] == 550
    assert os.listdir(tagging.queue / "new") == []


@pytest.mark.parametrize(
    ("to", "text", "sender"),
    [
        ("postmaster@example.org", DSN, ""),  # open to everybody
        ("bob@example.org", MDN, ""),  # goes to whom From or another field names
        ("bob@example.org", TEXT, ""),
        ("bob@example.org", DSN, "list@example.net"),  # one that is passed on
        (f"bob+{'x' * 50}@example.org", DSN, ""),  # no room for a tag
    ],
)
def test_what_else_comes_in(tagging: Site, to: str, text: str, sender: str) -> None:
    server = tagging.listen("smtpd-accept")
    assert bounced(server, to, text, sender)[0] == 250


def test_only_what_is_submitted_here_and_ours_gets_a_tag(tagging: Site) -> None:
    tagging.set("relay-domains", "example.net")
    message = b"From: bob@example.org\n\nHello\n"
    senders = ("dave@example.com", "", f"{'x' * 50}@example.org", "SRS0=a=b=c=d@example.org")
    with Taker() as taker:
        tagging.set("routes", f":127.0.0.1:{taker.port}")
        for sender in senders:
            tagging.run("sendmail", "-f", sender or "<>", "carol@example.net", input=message)
        server = tagging.listen("smtpd-accept")
        stranger = "bob@example.org"
        assert bounced(server, "carol@example.net", message.decode(), stranger)[0] == 250
        assert tagging.run("queue-run").returncode == os.EX_OK
    assert {sender for sender, _, _ in taker.messages} == {*senders, stranger}


def test_secrets_that_are_none(tagging: Site) -> None:
    tagging.set("batv-secrets", "# none").chmod(0o600)
    done = tagging.run("smtpd-accept", input=b"QUIT\r\n")
    assert done.returncode == os.EX_CONFIG
    assert b"batv-secrets: holds no secret" in done.stderr
    (tagging.etc / "batv-secrets").chmod(0o644)
    assert b"others can read it" in tagging.run("relay-send", "a@b.test", input=b"\n").stderr
