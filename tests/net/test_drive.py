"""The one loop against peers that drip: a stream that plays a script, and a clock it moves."""

import math
from collections.abc import Iterable, Iterator

import pytest

from mailtools.net.drive import HURRY, LAST_WORDS, LOGIN_TIME, SLOWEST, drive
from mailtools.protocol.engine import Engine

Script = Iterable[tuple[float, bytes]]


class Peer:
    """Says each piece so many seconds after the one before, while it is waited for."""

    def __init__(self, script: Script) -> None:
        self._script: Iterator[tuple[float, bytes]] = iter(script)
        self._next = next(self._script, None)
        self.now = 1000.0
        self.heard = b""
        self.interrupted = False

    def clock(self) -> float:
        return self.now

    def write(self, data: bytes) -> None:
        self.heard += data

    def take_interrupt(self) -> bool:
        found, self.interrupted = self.interrupted, False
        return found

    def read(self, timeout: float) -> bytes | None:
        if self.interrupted:
            return None
        if self._next is None or self._next[0] > timeout:
            self.now += timeout
            if self._next is not None:
                self._next = self._next[0] - timeout, self._next[1]
            return None
        self.now += self._next[0]
        data = self._next[1]
        self._next = next(self._script, None)
        return data


class Lines(Engine):
    """Answers each line with `+`; takes as many octets as a line `take N` says; ends at silence."""

    timeout = 300.0

    def __init__(self) -> None:
        super().__init__()
        self.wanted = 0
        self.taken = 0
        self.silent = False

    def _advance(self) -> bool:
        if self.wanted:
            got = len(self._take(self.wanted))
            self.taken += got
            self.wanted -= got
            if got and not self.wanted:
                self._say(b"done")
            return bool(got)
        line = self._take_line(1000)
        if line is None:
            return False
        if line.startswith(b"take "):
            self.wanted = int(line[5:])
        if line == b"quit\n":
            self.closed = True
        self._say(b"+")
        return True

    def timed_out(self) -> None:
        self.silent = True
        super().timed_out()


def driven(script: Script, lifetime: float = math.inf) -> tuple[Lines, Peer]:
    engine, peer = Lines(), Peer(script)
    drive(engine, peer, lifetime=lambda: lifetime, clock=peer.clock)  # type: ignore[arg-type]
    return engine, peer


def test_a_line_that_drips_is_cut_off_when_its_time_is_over() -> None:
    engine, peer = driven((60.0, b"x") for _ in range(1000))
    assert engine.silent
    assert peer.now - 1000 == pytest.approx(300, abs=1)


def test_a_message_that_drips_is_cut_off_too() -> None:
    dripping = [(0.0, b"take 100000\n"), *((60.0, b"x") for _ in range(1000))]
    engine, peer = driven(dripping)
    assert engine.silent
    assert peer.now - 1000 == pytest.approx(300, abs=1)


@pytest.mark.parametrize(("rate", "whole"), [(SLOWEST * 2, True), (SLOWEST // 2, False)])
def test_what_is_slow_but_steady_is_taken(rate: int, whole: bool) -> None:
    size = SLOWEST * 2000
    pieces = [(10.0, b"x" * (rate * 10))] * (size // (rate * 10))
    engine, _ = driven([(0.0, b"take %d\n" % size), *pieces, (0.0, b"quit\n")])
    assert (engine.taken == size) is whole
    assert engine.silent is not whole


def test_each_request_has_its_own_time() -> None:
    engine, peer = driven([*((250.0, b"line\n") for _ in range(20)), (0.0, b"quit\n")])
    assert peer.heard == b"+" * 21
    assert not engine.silent


def test_what_came_at_the_last_moment_is_not_lost() -> None:
    engine, peer = driven([(299.0, b"li"), (0.9, b"ne\n"), (0.0, b"quit\n")])
    assert peer.heard == b"++"
    assert not engine.silent


def test_who_is_hurried_has_less_time_for_a_request() -> None:
    engine, peer = Lines(), Peer((8.0, b"line\n") for _ in range(5))
    drive(engine, peer, hurried=lambda: True, clock=peer.clock)  # type: ignore[arg-type]
    assert peer.heard == b"+" * 5
    assert peer.now - 1000 == pytest.approx(5 * 8 + HURRY, abs=1)


def test_a_session_without_a_login_ends_however_much_it_says() -> None:
    engine, peer = driven(((50.0, b"line\n") for _ in range(1000)), lifetime=LOGIN_TIME)
    assert engine.silent
    assert peer.now - 1000 == pytest.approx(LOGIN_TIME, abs=1)


def test_when_the_service_ends_the_engine_is_told_and_requests_have_less_time() -> None:
    class Told(Lines):
        told = 0

        def ending(self) -> None:
            self.told += 1

    peer, engine = Peer([(5, b"half a "), (5, b"line\n"), (100, b"too late\n")]), Told()
    peer.interrupted = True
    drive(engine, peer, clock=peer.clock)  # type: ignore[arg-type]
    assert (engine.told, engine.silent, peer.heard) == (1, True, b"+")
    assert peer.now - 1000 < 10 + 2 * LAST_WORDS
