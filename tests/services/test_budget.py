"""Budgets of submission: a hijacked account stops, its mail is held, postmaster hears once."""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import Server, Site

from mailtools.errors import PolicyRefused
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.services.access.account_line import Account
from mailtools.services.reception import budget as budgets
from mailtools.services.reception.budget import Budget
from mailtools.store.queue import Queue

MESSAGE = "From: alice@example.org\r\nTo: x@example.net\r\nSubject: s\r\n\r\ntext\r\n"


@contextmanager
def login(server: Server, name: str = "alice") -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP(*server.address, timeout=30) as smtp:
        smtp.login(name, "secret")
        yield smtp


@pytest.fixture
def shop(site: Site) -> Site:
    for user in ("alice", "bob"):
        site.account(user)
    site.set("plaintext-login", "yes")
    return site


def held(site: Site, *more: str) -> list[str]:
    result = site.run("queue-list", "--state", "hold", "--ids", *more)
    return result.stdout.decode().split()


def test_what_goes_beyond_is_held_told_once_and_can_be_released(shop: Site) -> None:
    shop.set("user-budget", "3")
    server = shop.listen("smtpd-accept", "--submission")
    with login(server) as smtp:
        smtp.sendmail("alice@example.org", ["a@example.net", "b@example.net"], MESSAGE)
        assert not held(shop)
        for _ in range(3):
            smtp.sendmail("alice@example.org", ["c@example.net", "d@example.net"], MESSAGE)
        smtp.sendmail("alice@example.org", ["e@example.net"], MESSAGE)  # held mail did not count
    line = server.log_line("exceeded ")
    assert "user=alice" in line
    assert "limit=3" in line
    assert "sent=2" in line
    assert "to=2" in line
    with login(server, "bob") as smtp:
        smtp.sendmail("bob@example.org", ["a@example.net"], MESSAGE.replace("alice", "bob"))
    assert len(held(shop, "--from", "alice@example.org")) == 3
    new = [path.read_text() for path in sorted((shop.queue / "new").iterdir())]
    alerts = [text for text in new if "forward-path postmaster@example.org" in text]
    assert len(new) == 4
    assert len(alerts) == 1
    assert "Subject: Mail of alice is held" in alerts[0]
    listing = shop.run("queue-list", "--state", "hold", "--from", "alice@example.org").stdout
    assert shop.run("queue-edit", "release", input=listing).returncode == 0
    assert not held(shop)


def test_a_held_batch_can_be_removed(shop: Site) -> None:
    shop.set("domain-budget", "example.org:1")
    server = shop.listen("smtpd-accept", "--submission")
    for user in ("alice", "bob"):
        with login(server, user) as smtp:
            smtp.sendmail(f"{user}@example.org", ["a@x.test"], MESSAGE.replace("alice", user))
    listing = shop.run("queue-list", "--state", "hold", "--from", "bob@example.org").stdout
    assert listing.count(b"\n") == 1
    assert shop.run("queue-edit", "remove", input=listing).returncode == 0
    assert not held(shop)


def test_a_number_that_is_none_is_a_fault(shop: Site) -> None:
    shop.set("domain-budget", "example.org:many")
    result = shop.run("smtpd-accept", "--submission")
    assert result.returncode == 78
    assert b"'many' is not a whole number" in result.stderr


# -- the rules ------------------------------------------------------------------------------------


def account(name: str, **fields: str) -> Account:
    return Account(name, 1, 1, "", "", fields=fields)


def envelope(recipients: int) -> Envelope:
    return Envelope(
        "a@example.org", tuple(ForwardPath(f"{n}@x.test", {}) for n in range(recipients))
    )


def budget(tmp_path: Path, **rules: object) -> Budget:
    queue = Queue(str(tmp_path / "queue"))
    queue.create()
    return Budget(str(tmp_path / "budget"), queue, "example.org", "mail.test", **rules)  # type: ignore[arg-type]


def test_an_account_may_have_a_budget_of_its_own(tmp_path: Path) -> None:
    rules = budget(tmp_path, user=5)
    assert not rules.hold(account("news", budget="100"), envelope(50), "1")
    assert not rules.hold(account("free", budget="0"), envelope(50), "1")
    assert rules.hold(account("bob"), envelope(6), "1")


def test_domains_count_together_and_each_user_too(tmp_path: Path) -> None:
    rules = budget(tmp_path, user=5, domains={"example.net": 6, "": 4})
    assert not rules.hold(account("a@example.net"), envelope(4), "1")
    assert rules.hold(account("b@example.net"), envelope(3), "1")
    assert not rules.hold(account("b@example.net"), envelope(2), "1")
    assert rules.hold(account("c"), envelope(5), "1")  # example.org: every other domain


def test_an_hour_later_it_can_send_again(tmp_path: Path) -> None:
    now = [1_764_000_000.0]
    rules = budget(tmp_path, user=2, clock=lambda: now[0])
    assert not rules.hold(account("bob"), envelope(2), "1")
    assert rules.hold(account("bob"), envelope(1), "1")
    now[0] += 3601
    assert not rules.hold(account("bob"), envelope(2), "1")


def test_only_so_much_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "HELD_MOST", 2)
    rules = budget(tmp_path, user=1)
    assert rules.hold(account("bob"), envelope(2), "1")
    assert rules.hold(account("bob"), envelope(2), "1")
    with pytest.raises(PolicyRefused) as refused:
        rules.hold(account("bob"), envelope(2), "1")
    assert (refused.value.reply, refused.value.status) == (450, "4.7.1")
