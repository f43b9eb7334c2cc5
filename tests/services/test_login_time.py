"""Who does not log in has his place for a while only: POP3, IMAP, submission."""

import math
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mailtools.net.session import Peer
from mailtools.net.stream import Stream
from mailtools.protocol.smtp.session import Settings
from mailtools.services.access import service as access
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.networks import Networks
from mailtools.services.imap.session import imap_service
from mailtools.services.local.directory import Directory
from mailtools.services.pop3.session import pop3_service
from mailtools.services.reception import service as reception
from mailtools.services.reception.policy import Policy
from mailtools.services.reception.submission import Submission
from mailtools.store.queue import Queue

Serve = Callable[[Stream, Peer], None]
SOON = 0.05  # seconds


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (access, reception):
        monkeypatch.setattr(module, "LOGIN_TIME", SOON)


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    path = tmp_path / "accounts"
    path.write_text(f"bob:{{PLAIN}}secret::::{tmp_path}\n")
    return Accounts(str(path), local_domains=["example.org"])


def submission(accounts: Accounts, tmp_path: Path, relay_clients: Networks) -> Serve:
    directory = Directory("mail.example.org", ["example.org"], accounts)
    rules = Submission(accounts, directory, "example.org")
    queue = Queue(str(tmp_path / "queue"))
    policy = Policy(
        "mail.example.org",
        queue,
        directory,
        accounts,
        relay_clients=relay_clients,
        submission=rules,
        clients_only=True,
        plaintext_login=True,
    )
    settings = Settings("mail.example.org", submission=True, synchronous=False, patience=2 * SOON)
    return reception.SmtpService(policy, settings)


def session(serve: Serve, said: bytes) -> bytes:
    """Say something, and then nothing more; give what the other side says until it ends."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(said)
        serve(Stream(theirs), Peer("192.0.2.7", 4711))
        theirs.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: ours.recv(4096), b""))


def test_pop3_and_imap_end_without_a_login(accounts: Accounts) -> None:
    door = access.Door(accounts, "mail.example.org", plaintext_login=True)
    assert session(pop3_service(door).session, b"CAPA\r\n").startswith(b"+OK")
    assert b"* BYE" in session(imap_service(door, 1000).session, b"a NOOP\r\n")


def test_a_login_lifts_it(accounts: Accounts) -> None:
    peer = Peer("192.0.2.7")
    site = access.Site(accounts, "pop3", Stream(None), peer, lambda account: account)
    assert site.lifetime() == SOON
    bob = accounts.find("bob")
    assert bob
    site.open(bob)
    assert site.lifetime() == math.inf


def test_submission_ends_without_a_login_but_not_for_who_may_relay(
    accounts: Accounts, tmp_path: Path
) -> None:
    ended = session(submission(accounts, tmp_path, Networks()), b"EHLO x.example.com\r\n")
    assert ended.splitlines()[-1].startswith(b"421 4.4.2")
    relayed = session(
        submission(accounts, tmp_path, Networks(["192.0.2.7"])),
        b"EHLO x.example.com\r\nQUIT\r\n",
    )
    assert relayed.splitlines()[-1].startswith(b"221")
