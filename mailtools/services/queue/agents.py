"""The agents of one command line: how many, who gets the next job, and what if one dies."""

import math
import os
import time

from mailtools import log
from mailtools.errors import Misconfigured
from mailtools.services.queue.deal import Dealer
from mailtools.services.queue.limits import Limits
from mailtools.services.queue.transports import LOCAL
from mailtools.services.queue.worker import Assignment, Worker

PATIENCE = 3600.0  # seconds of silence with a job in hand, before an agent is taken for dead
ENOUGH = 4  # jobs in hand of each agent, before one more is started
SLOW = 10.0  # seconds that a local agent may be silent over a job before another stands in for it
SILENCE = 1.0  # seconds after which it gets no more jobs meanwhile
STAND_INS = 8  # of these at most, beside the agents there are to be
DEATHS = 3  # in a row without a job done, before waiting work is put off
RESTART_MOST = 60.0  # seconds between starts of an agent that dies at once


class Pool:
    """Agents of one kind, and the work that waits for them."""

    def __init__(
        self, command: list[str], count: int, user: tuple[int, int] | None, limits: Limits
    ) -> None:
        """`command` as exec takes it; at most `count` processes, as `user` (uid, gid) if given."""
        self.command = command
        self.count = count
        self._local = os.path.basename(command[0]) == LOCAL
        self.dealer: Dealer[Assignment] = Dealer(limited=not self._local, limits=limits)
        self.workers: list[Worker] = []
        self._user = user
        self._deaths = 0
        self._not_before = 0.0

    @property
    def ailing(self) -> bool:
        """Whether its agents die again and again, and none is there now."""
        return not self.workers and self._deaths >= DEATHS and self.restart > 0

    @property
    def restart(self) -> float:
        """Seconds until an agent may be started."""
        return self._not_before - time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether an agent has a job in hand."""
        return any(worker.in_hand for worker in self.workers)

    @property
    def active(self) -> list[Worker]:
        """The agents that take jobs."""
        return [worker for worker in self.workers if not worker.finishing]

    @property
    def until_slow(self) -> float:
        """Seconds until the next agent is slow, and another may stand in; infinity for none."""
        return min(map(self._patience, self._brisk), default=math.inf)

    @property
    def _brisk(self) -> list[Worker]:
        """Those of the agents that one job does not keep: a user's program may keep a local one."""
        return [worker for worker in self.active if self._patience(worker) > 0]

    def _patience(self, worker: Worker) -> float:
        if not self._local or not worker.in_hand:
            return math.inf
        return SLOW - (time.monotonic() - worker.heard)

    @property
    def _full(self) -> bool:
        active = len(self.active)
        return len(self._brisk) >= self.count or active >= self.count + STAND_INS

    def start(self) -> Worker | None:
        """Start one more agent, where there may be one; None where not, or where it cannot."""
        if self._full or self.restart > 0:
            return None
        try:
            worker = Worker(self.command, self._user)
        except Misconfigured as failure:
            log.event("trouble", agent=self.command[0], detail=failure.detail)
            self._deaths += DEATHS
            self._back_off()
            return None
        self.workers.append(worker)
        return worker

    def wants_agent(self) -> bool:
        """Whether one more agent would have work: all have enough, and none is starting."""
        if self._full:
            return False
        brisk = self._brisk
        return all(w.capacity and len(w.in_hand) >= min(ENOUGH, w.capacity) for w in brisk)

    def with_room(self) -> Worker | None:
        """Give the agent with the least in hand, if it takes one more.

        A local one that is silent gets none: what waits behind a program waits as long as that.
        """
        best = None
        for worker in self._brisk:
            if self._patience(worker) <= SLOW - SILENCE:
                continue
            if worker.room > 0 and (best is None or len(worker.in_hand) < len(best.in_hand)):
                best = worker
        return best

    def lost(self, worker: Worker) -> list[Assignment]:
        """Take leave of an agent whose stdout has ended; give what it did not report."""
        self.workers.remove(worker)
        code = worker.close()
        assignments = list(worker.in_hand.values())
        if assignments or code or not worker.finishing:
            log.event("died", agent=self.command[0], pid=worker.pid, code=code)
        if worker.useful:
            self._deaths = 0
        elif not worker.finishing:
            self._back_off()
        return assignments

    def kill_silent(self) -> None:
        """Kill agents that have had a job in hand for long without saying a word."""
        now = time.monotonic()
        for worker in self.workers:
            if worker.in_hand and now - worker.heard > PATIENCE:
                log.event("misheard", agent=self.command[0], pid=worker.pid, what="silence")
                worker.kill()

    def _back_off(self) -> None:
        # At once, then after 1 second, 2, 4 …
        self._deaths += 1
        wait = 2.0 ** (self._deaths - 2) if self._deaths > 1 else 0.0
        self._not_before = time.monotonic() + min(RESTART_MOST, wait)
