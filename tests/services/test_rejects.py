"""Rejects: who wants them, what is kept of them and for how long, and that nobody hears of it."""

import os
import time
from pathlib import Path

import pytest

from mailtools.mail.envelope import REJECTED, Envelope, ForwardPath
from mailtools.mail.report import DELIVERED
from mailtools.services.access.account_line import Account
from mailtools.services.access.accounts import Accounts
from mailtools.services.agent import Job
from mailtools.services.local.delivery import Local
from mailtools.services.local.directory import Directory
from mailtools.services.local.mailbox import REJECTS_MOST
from mailtools.services.reception.limits import DAY, USUAL, kept_for, limits_of
from mailtools.store.maildir import Maildir
from mailtools.store.queue import Queue
from mailtools.store.quota import Quota

TEXT = b"X-Rejected: 550 5.7.26 no\nFrom: shop@example.net\nSubject: your code\n\n1234\n"


@pytest.mark.parametrize(
    ("field", "usual", "seconds"),
    [
        (None, 0.0, 0.0),
        (None, 5.0, 5.0),
        ("yes", 0.0, USUAL),
        ("YES", 5.0, 5.0),
        ("no", 5.0, 0.0),
        ("3", 5.0, 3 * DAY),
        ("0", 5.0, 0.0),
        ("nonsense", 5.0, 0.0),
    ],
)
def test_who_wants_them(field: str | None, usual: float, seconds: float) -> None:
    fields = {} if field is None else {"rejects": field}
    assert kept_for(Account("bob", -1, -1, "", "", "", fields), usual) == seconds


class Host:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = Queue(f"{root}/queue")
        self.queue.create()
        lines = []
        for name, field in (("bob", "rejects=2"), ("carol", "")):
            (root / name).mkdir()
            lines.append(f"{name}:{{PLAIN}}x::::{root}/{name}::{field}\n")
        (root / "accounts").write_text("".join(lines))
        (root / "aliases").write_text("away: bob@example.net\nboth: bob, carol\n")
        accounts = Accounts(f"{root}/accounts", local_domains=["example.org"])
        self.directory = Directory(
            "mail.example.org", ["example.org"], accounts, aliases=f"{root}/aliases"
        )
        self.local = Local(self.directory, self.queue)

    def reject(self, path: str) -> str:
        """Deliver a message that was refused; give what became of it."""
        writer = self.queue.begin(Envelope("", (ForwardPath(path),), {REJECTED: ""}))
        writer.write(TEXT)
        entry = f"{self.queue.path}/new/{writer.commit()}"
        (report,) = self.local.deliver(Job("7", entry, "", (path,)))
        os.unlink(entry)
        assert report.action == DELIVERED
        return report.text

    def rejects(self, name: str = "bob") -> list[Path]:
        return sorted((self.root / name / "Maildir/.Rejects").glob("new/*"))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() or 1000)
    return Host(tmp_path)


@pytest.mark.parametrize("quota", ["2G,\u00b2", "9" * 5000, "1G," + "9" * 5000, "x"])
def test_a_quota_that_is_none_is_no_traceback(quota: str) -> None:
    assert limits_of(Account("bob", -1, -1, "", "", "", {"quota": quota})) is None


def test_who_wants_them_finds_them_in_a_folder_of_their_own(host: Host) -> None:
    assert "Rejects" in host.reject("bob+shop@example.org")
    (kept,) = host.rejects()
    assert kept.read_bytes().endswith(TEXT)
    assert list((host.root / "bob/Maildir/new").iterdir()) == []


@pytest.mark.parametrize("path", ["carol", "away", "both", "nobody"])
def test_all_else_is_thrown_away_and_nobody_hears_of_it(host: Host, path: str) -> None:
    assert host.reject(f"{path}@example.org").startswith("thrown away")
    assert list(host.queue.new()) == []
    assert host.rejects() == host.rejects("carol") == []


def test_a_users_own_rules_are_not_asked(host: Host) -> None:
    (host.root / "bob/.forward").write_text("elsewhere@example.net\n")
    host.reject("bob@example.org")
    assert len(host.rejects()) == 1
    assert list(host.queue.new()) == []


def test_a_full_mailbox_is_no_reason_to_wait(host: Host) -> None:
    maildir = Maildir(f"{host.root}/bob/Maildir")
    maildir.create()
    Path(maildir.path, "maildirsize").write_text("10S,1C\n9 1\n")
    assert "thrown away" in host.reject("bob@example.org")


def test_only_the_newest_are_kept_and_none_that_is_old(host: Host) -> None:
    for _ in range(3):
        host.reject("bob@example.org")
    old = host.rejects()[0]
    long_ago = int(time.time() - 3 * DAY)
    old.rename(old.with_name(old.name.replace(old.name.split(".")[0], str(long_ago), 1)))
    host.reject("bob@example.org")
    assert len(host.rejects()) == 3
    assert all(int(path.name.split(".")[0]) > long_ago for path in host.rejects())
    for _ in range(REJECTS_MOST):
        host.reject("bob@example.org")
    assert len(host.rejects()) == REJECTS_MOST
    usage = Quota(f"{host.root}/bob/Maildir").recalculate()
    assert usage.messages == REJECTS_MOST


def test_mail_that_is_taken_lets_old_ones_go_too(host: Host) -> None:
    host.reject("bob@example.org")
    (old,) = host.rejects()
    long_ago = int(time.time() - 3 * DAY)
    old.rename(old.with_name(old.name.replace(old.name.split(".")[0], str(long_ago), 1)))
    writer = host.queue.begin(Envelope("a@example.net", (ForwardPath("bob@example.org"),)))
    writer.write(b"Subject: x\n\nx\n")
    entry = f"{host.queue.path}/new/{writer.commit()}"
    list(host.local.deliver(Job("7", entry, "a@example.net", ("bob@example.org",))))
    assert host.rejects() == []
    assert len(list((host.root / "bob/Maildir/new").iterdir())) == 1
