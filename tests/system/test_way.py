"""The way of a message between two hosts: every command, for real.

How hosts find each other by DNS is in test_exchangers.py.
"""

import imaplib
import os
import poplib
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, Site, wait_for_line


@pytest.fixture
def hosts(tmp_path: Path, authority: Any) -> Iterator[tuple[Site, Site]]:
    """example.org, which submits and receives, and example.net, which only receives."""
    made = []
    for name, domain in (("here", "example.org"), ("there", "example.net")):
        root = tmp_path / name
        root.mkdir()
        site = Site(root)
        site.set("me", f"mail.{domain}")
        site.set("locals", domain)
        site.set("routes", "example.net:127.0.0.1:1")  # nobody listens there yet
        site.set("retry-first", "1s")
        site.tls(authority.issue_cert(f"mail.{domain}", "127.0.0.1", "localhost"))
        made.append(site)
    yield made[0], made[1]
    for site in made:
        site.stop()


def client_context(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def exchanger(site: Site, domain: str, sender: Site) -> Server:
    """Start a host's exchanger, where the sender's routes then lead."""
    server = site.listen("smtpd-accept")
    sender.set("routes", f"{domain}:127.0.0.1:{server.port}")
    return server


def submit(server: Server, authority: Any, *recipients: str, text: str = "hello") -> None:
    with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client:
        client.starttls(context=client_context(authority))
        client.login("alice", "secret")
        client.sendmail(
            "alice@example.org", recipients, f"From: alice@example.org\nSubject: {text}\n\n{text}\n"
        )


def log_of(site: Site, *arguments: str) -> str:
    result = site.run("queue-run", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stderr.decode()


def test_from_client_to_client(hosts: tuple[Site, Site], authority: Any) -> None:
    here, there = hosts
    here.account("alice")
    there.account("bob")
    exchanger(there, "example.net", here)
    submission = here.listen("smtpd-accept", "--submission")
    waiting = [site.start("queue-run", "--wait") for site in hosts]
    submit(submission, authority, "bob@example.net")
    assert "client=127.0.0.1" in submission.log_line("queued ")
    assert "to=bob@example.net" in wait_for_line(waiting[0], "relayed ")
    delivered = wait_for_line(waiting[1], "delivered ")
    assert "bob@example.net" in delivered
    (message,) = there.messages("bob")
    header = message.split(b"\n\n")[0].decode()
    assert header.startswith("Return-Path: <alice@example.org>\nDelivered-To: bob@example.net\n")
    assert header.count("Received: ") == 2
    assert "with ESMTPS" in header
    assert "with ESMTPSA" in header

    pop3 = there.listen("pop3d", "--tls")
    mailbox = poplib.POP3_SSL("127.0.0.1", pop3.port, context=client_context(authority), timeout=30)
    mailbox.user("bob")
    mailbox.pass_("secret")
    assert mailbox.stat() == (1, len(message.replace(b"\n", b"\r\n")))
    assert b"\n".join(mailbox.retr(1)[1]) + b"\n" == message
    mailbox.quit()

    imap = there.listen("imapd", "--tls")
    with imaplib.IMAP4_SSL("127.0.0.1", imap.port, ssl_context=client_context(authority)) as reader:
        reader.login("bob", "secret")
        assert reader.select()[1] == [b"1"]  # left on the server
        data: Any = reader.fetch("1", "(BODY[])")[1]
        assert data[0][1] == message.replace(b"\n", b"\r\n")

    mailbox = poplib.POP3_SSL("127.0.0.1", pop3.port, context=client_context(authority), timeout=30)
    mailbox.user("bob")
    mailbox.pass_("secret")
    mailbox.dele(1)
    mailbox.quit()
    assert there.messages("bob") == []


def test_the_sender_is_told_of_a_failure(hosts: tuple[Site, Site], authority: Any) -> None:
    here, there = hosts
    here.account("alice")
    there.account("bob")
    exchanger(there, "example.net", here)
    submission = here.listen("smtpd-accept", "--submission")
    submit(submission, authority, "nobody@example.net", "bob@example.net")
    assert "failed " in log_of(here)
    log_of(here)  # the DSN, where the first run left it
    (dsn,) = here.messages("alice")
    assert dsn.startswith(b"Return-Path: <>\n")
    assert b"multipart/report" in dsn
    assert b"Status: 5.1.1" in dsn
    assert b"Final-Recipient: rfc822; nobody@example.net" in dsn
    log_of(there)
    assert len(there.messages("bob")) == 1
    assert not list((here.queue / "new").iterdir())


def test_a_host_that_is_down_is_tried_again(hosts: tuple[Site, Site], authority: Any) -> None:
    here, there = hosts
    here.account("alice")
    there.account("bob")
    submission = here.listen("smtpd-accept", "--submission")
    submit(submission, authority, "bob@example.net")
    assert "delayed " in log_of(here)
    assert b"bob@example.net" in here.run("mailq").stdout
    exchanger(there, "example.net", here)
    (entry,) = here.run("queue-list", "--ids").stdout.decode().split()
    assert here.run("queue-edit", "retry", entry).returncode == 0
    assert "relayed " in log_of(here)
    log_of(there)
    assert len(there.messages("bob")) == 1
    assert b"empty" in here.run("mailq").stdout


def test_forwards_go_round_and_loops_end(hosts: tuple[Site, Site], authority: Any) -> None:
    here, there = hosts
    here.account("alice")
    here.set("aliases", "friend: ping@example.net")
    there.set("aliases", "ping: pong@example.org")
    exchanger(there, "example.net", here)
    exchanger(here, "example.org", there)
    here.set("aliases", "friend: ping@example.net", "pong: alice")
    submission = here.listen("smtpd-accept", "--submission")
    submit(submission, authority, "friend@example.org", text="far away")
    for site in (here, here, there, there, here):
        log_of(site)
    assert [b"far away" in message for message in here.messages("alice")] == [True]

    here.set("aliases", "pong: ping@example.net")  # now it is a loop
    submit(submission, authority, "pong@example.org", text="loop")
    for _ in range(40):
        log_of(here)
        log_of(there)
        if len(here.messages("alice")) > 1:
            break
    (dsn,) = [message for message in here.messages("alice") if b"far away" not in message]
    assert b"5.4.6" in dsn


@pytest.mark.parametrize(
    "forward_path",
    [
        "<carol@example.com>",
        "<@example.org:carol@example.com>",
        "<@example.org,@mail.example.org:carol@example.com>",
        "<carol%example.com@example.net>",
        '<"carol@example.com"@example.net>',
        '<"carol@example.com">',
        "<carol@example.com@example.net>",
        "<carol!example.com@example.net>",
        "<example.com!carol>",
        "<carol@EXAMPLE.COM>",
        "<bob@example.net.>",
        "<carol@example.com.>",
        "<carol@[192.0.2.1]>",
        "<carol@[IPv6:2001:db8::1]>",
        "<carol@[127.0.0.1]>",
        "<carol@xn--bcher-kva.example>",
        "<carol@localhost>",
        "<carol@.example.net>",
        "<carol>",
        "<>",
        "carol@example.com",
    ],
)
def test_no_form_of_address_makes_an_open_relay(
    hosts: tuple[Site, Site], forward_path: str
) -> None:
    here, there = hosts
    there.account("bob")
    server = exchanger(there, "example.net", here)
    with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client:
        client.ehlo()
        assert client.docmd("MAIL FROM:<alice@example.org>")[0] == 250
        assert 500 <= client.docmd(f"RCPT TO:{forward_path}")[0] < 560
        assert client.docmd("RCPT TO:<bob@example.net>")[0] == 250
    assert not list((there.queue / "new").iterdir())


def test_runs_as_a_plain_user(hosts: tuple[Site, Site]) -> None:
    here, _ = hosts
    here.account("bob")
    if os.geteuid() == 0:
        for folder in (here.root, here.etc, here.spool, here.homes):
            os.chown(folder, 65534, 65534)
        for path in here.etc.iterdir():
            os.chown(path, 65534, 65534)
        for parent in here.root.parents:
            if parent.stat().st_mode & 0o005 != 0o005:
                pytest.skip("nobody may not enter the folder of the tests")
    message = b"Subject: no root\n\nneeded\n"
    user = {"user": 65534, "group": 65534} if os.geteuid() == 0 else {}
    assert here.run("sendmail", "bob@example.org", input=message, **user).returncode == 0
    result = here.run("queue-run", **user)
    assert result.returncode == 0, result.stderr
    assert len(here.messages("bob")) == 1
