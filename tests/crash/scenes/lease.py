"""The lease of a shared queue: taken, renewed, given back, taken over. Never two who have it."""

import os
import time
from pathlib import Path

from crash.scenario import Say, Scenario

from mailtools.store.lease import Lease, Owner

LASTS = 600.0
A, B = Owner("a.example.org", 100, "boot-a"), Owner("b.example.org", 200, "boot-b")


def nothing(folder: Path) -> None:
    pass


def left_behind(folder: Path) -> None:
    """A had it, and died long ago."""
    assert Lease(str(folder), A, LASTS).take()
    wait(folder)


def work(folder: Path, say: Say) -> None:
    lease = Lease(str(folder), A, LASTS)
    if lease.take():
        say("a has it")
        lease.release()
        say("a gave it back")


def take_over(folder: Path, say: Say) -> None:
    lease = Lease(str(folder), B, LASTS)
    if lease.take():
        say("b has it")


def wait(folder: Path) -> None:
    """Let so much time pass that nobody's lease lasts."""
    for file in folder.iterdir():
        os.utime(file, (time.time() - 2 * LASTS,) * 2)


def check_work(folder: Path, said: list[str]) -> None:
    other = Lease(str(folder), B, LASTS)
    if not other.take():
        assert "a gave it back" not in said, "it was given back, and nobody can have it"
        wait(folder)
        assert other.take(), "nobody can ever have it"
    assert other.renew()
    assert not Lease(str(folder), A._replace(boot="boot-a2"), LASTS).take(), "both have it"


def check_take_over(folder: Path, said: list[str]) -> None:
    late = Lease(str(folder), A, LASTS)  # the old owner wakes up, and looks what it has
    late._mine = 1
    if "b has it" in said:
        assert not late.renew(), "both have it"
    again = Lease(str(folder), B._replace(pid=201), LASTS)
    if not again.take():
        wait(folder)
        assert again.take(), "nobody can ever have it"
    assert again.renew()
    assert not late.renew(), "both have it"


SCENARIOS = [
    # To give it back syncs the folder once more.
    Scenario("lease-work", nothing, work, check_work, spare={".": 1}),
    Scenario("lease-takeover", left_behind, take_over, check_take_over, stops=4),
]
