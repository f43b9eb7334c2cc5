"""Who is next: work dealt out fairly between destinations, and between senders to one of them.

Destinations take turns; so do the senders within one; higher priorities (RFC 6710) go first there.
A destination takes few jobs at a time at first and more with each success, up to its limit; one
that did not answer takes one, and only when its back-off is over. Where it has a rate, its jobs
begin evenly spaced.
"""

import time
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

from mailtools.services.queue.limits import DEFAULT, Limit, Limits

T = TypeVar("T")
WINDOW_FIRST = 5  # jobs at a time for a destination nothing is known of


class Destination(Generic[T]):
    """Where work goes: what waits for it, by priority and sender, and how it has answered."""

    __slots__ = (
        "answers",
        "in_hand",
        "interval",
        "levels",
        "limit",
        "limited",
        "name",
        "not_before",
        "queued",
        "waiting",
        "window",
    )

    def __init__(self, name: str, limited: bool = True) -> None:
        self.name = name
        self.limited = limited
        self.limit: Limit = DEFAULT
        self.window: int = WINDOW_FIRST
        self.interval = 0.0
        """Seconds between two jobs."""
        self.not_before = 0.0
        """When the next job may begin, by the dealer's clock."""
        self.in_hand = 0
        self.waiting = 0
        self.levels: dict[int, dict[str, deque[T]]] = {}
        self.answers = 0
        """How many jobs it has answered."""
        self.queued = False
        """Whether it stands in the dealer's line, or waits for its time to."""

    def obey(self, limit: Limit) -> None:
        """Take in a limit, also a new one."""
        self.limit, self.interval = limit, limit.interval if self.limited else 0.0
        self.window = min(self.window, limit.connections)

    @property
    def idle(self) -> bool:
        """Whether nothing is known of it that is worth remembering."""
        known = min(WINDOW_FIRST, self.limit.connections)
        return not self.waiting and not self.in_hand and self.window >= known

    @property
    def open(self) -> bool:
        """Whether it takes one more job now."""
        return self.waiting > 0 and (not self.limited or self.in_hand < self.window)

    def put(self, sender: str, priority: int, item: T) -> None:
        """Add an item to what waits."""
        senders = self.levels.setdefault(priority, {})
        waiting = senders.get(sender)
        if waiting is None:
            waiting = senders[sender] = deque()
        waiting.append(item)
        self.waiting += 1

    def take(self) -> T:
        """Give the next item: highest priority, senders in turn."""
        level = next(iter(self.levels)) if len(self.levels) == 1 else max(self.levels)
        senders = self.levels[level]
        sender = next(iter(senders))
        waiting = senders.pop(sender)
        item = waiting.popleft()
        if waiting:
            senders[sender] = waiting  # to the end of the line
        elif not senders:
            del self.levels[level]
        self.waiting -= 1
        return item


class Dealer(Generic[T]):
    """The line of destinations that one kind of agent serves."""

    def __init__(
        self,
        *,
        limited: bool,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limited`: whether a destination takes only so many jobs at a time."""
        self.destinations: dict[str, Destination[T]] = {}
        self.waiting = 0
        """How many items wait for an agent."""
        self._limited = limited
        self._limits = limits or Limits()
        self._clock = clock
        self._line: deque[Destination[T]] = deque()
        self._later: list[tuple[float, str]] = []
        """Destinations whose next job may not begin yet, and when it may: a heap."""

    def put(self, name: str, sender: str, priority: int, item: T, *, probing: bool = False) -> None:
        """Add an item for a destination; `probing`: when last tried it did not answer."""
        destination = self.destinations.get(name)
        if destination is None:
            destination = self.destinations[name] = Destination(name, self._limited)
            destination.obey(self._limits.find(name))
            if probing:
                destination.window = 1
        destination.put(sender, priority, item)
        self.waiting += 1
        self._queue(destination)

    def take(self) -> T | None:
        """Give the next item that may go now, counted as in hand; None where there is none."""
        if self._later:
            self._wake()
        while self._line:
            destination = self._line.popleft()
            destination.queued = False
            if destination.open:
                if destination.interval and not self._may_begin(destination):
                    continue
                item = destination.take()
                self.waiting -= 1
                destination.in_hand += 1
                self._queue(destination)
                return item
        return None

    def drain(self, name: str) -> list[T]:
        """Take out all that waits for a destination."""
        destination = self.destinations.get(name)
        items = []
        while destination and destination.waiting:
            items.append(destination.take())
        self.waiting -= len(items)
        return items

    def drain_all(self) -> list[T]:
        """Take out all that waits."""
        return [item for name in list(self.destinations) for item in self.drain(name)]

    def waiting_for(self, name: str) -> int:
        """How many items wait for a destination."""
        destination = self.destinations.get(name)
        return destination.waiting if destination else 0

    def waiting_of(self, name: str, sender: str) -> int:
        """How many items of one sender wait for a destination."""
        destination = self.destinations.get(name)
        levels = destination.levels.values() if destination else ()
        return sum(len(senders.get(sender, ())) for senders in levels)

    def answers(self, name: str) -> int:
        """How many jobs a destination has answered, as far as is remembered."""
        destination = self.destinations.get(name)
        return destination.answers if destination else 0

    def done(self, name: str, answered: bool) -> None:
        """Note that a job for a destination is over, and whether the destination answered."""
        destination = self.destinations[name]
        destination.in_hand -= 1
        if answered:
            destination.answers += 1
            destination.window = min(destination.window + 1, destination.limit.connections)
        else:
            destination.window = 1
        if destination.waiting:
            self._queue(destination)
        elif destination.idle:
            if destination.not_before > 0.0:
                heappush(self._later, (destination.not_before, name))  # its time is remembered
            else:
                del self.destinations[name]

    def obey(self, limits: Limits) -> None:
        """Take in new limits."""
        self._limits = limits
        for destination in self.destinations.values():
            destination.obey(limits.find(destination.name))

    @property
    def pause(self) -> float:
        """Seconds until a job may begin that may not yet; infinity where there is none."""
        return self._later[0][0] - self._clock() if self._later else float("inf")

    def _queue(self, destination: Destination[T]) -> None:
        if not destination.queued and destination.open:
            destination.queued = True
            self._line.append(destination)

    def _may_begin(self, destination: Destination[T]) -> bool:
        """Note that a job begins; where it is too early, let the destination wait for its time."""
        now = self._clock()
        if destination.not_before > now:
            destination.queued = True
            heappush(self._later, (destination.not_before, destination.name))
            return False
        destination.not_before = now + destination.interval
        return True

    def _wake(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            destination = self.destinations.get(heappop(self._later)[1])
            if destination is None:
                continue
            if destination.waiting:
                self._line.append(destination)
            elif destination.idle and destination.not_before <= now:
                del self.destinations[destination.name]
