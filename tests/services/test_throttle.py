"""Who guesses waits; who does not, does not."""

import os
import re

import pytest

from mailtools.errors import AuthTrouble, BadCredentials
from mailtools.protocol.sasl import client as sasl_client
from mailtools.protocol.sasl import server as sasl
from mailtools.services.access import passwords
from mailtools.services.access import throttle as module
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.login import Login
from mailtools.services.access.throttle import FREE_FROM, FREE_USER, Throttle

THERE, ELSEWHERE = "192.0.2.7", "198.51.100.9"


class Clock:
    """The time, as the test says; files that are written get it too."""

    def __init__(self, monkeypatch, folder):
        self.now, self.folder = 1_800_000_000.0, folder
        monkeypatch.setattr(module.time, "time", lambda: self.now)
        append = module.disk.append

        def stamped(path, data, **extra):
            append(path, data, **extra)
            os.utime(path, (self.now, self.now))

        monkeypatch.setattr(module.disk, "append", stamped)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "throttle"


@pytest.fixture
def clock(monkeypatch, folder):
    return Clock(monkeypatch, folder)


@pytest.fixture
def throttle(folder, clock):
    return Throttle(str(folder))


def wait(throttle, login="bob", address=THERE):
    """Seconds this peer is told to wait; 0 for none."""
    try:
        throttle.check(login, address)
    except AuthTrouble as trouble:
        return int(re.search(r"([0-9]+) seconds", trouble.text)[1])
    return 0


def guess(throttle, count, start=0, login="bob", address=THERE):
    for number in range(start, start + count):
        throttle.failed(login, address, None if number % 2 else f"guess {number}")


@pytest.fixture(autouse=True)
def marks(monkeypatch):
    """Each attempt another octet, so that counts are exact."""
    seen = {}
    monkeypatch.setattr(
        module,
        "_mark",
        lambda login, tried: bytes([seen.setdefault((login, tried or object()), len(seen)) % 256]),
    )


def test_the_wait_doubles_after_the_free_failures(throttle, clock):
    guess(throttle, FREE_FROM)
    assert wait(throttle) == 0
    waits = []
    for number in range(12):
        guess(throttle, 1, 100 + 2 * number)
        waits.append(wait(throttle) - 1)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    clock.now += 899
    assert wait(throttle) > 0
    clock.now += 2
    assert wait(throttle) == 0


def test_an_address_waits_for_every_login_and_others_do_not(throttle):
    guess(throttle, FREE_FROM + 3)
    assert wait(throttle, "carol") > 0
    assert wait(throttle, "bob", ELSEWHERE) == 0
    assert wait(throttle, "bob", "") == 0


def test_ipv6_counts_by_network(throttle):
    for number in range(FREE_FROM + 2):
        throttle.failed("bob", f"2001:db8::{number + 1:x}", f"guess {number}")
    assert wait(throttle, "bob", "2001:db8::ffff") > 0
    assert wait(throttle, "bob", "2001:db8:0:1::1") == 0


def test_a_login_guessed_from_everywhere_waits_but_not_where_it_is_at_home(throttle):
    throttle.succeeded("bob", ELSEWHERE)
    for number in range(FREE_USER + 3):
        throttle.failed("bob", f"203.0.113.{number}", f"guess {number}")
    assert wait(throttle, "bob", THERE) > 0
    assert wait(throttle, "BOB", ELSEWHERE) == 0
    assert wait(throttle, "carol", THERE) == 0


def test_the_same_wrong_password_counts_once(throttle):
    for _ in range(50):
        throttle.failed("bob", THERE, "old one")
    assert wait(throttle) == 0


def test_success_forgives_the_address(throttle):
    guess(throttle, FREE_FROM + 3)
    throttle.succeeded("bob", THERE)
    assert wait(throttle) == 0


def test_an_hour_of_peace_forgets(throttle, clock):
    guess(throttle, FREE_FROM + 20)
    clock.now += 3601
    assert wait(throttle) == 0
    guess(throttle, 1, 1000)
    assert wait(throttle) == 0


def test_this_host_is_never_slowed_down(throttle, folder):
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        guess(throttle, 50, address=address)
        assert wait(throttle, address=address) == 0
    assert not folder.exists()


def test_odd_logins_make_plain_file_names(throttle, folder):
    throttle.failed("../../etc/passwd\0\n" + "x" * 500, THERE, "x")
    assert len(list(folder.glob("*:?*"))) == 2
    assert all(len(path.name) <= 200 for path in folder.iterdir())
    assert not any("/" in path.name or path.name.startswith(".") for path in folder.iterdir())


def test_a_folder_that_cannot_be_keeps_nobody_out(tmp_path):
    (tmp_path / "file").write_text("")
    throttle = Throttle(str(tmp_path / "file"))
    guess(throttle, 50)
    throttle.succeeded("bob", THERE)
    assert wait(throttle) == 0
    assert wait(Throttle("")) == 0


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_a_guesser_is_stopped_even_with_the_right_password(tmp_path, mechanism, capfd):
    (tmp_path / "accounts").write_text(f"bob:{passwords.make('secret', 'SCRAM-SHA-256')}\n")
    accounts = Accounts(str(tmp_path / "accounts"), state=str(tmp_path))

    def attempt(password):
        login = Login(accounts, service="imap", address=THERE)
        exchange = sasl.start(mechanism, login)
        client = sasl_client.start(mechanism, "bob", password)
        challenge = exchange.respond(client.initial)
        while challenge is not None:
            challenge = exchange.respond(client.respond(challenge))

    attempt("secret")
    for number in range(FREE_FROM + 2):
        with pytest.raises(BadCredentials):
            attempt(f"guess {number}")
        os.utime(tmp_path / "throttle" / f"from:{THERE}")
        if number < FREE_FROM:
            continue
        with pytest.raises(AuthTrouble):
            attempt("secret")
        os.utime(tmp_path / "throttle" / f"from:{THERE}", (1, module.time.time() - 60))
    attempt("secret")
    assert "auth-delayed user=bob rip=192.0.2.7 proto=imap reason=" in capfd.readouterr().err


def test_what_strangers_leave_behind_does_not_grow(throttle, clock, folder, monkeypatch):
    throttle.succeeded("bob", THERE)
    for number in range(30):
        guess(throttle, 1, login=f"user{number}", address=f"198.51.100.{number}")
    clock.now += module.FORGET + 1
    guess(throttle, 1)
    left = {path.name for path in folder.iterdir() if ":" in path.name and path.stat().st_size}
    assert left == {f"from:{THERE}", "user:bob", f"good:bob:{THERE}"}
    monkeypatch.setattr(module, "MOST", 8)
    monkeypatch.setattr(os, "urandom", bytes)  # each new file has a look
    for number in range(30):
        guess(throttle, 1, login="bob", address=f"198.51.100.{number}")
    assert len(list(folder.glob("from:*"))) == 8
    assert (folder / f"good:bob:{THERE}").exists()


def test_failures_of_nobody_hold_up_nobody(throttle, folder):
    for number in range(2 * FREE_USER):
        guess(throttle, 1, login="", address=f"198.51.100.{number}")
    assert wait(throttle, login="") == 0
    assert not list(folder.glob("user:*"))


def test_what_is_no_plain_file_among_the_counts_keeps_nobody_waiting(throttle, folder, clock):
    folder.mkdir()
    os.mkfifo(folder / f"from:{THERE}")
    os.utime(folder / f"from:{THERE}", (clock.now, clock.now))
    assert wait(throttle) == 0
