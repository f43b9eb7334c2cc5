"""imapd as a process: by hand, under inetd, as a listener; logins, TLS, IDLE, what it leaves."""

import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import imap_client
import pytest
from conftest import BIN, Site
from imap_client import Client

from mailtools.protocol.sasl import client as sasl_client
from mailtools.protocol.sasl.wire import decode, encode

MESSAGE = b"Subject: hello\n\nbye\n"


def put(maildir: Path, name: str = "1700000000.M1P1.h") -> None:
    for folder in ("tmp", "new", "cur"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    (maildir / "tmp" / name).write_bytes(MESSAGE)
    (maildir / "tmp" / name).rename(maildir / "new" / name)


@pytest.fixture
def maildir(site: Site) -> Path:
    path = site.account("alice", "open sesame")
    put(path)
    return path


def dial(address: tuple[str, int]) -> Client:
    return imap_client.connected(socket.create_connection(address, 30))


# -- by hand --------------------------------------------------------------------------------------


def test_by_hand(site: Site, maildir: Path) -> None:
    done = site.run(
        "imapd",
        *("--maildir", str(maildir)),
        input=b"a SELECT INBOX\r\nb FETCH 1 BODY[TEXT]\r\nc LOGOUT\r\n",
    )
    assert done.stdout.startswith(b"* PREAUTH [CAPABILITY IMAP4rev1 ")
    assert b"* 1 FETCH (BODY[TEXT] {5}\r\nbye\r\n FLAGS (\\Seen \\Recent))\r\n" in done.stdout
    assert done.stdout.endswith(b"* BYE Logging out\r\nc OK Logout completed\r\n")
    assert done.returncode == 0
    assert done.stderr == b""


def test_a_maildir_relative_to_where_we_are(site: Site, maildir: Path) -> None:
    done = site.run("imapd", "--maildir", "Maildir", input=b"a LOGOUT\r\n", cwd=maildir.parent)
    assert done.returncode == 0


def test_no_maildir_there(site: Site) -> None:
    done = site.run("imapd", "--maildir", "/nowhere")
    assert done.returncode == os.EX_NOINPUT
    assert done.stdout.startswith(b"* BYE [")
    assert b"/nowhere is no Maildir" in done.stderr


def test_the_end_of_input_ends_the_session(site: Site, maildir: Path) -> None:
    done = site.run("imapd", "--maildir", str(maildir), input=b"a APPEND INBOX {90}\r\nSubject: x")
    assert done.returncode == 0
    assert list((maildir / "tmp").iterdir()) == []
    assert len(list((maildir / "new").iterdir())) == 1


@pytest.mark.parametrize("options", [["--listen", "127.0.0.1:0"], ["--tls"]])
def test_a_maildir_is_for_one_connection(site: Site, options: list[str]) -> None:
    assert site.run("imapd", "--maildir", "x", *options).returncode == os.EX_USAGE


def test_every_fault_of_the_control_folder(site: Site) -> None:
    site.set("message-size", "big")
    site.set("plaintext-login", "perhaps")
    done = site.run("imapd")
    assert done.returncode == os.EX_CONFIG
    assert done.stdout.startswith(b"* BYE [")
    assert b"message-size" in done.stderr
    assert b"plaintext-login" in done.stderr


# -- logins ---------------------------------------------------------------------------------------


def test_under_inetd(site: Site, maildir: Path) -> None:
    ours, theirs = socket.socketpair()
    site.start("imapd", stdin=theirs, stdout=theirs)
    theirs.close()
    with imap_client.connected(ours) as client:
        client.ok('LOGIN alice "open sesame"')
        assert b"* 1 EXISTS\r\n* 1 RECENT\r\n" in b"".join(client.ok("SELECT INBOX").untagged)
        client.ok("LOGOUT")


def test_a_login_makes_the_maildir(site: Site) -> None:
    path = site.account("bob")
    done = site.run("imapd", input=b"a LOGIN bob secret\r\nb SELECT INBOX\r\nc LOGOUT\r\n")
    assert b"* 0 EXISTS" in done.stdout
    assert (path / "cur").is_dir()
    assert b"authenticated user=bob proto=imap" in done.stderr
    assert b"closed user=bob proto=imap" in done.stderr


def test_passwords_only_under_tls(secure_site: Site) -> None:
    secure_site.account("alice")
    server = secure_site.listen("imapd")
    with dial(server.address) as client:
        assert b" STARTTLS " in client.greeting
        assert b" LOGINDISABLED]" in client.greeting
        assert b"AUTH=PLAIN" not in client.greeting
        assert client.do("LOGIN alice secret").code == "PRIVACYREQUIRED"
        assert client.do("AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==").code == "PRIVACYREQUIRED"


def test_plaintext_login_where_the_site_allows_it(site: Site) -> None:
    site.account("alice")
    site.set("plaintext-login", "yes")
    server = site.listen("imapd")
    with dial(server.address) as client:
        client.ok("AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==")
        client.ok("LOGOUT")


def test_starttls_drops_what_came_before(secure_site: Site, authority: Any) -> None:
    secure_site.account("alice")
    server = secure_site.listen("imapd")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with socket.create_connection(server.address, 30) as sock:
        sock.recv(4096)
        sock.sendall(b"a STARTTLS\r\nb LOGOUT\r\n")
        assert sock.recv(4096).startswith(b"a OK")
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(b"c LOGIN alice secret\r\n")
            assert tls.recv(4096).startswith(b"c OK [CAPABILITY IMAP4rev1 ")


def test_failed_logins_are_logged(site: Site) -> None:
    site.account("alice")
    done = site.run("imapd", input=b"a LOGIN alice wrong\r\nb LOGIN nobody x\r\nc LOGOUT\r\n")
    assert done.stdout.count(b"NO [AUTHENTICATIONFAILED]") == 2
    assert b"user=alice proto=imap" in done.stderr
    assert b"user=nobody proto=imap" in done.stderr
    assert b"wrong" not in done.stderr


# -- listeners ------------------------------------------------------------------------------------


def test_sessions_side_by_side_and_one_too_many(site: Site) -> None:
    site.account("alice")
    site.set("plaintext-login", "yes")
    server = site.listen("imapd", "--limit", "2")
    with dial(server.address) as one, dial(server.address) as two:
        for client in (one, two):
            client.ok("LOGIN alice secret")
            client.ok("SELECT INBOX")
        one.append("INBOX", b"Subject: x\r\n\r\n")
        assert b"* 1 EXISTS\r\n* 0 RECENT\r\n" in b"".join(two.ok("NOOP").untagged)
        with dial(server.address) as third:
            assert third.greeting.startswith(b"* BYE [UNAVAILABLE]")


def test_mail_is_told_while_idling(site: Site, maildir: Path) -> None:
    command = [sys.executable, str(BIN / "imapd"), "--maildir", str(maildir)]
    with imap_client.piped(command, env=site.environ) as client:
        client.ok("SELECT INBOX")
        tag = client.start("IDLE")
        assert client.response() == b"+ idling\r\n"
        put(maildir, "1700000001.M2P2.h")
        assert client.wait_for(b"* 2 EXISTS") == b"* 2 EXISTS\r\n"
        client.send(b"DONE\r\n")
        assert client.finish(tag).status == "OK"


def test_a_large_message_there_and_back(site: Site, maildir: Path) -> None:
    command = [sys.executable, str(BIN / "imapd"), "--maildir", str(maildir)]
    text = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 300_000
    with imap_client.piped(command, env=site.environ) as client:
        assert client.append("INBOX", text).code.startswith("APPENDUID")
        client.ok("SELECT INBOX")
        assert client.ok("FETCH 2 (RFC822.SIZE BODY.PEEK[])").fetched()[2] == {
            "RFC822.SIZE": b"%d" % len(text),
            "BODY[]": text,
        }
        piece = client.ok("FETCH 2 BODY.PEEK[]<4000001.1000>").fetched()[2]
        assert piece == {"BODY[]<4000001>": text[4000001:4001001]}


def test_scram_needs_no_tls(site: Site) -> None:
    site.account("alice")
    server = site.listen("imapd")
    with dial(server.address) as client:
        assert b"AUTH=SCRAM-SHA-256" in client.greeting
        ours = sasl_client.start("SCRAM-SHA-256", "alice", "secret")
        assert ours.initial is not None
        tag = client.start(f"AUTHENTICATE SCRAM-SHA-256 {encode(ours.initial).decode()}")
        for _ in range(2):
            challenge = client.response()
            assert challenge.startswith(b"+ ")
            client.send(encode(ours.respond(decode(challenge[2:].strip()))) + b"\r\n")
        assert client.finish(tag).status == "OK"
        ours.finish()
        assert client.ok("SELECT INBOX").code == "READ-WRITE"


def test_many_writers_and_a_reader(site: Site, maildir: Path) -> None:
    """Appends, copies, moves and removals side by side: each UID is one message, told once."""
    command = [sys.executable, str(BIN / "imapd"), "--maildir", str(maildir)]
    clients = [imap_client.piped(command, env=site.environ) for _ in range(4)]
    reader, *writers = clients
    reader.ok("SELECT INBOX")
    known = 1
    for number, writer in enumerate(writers):
        writer.ok("SELECT INBOX")
        writer.do(f"CREATE Box{number}")
    for turn in range(10):
        message = f"Subject: {turn}\r\n\r\n".encode()
        head = f"APPEND INBOX {{{len(message)}+}}\r\n".encode()
        tags = [writer.start(head + message) for writer in writers]  # all at once
        codes = [writer.finish(tag) for writer, tag in zip(writers, tags, strict=True)]
        assert len({result.code for result in codes}) == 3
        tags = [
            writer.start(f"UID MOVE {3 * turn + 2 + n} Box{n}") for n, writer in enumerate(writers)
        ]
        assert all(w.finish(tag).status == "OK" for w, tag in zip(writers, tags, strict=True))
        put(maildir, f"180000000{turn}.M1P1.h")
        for line in reader.ok("NOOP").untagged:
            if line.endswith(b" EXPUNGE\r\n"):
                known -= 1
            elif line.endswith(b" EXISTS\r\n"):
                known = int(line.split()[1])
    uids = [int(items["UID"]) for items in reader.ok("FETCH 1:* UID").fetched().values()]
    assert len(uids) == known
    assert uids == sorted(set(uids))
    boxes = reader.ok('LIST "" Box% RETURN (STATUS (MESSAGES))').starting("STATUS")
    kept = sum(int(line.split()[-1].rstrip(b")\r\n")) for line in boxes)
    assert kept + known == 1 + 30 + 10
    for client in clients:
        client.ok("LOGOUT")
        client.close()
