"""The agents of a queue run: who gets the next job, and who stands in for whom."""

import math
import time
from types import SimpleNamespace
from typing import Any

import pytest

from mailtools.services.queue import agents
from mailtools.services.queue.agents import SILENCE, SLOW, STAND_INS, Pool
from mailtools.services.queue.limits import Limits


class Agent:
    """An agent that does nothing."""

    finishing, capacity = False, 20

    def __init__(self, *_: Any) -> None:
        self.in_hand: dict[str, str] = {}
        self.heard = 0.0

    @property
    def room(self) -> int:
        return self.capacity - len(self.in_hand)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(agents, "time", clock)
    monkeypatch.setattr(agents, "Worker", Agent)
    return clock


def test_another_stands_in_for_a_local_agent_that_a_program_keeps(clock: SimpleNamespace) -> None:
    pool = Pool(["local-deliver"], 1, None, Limits())
    first: Any = pool.start()
    assert first
    assert pool.start() is None
    first.in_hand["1"] = "a program that sleeps"
    assert pool.with_room() is first
    assert (pool.wants_agent(), pool.until_slow) == (False, SLOW)
    clock.now = SILENCE
    assert pool.with_room() is None
    clock.now = SLOW
    assert pool.with_room() is None
    assert pool.wants_agent()
    second: Any = pool.start()
    assert pool.with_room() is second
    assert pool.until_slow == math.inf
    first.heard = clock.now  # it has gone on
    first.in_hand.clear()
    assert pool.with_room() is first
    assert pool.start() is None


def test_there_are_so_many_stand_ins_and_no_more(clock: SimpleNamespace) -> None:
    pool = Pool(["local-deliver"], 2, None, Limits())
    for _ in range(100):
        worker: Any = pool.start()
        if worker is None:
            clock.now += SLOW
            worker = pool.start()
        if worker is None:
            break
        worker.in_hand["1"], worker.heard = "a program that sleeps", clock.now
    assert len(pool.workers) == 2 + STAND_INS
    assert not pool.wants_agent()


def test_who_relays_may_be_silent(clock: SimpleNamespace) -> None:
    pool = Pool(["relay-send"], 1, None, Limits())
    worker: Any = pool.start()
    worker.in_hand["1"] = "a host that thinks"
    clock.now = time.monotonic()
    assert (pool.with_room(), pool.until_slow) == (worker, math.inf)
