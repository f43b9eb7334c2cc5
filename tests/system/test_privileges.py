"""Who acts as whom, where root starts the programs: nobody reads or writes what is another's."""

import base64
import imaplib
import os
import pwd
import re
import shutil
import smtplib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BIN, Site, wait_for_line

RECEIVER, OWNER = "mail", "games"  # users that every Debian has


def can_run_python(user: str) -> bool:
    try:
        return not subprocess.run(
            [sys.executable, "-c", "import mailtools"],
            user=user, group=user, extra_groups=[], check=False, capture_output=True,
        ).returncode  # fmt: skip
    except (OSError, PermissionError, ValueError, KeyError):
        return False


pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not can_run_python(RECEIVER) or not can_run_python(OWNER),
    reason="needs root, and a Python that other users may run",
)


@pytest.fixture
def host() -> Iterator[Site]:
    """A site as an operator lays it out: the queue is one user's, the mailboxes another's."""
    root = Path(tempfile.mkdtemp(prefix="mailtools-"))
    root.chmod(0o755)
    site = Site(root)
    site.set("mailbox-owner", OWNER)
    site.account("bob")
    shutil.chown(site.etc / "accounts", "root", RECEIVER)
    (site.etc / "accounts").chmod(0o640)
    shutil.chown(site.spool, RECEIVER, RECEIVER)
    site.spool.chmod(0o700)
    shutil.chown(site.homes, OWNER, OWNER)
    yield site
    site.stop()
    shutil.rmtree(root)


def owners(folder: Path) -> set[str]:
    return {pwd.getpwuid(path.stat().st_uid).pw_name for path in folder.rglob("*")}


def test_each_program_is_somebody_else(host: Site) -> None:
    host.set("aliases", f'who: "|id -un > {host.root}/told/who"')
    told = host.root / "told"
    told.mkdir()
    told.chmod(0o777)
    receiver = host.start(
        "smtpd-accept", "--listen", "127.0.0.1:0", user=RECEIVER, group=RECEIVER, extra_groups=[]
    )
    match = re.search(r":([0-9]+) ", wait_for_line(receiver, "listening "))
    assert match
    with smtplib.SMTP("127.0.0.1", int(match[1]), timeout=30) as client:
        client.sendmail(
            "a@example.net", ["bob@example.org", "who@example.org"], "Subject: x\n\ny\n"
        )
    assert owners(host.queue) == {RECEIVER}
    result = host.run("queue-run")
    assert result.returncode == 0, result.stderr
    assert len(host.messages("bob")) == 1
    assert owners(host.homes) == {OWNER}
    assert owners(host.queue) == {RECEIVER}
    assert (told / "who").read_text() == "nobody\n"  # an alias of root's runs as nobody


def test_a_reader_becomes_the_owner(host: Site) -> None:
    host.run("local-deliver", "bob@example.org", input=b"Subject: x\n\ny\n")
    host.set("plaintext-login", "yes")
    server = host.listen("imapd")
    with imaplib.IMAP4("127.0.0.1", server.port) as reader:
        reader.login("bob", "secret")
        reader.select()
        assert reader.store("1", "+FLAGS", "\\Seen")[0] == "OK"
        assert reader.create("Sent")[0] == "OK"
        message = b"Subject: sent\r\n\r\n"
        assert reader.append("Sent", "(\\Seen)", "", message)[0] == "OK"
    assert owners(host.homes) == {OWNER}
    assert len(list(host.homes.glob("bob/Maildir/.Sent/cur/*"))) == 1


def test_sendmail_of_root_leaves_nothing_of_roots_in_the_queue(host: Site) -> None:
    host.run("queue-run")
    assert host.run("sendmail", "bob@example.org", input=b"Subject: x\n\ny\n").returncode == 0
    assert len(list((host.queue / "new").iterdir())) == 1
    assert owners(host.queue) == {RECEIVER}
    assert host.run("queue-run").returncode == 0
    assert len(host.messages("bob")) == 1


def test_a_receiver_that_root_starts_becomes_the_queues_owner(host: Site) -> None:
    server = host.listen("smtpd-accept")
    with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client:
        client.sendmail("a@example.net", ["bob@example.org"], "Subject: x\n\ny\n")
    assert owners(host.queue) == {RECEIVER}
    assert host.run("queue-run").returncode == 0
    assert len(host.messages("bob")) == 1


def test_the_queue_is_nobody_elses(host: Site) -> None:
    host.run("queue-run")
    result = subprocess.run(
        [sys.executable, str(BIN / "queue-list")],
        env=host.environ, capture_output=True, check=False,
        user=OWNER, group=OWNER, extra_groups=[],
    )  # fmt: skip
    assert result.returncode not in (0, 1)
    assert b"Traceback" not in result.stderr


def test_what_is_guessed_at_one_server_slows_down_the_others(host: Site) -> None:
    # imapd stays root until somebody has logged in; smtpd-accept is the owner of the spool.
    host.set("proxies", "127.0.0.1")
    host.set("plaintext-login", "yes")
    reader, submission = host.listen("imapd"), host.listen("smtpd-accept", "--submission")
    header = b"PROXY TCP4 192.0.2.7 192.0.2.1 5 143\r\n"
    for number in range(3):
        with socket.create_connection(reader.address, 30) as sock, sock.makefile("rb") as lines:
            sock.sendall(header + b"a LOGIN bob wrong%d\r\n" % number)
            lines.readline()
            assert b"AUTHENTICATIONFAILED" in lines.readline()
    assert owners(host.spool / "accounts") == {RECEIVER}
    for number in range(3, 6):
        said = base64.b64encode(b"\0bob\0wrong%d" % number)
        with socket.create_connection(submission.address, 30) as sock, sock.makefile("rb") as lines:
            sock.sendall(header)
            assert lines.readline().startswith(b"220 ")
            sock.sendall(b"EHLO x\r\n")
            while not lines.readline().startswith(b"250 "):
                pass
            sock.sendall(b"AUTH PLAIN " + said + b"\r\n")
            assert lines.readline().startswith(b"535 ")
    assert len((host.spool / "accounts/throttle/from:192.0.2.7").read_bytes()) == 6
    with socket.create_connection(reader.address, 30) as sock, sock.makefile("rb") as lines:
        sock.sendall(header + b"a LOGIN bob secret\r\n")
        lines.readline()
        assert b"Too many failed logins" in lines.readline()


def test_the_last_use_of_an_app_password_is_the_owners_to_note(host: Site) -> None:
    host.set("plaintext-login", "yes")
    made = host.run("mail-account", "app-password", "add", "bob", "phone")
    reader = host.listen("imapd")
    with imaplib.IMAP4(*reader.address, timeout=30) as imap:
        imap.login("bob", made.stdout.decode().strip().splitlines()[-1])
    assert owners(host.spool / "accounts") == {RECEIVER}
    assert b"imap 127.0.0.1" in host.run("mail-account", "app-password", "list", "bob").stdout
