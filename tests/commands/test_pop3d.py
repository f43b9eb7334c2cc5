"""pop3d as a process: by hand, under inetd, as a listener; logins, TLS, and what it leaves."""

import os
import poplib
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import BIN, Site

MESSAGE = b"Subject: hello\n\n.a dot\nbye\n"


def put(maildir: Path, *messages: bytes) -> None:
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True, exist_ok=True)
    for number, message in enumerate(messages):
        (maildir / "new" / f"170000000{number}.M1P1R1.h").write_bytes(message)


@pytest.fixture
def maildir(site: Site) -> Path:
    path = site.account("alice", "open sesame")
    put(path, MESSAGE, b"\n")
    return path


# -- by hand --------------------------------------------------------------------------------------


def test_by_hand(site: Site, maildir: Path):
    done = site.run("pop3d", "--maildir", str(maildir), input=b"STAT\r\nDELE 1\nQUIT\r\n")
    assert done.stdout.split(b"\r\n") == [
        b"+OK 2 messages (33 octets)",
        b"+OK 2 33",
        b"+OK Message 1 will be removed at QUIT",
        b"+OK Bye",
        b"",
    ]
    assert done.returncode == 0
    assert len(list((maildir / "new").iterdir())) == 1
    assert b"removed=1" in done.stderr


def test_a_maildir_relative_to_where_we_are(site: Site, maildir: Path):
    # As a checkpassword program leaves it: in the user's home.
    done = site.run("pop3d", "--maildir", "Maildir", input=b"QUIT\r\n", cwd=maildir.parent)
    assert done.stdout == b"+OK 2 messages (33 octets)\r\n+OK Bye\r\n"


def test_no_quit_no_change(site: Site, maildir: Path):
    done = site.run("pop3d", "--maildir", str(maildir), input=b"RETR 1\r\nDELE 1\r\n")
    assert done.returncode == 0
    assert len(list((maildir / "new").iterdir())) == 2


def test_no_such_maildir(site: Site):
    done = site.run("pop3d", "--maildir", "/nonexistent/Maildir")
    assert done.returncode == os.EX_NOINPUT
    assert done.stdout.startswith(b"-ERR [SYS/PERM] ")
    assert b"/nonexistent" not in done.stdout
    assert b"/nonexistent/Maildir" in done.stderr
    assert b"Traceback" not in done.stderr


def test_maildir_and_listen_together_are_wrong_usage(site: Site):
    done = site.run("pop3d", "--maildir", "x", "--listen", "127.0.0.1:0")
    assert done.returncode == os.EX_USAGE


def test_two_at_a_time(site: Site, maildir: Path):
    first = site.start(
        "pop3d", "--maildir", str(maildir), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert first.stdout
    assert first.stdin
    assert first.stdout.readline().startswith(b"+OK 2")
    second = site.run("pop3d", "--maildir", str(maildir))
    assert second.stdout.startswith(b"-ERR [IN-USE] ")
    assert second.returncode == os.EX_TEMPFAIL
    first.kill()
    first.wait()
    assert site.run("pop3d", "--maildir", str(maildir)).stdout.startswith(b"+OK 2")


# -- as inetd has it ------------------------------------------------------------------------------


def inetd(site: Site, *arguments: str, **extra: Any) -> socket.socket:
    """Start pop3d with a connected TCP socket as its descriptors 0 and 1; give our end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), timeout=30)
        theirs, _ = listener.accept()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, str(BIN / "pop3d"), *arguments],
            stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=site.environ, **extra,
        )  # fmt: skip
    site.running.append(process)
    return ours


def test_under_inetd_no_password_without_tls(site: Site, maildir: Path):
    with inetd(site) as sock, sock.makefile("rwb") as talk:
        assert talk.readline() == b"+OK mail.example.org POP3 ready\r\n"
        talk.write(b"USER alice\r\nPASS open sesame\r\nQUIT\r\n")
        talk.flush()
        assert talk.readline().startswith(b"-ERR [AUTH] ")
        assert talk.readline().startswith(b"-ERR ")
        assert talk.readline() == b"+OK Bye\r\n"
        assert talk.readline() == b""


def test_under_inetd_with_plaintext_login(site: Site, maildir: Path):
    site.set("plaintext-login", "yes")
    with inetd(site) as sock, sock.makefile("rwb") as talk:
        talk.write(b"USER alice@example.org\r\nPASS open sesame\r\nRETR 1\r\nQUIT\r\n")
        talk.flush()
        said = talk.read()
    assert said.endswith(
        b"+OK 31 octets\r\nSubject: hello\r\n\r\n..a dot\r\nbye\r\n.\r\n+OK Bye\r\n"
    )


def test_a_broken_control_folder_is_named_and_the_peer_told(site: Site, maildir: Path):
    site.set("plaintext-login", "perhaps")
    done = site.run("pop3d")
    assert done.stdout.startswith(b"-ERR [SYS/TEMP] ")
    assert b"plaintext-login:1" in done.stderr
    assert done.returncode == os.EX_CONFIG


# -- as a listener --------------------------------------------------------------------------------


def client_context(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_a_stranger_reads_and_removes_over_stls(secure_site: Site, authority: Any):
    maildir = secure_site.account("alice", "open sesame")
    put(maildir, MESSAGE, b"\n")
    server = secure_site.listen("pop3d")
    pop = poplib.POP3(*server.address, timeout=30)
    assert "STLS" in pop.capa()
    assert "USER" not in pop.capa()
    pop.stls(client_context(authority))
    assert "PLAIN" in pop.capa()["SASL"]
    pop.user("alice")
    pop.pass_("open sesame")
    assert pop.stat() == (2, 33)
    assert pop.retr(1)[1] == [b"Subject: hello", b"", b".a dot", b"bye"]
    pop.dele(1)
    pop.quit()
    assert [path.name for path in (maildir / "new").iterdir()] == ["1700000001.M1P1R1.h"]
    line = server.log_line("authenticated ")
    assert "proto=pop3 mech=PLAIN tls=TLSv1.3" in line
    assert "open sesame" not in line
    assert "removed=1" in server.log_line("closed ")


def test_implicit_tls(secure_site: Site, authority: Any):
    put(secure_site.account("alice"), MESSAGE)
    server = secure_site.listen("pop3d", "--tls")
    pop = poplib.POP3_SSL(*server.address, timeout=30, context=client_context(authority))
    pop.user("alice")
    pop.pass_("secret")
    assert pop.list()[1] == [b"1 31"]
    pop.quit()


def test_implicit_tls_needs_a_certificate(site: Site):
    done = site.run("pop3d", "--tls")
    assert done.returncode == os.EX_CONFIG
    assert b"tls-certificate" in done.stderr


def test_a_failed_login_is_one_line_for_fail2ban(site: Site, maildir: Path):
    site.set("plaintext-login", "yes")
    server = site.listen("pop3d")
    pop = poplib.POP3(*server.address, timeout=30)
    pop.user("alice")
    with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
        pop.pass_("wrong")
    pop.quit()
    assert server.log_line("auth-failed ") == "auth-failed user=alice rip=127.0.0.1 proto=pop3"


def test_a_new_account_has_an_empty_maildrop(site: Site):
    site.set("plaintext-login", "yes")
    maildir = site.account("carol")
    server = site.listen("pop3d")
    pop = poplib.POP3(*server.address, timeout=30)
    pop.user("carol")
    pop.pass_("secret")
    assert pop.stat() == (0, 0)
    pop.quit()
    assert (maildir / "new").is_dir()


def test_delivery_goes_on_while_the_maildrop_is_locked(site: Site, maildir: Path):
    site.set("plaintext-login", "yes")
    server = site.listen("pop3d")
    pop = poplib.POP3(*server.address, timeout=30)
    pop.user("alice")
    pop.pass_("open sesame")
    put(maildir, MESSAGE, b"\n", b"third\n")
    assert pop.stat()[0] == 2
    pop.quit()
    pop = poplib.POP3(*server.address, timeout=30)
    pop.user("alice")
    pop.pass_("open sesame")
    assert pop.stat()[0] == 3
    pop.quit()


def test_behind_a_proxy_the_client_is_whom_it_says(site: Site, maildir: Path):
    site.set("plaintext-login", "yes")
    site.set("proxies", "127.0.0.0/8")
    server = site.listen("pop3d")
    with socket.create_connection(server.address, timeout=30) as sock:
        sock.sendall(b"PROXY TCP4 192.0.2.9 198.51.100.1 4000 110\r\nUSER alice\r\nPASS x\r\n")
        with sock.makefile("rb") as talk:
            assert talk.readline() == b"+OK mail.example.org POP3 ready\r\n"
    assert "rip=192.0.2.9" in server.log_line("auth-failed ")


def test_a_proxy_that_says_nothing_is_shut_out(site: Site, maildir: Path):
    site.set("proxies", "127.0.0.1")
    server = site.listen("pop3d")
    with socket.create_connection(server.address, timeout=30) as sock:
        sock.sendall(b"USER alice\r\n")
        assert sock.recv(100) == b""
    assert "after=PROXY" in server.log_line("lost ")
