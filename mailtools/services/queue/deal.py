"""Who is next: work dealt out fairly between destinations, and between senders to one of them.

Destinations take turns; so do the senders within one; higher priorities (RFC 6710) go first there.
A destination takes few jobs at a time at first and more with each success; one that did not answer
takes one, and only when its back-off is over.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")
WINDOW_FIRST = 5  # jobs at a time for a destination nothing is known of
WINDOW_MOST = 20


@dataclass(slots=True)
class Destination(Generic[T]):
    """Where work goes: what waits for it, by priority and sender, and how it has answered."""

    name: str
    limited: bool = True
    window: int = WINDOW_FIRST
    in_hand: int = 0
    waiting: int = 0
    levels: dict[int, dict[str, deque[T]]] = field(default_factory=dict)
    answers: int = 0
    """How many jobs it has answered."""
    queued: bool = False
    """Whether it stands in the dealer's line."""

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

    def __init__(self, *, limited: bool) -> None:
        """`limited`: whether a destination takes only so many jobs at a time."""
        self.destinations: dict[str, Destination[T]] = {}
        self.waiting = 0
        """How many items wait for an agent."""
        self._limited = limited
        self._line: deque[Destination[T]] = deque()

    def put(self, name: str, sender: str, priority: int, item: T) -> None:
        """Add an item for a destination."""
        destination = self.destinations.get(name)
        if destination is None:
            destination = self.destinations[name] = Destination(name, self._limited)
        destination.put(sender, priority, item)
        self.waiting += 1
        self._queue(destination)

    def take(self) -> T | None:
        """Give the next item that may go now, counted as in hand; None where there is none."""
        while self._line:
            destination = self._line.popleft()
            destination.queued = False
            if destination.open:
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
            destination.window = min(destination.window + 1, WINDOW_MOST)
        else:
            destination.window = 1
        if destination.waiting:
            self._queue(destination)
        elif not destination.in_hand and destination.window >= WINDOW_FIRST:
            del self.destinations[name]

    def _queue(self, destination: Destination[T]) -> None:
        if not destination.queued and destination.open:
            destination.queued = True
            self._line.append(destination)
