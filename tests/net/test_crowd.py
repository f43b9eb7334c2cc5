"""The board of a listener's clients: limits by network, over processes; who died is forgotten."""

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.net.crowd import Crowd


def in_child(crowd: Crowd, address: str) -> tuple[int, int]:
    """Enter in a process of its own, which then stays; give it, and 1 where it was let in."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writing, b"n" if crowd.enter(address) else b"y")
        signal.pause()
        os._exit(0)
    answer = os.read(reading, 1)
    os.close(reading)
    os.close(writing)
    return pid, int(answer == b"y")


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_connections_at_a_time_are_counted_over_processes_and_the_dead_forgotten() -> None:
    crowd = Crowd(at_once=2)
    first, second, third = (in_child(crowd, "192.0.2.7") for _ in range(3))
    other = in_child(crowd, "192.0.2.8")
    try:
        assert (first[1], second[1], third[1], other[1]) == (1, 1, 0, 1)
        assert crowd.enter("192.0.2.7") == "connections at a time"
        end(first[0])  # without a word: its row is found out
        assert crowd.enter("192.0.2.7") == ""
    finally:
        for pid, _ in (second, third, other):
            end(pid)


def test_who_left_makes_room() -> None:
    crowd = Crowd(at_once=1)
    pid, let_in = in_child(crowd, "192.0.2.7")
    assert let_in
    assert crowd.enter("192.0.2.7")
    assert not crowd.enter("192.0.2.8")
    crowd.leave()
    end(pid)
    assert not crowd.enter("192.0.2.7")


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.7", "192.0.2.8", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8", False),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
def test_a_network_is_one_client(
    monkeypatch: pytest.MonkeyPatch, one: str, other: str, together: bool
) -> None:
    monkeypatch.setattr("mailtools.net.crowd.time.time", lambda: 1_764_000_000.0)
    crowd = Crowd(connections=1)
    assert not crowd.enter(one)
    assert bool(crowd.enter(other)) is together
    wide = Crowd(connections=1, prefixes=(16, 16))
    assert not wide.enter(one)
    assert wide.enter(other)


def test_a_minute_later_all_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_764_000_000.0]
    monkeypatch.setattr("mailtools.net.crowd.time.time", lambda: now[0])
    crowd = Crowd(connections=2, messages=1)
    assert [crowd.enter("192.0.2.7") for _ in range(3)] == ["", "", "connections a minute"]
    assert [crowd.message("192.0.2.7") for _ in range(2)] == ["", "messages a minute"]
    now[0] += 60
    assert not crowd.enter("192.0.2.7")
    assert not crowd.message("192.0.2.7")


@given(st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=200, unique=True))
def test_each_network_is_counted_by_itself(addresses: list[str]) -> None:
    crowd = Crowd(messages=1)
    assert not any(crowd.message(address) for address in addresses)


def test_what_is_no_address_stands_for_itself() -> None:
    crowd = Crowd(messages=1)
    assert not crowd.message("unknown")
    assert not crowd.message("unknown2")
