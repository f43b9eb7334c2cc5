"""When the queue run looks at the queue, and how much it takes at a time.

A look costs what is due. It is taken when the trigger was pulled or a minute of wait/ has come, and
every few minutes in any case; never so often that looking becomes the work. Entries are taken a
share at a time, so that agents do not wait for the look to end.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from mailtools.services.queue.attempt import Attempts
from mailtools.store.entry import Place
from mailtools.store.queue import Queue

WINDOW = 5000  # entries in hand at most
LOOK_AGAIN = 300.0  # seconds between looks when nothing wakes us
LOOK_SHARE = 5  # a look is followed by so many times its own duration without one
REST_MOST = 0.2  # seconds, however long a look took
SHARE = 100  # entries taken in hand before agents are looked after again
BUSY = 16  # entries in hand, from which on we rather gather than hurry
GATHER = 0.003  # seconds


class Lookout:
    """What is due, found in good time."""

    def __init__(self, queue: Queue, attempts: Attempts) -> None:
        """Look at `queue` for what is not among `attempts` yet."""
        self.wanted = False
        """Whether something is known to be new."""
        self._queue, self._attempts = queue, attempts
        self._places: Iterator[Place] | None = None
        self._whole = True
        self._lasted = 0.0
        self._next = self._next_whole = 0.0
        self._left: set[str] = set()
        self._unreadable: dict[str, float] = {}

    @property
    def looking(self) -> bool:
        """Whether a look is under way."""
        return self._places is not None

    @property
    def busy(self) -> bool:
        """Whether so much is in hand that gathering pays."""
        return len(self._attempts.in_hand) >= BUSY

    def pause(self) -> float:
        """Seconds until the next look, if nothing wakes us."""
        if self.looking:
            return 0.0
        if self.full:
            return LOOK_AGAIN
        pauses = [LOOK_AGAIN, self._attempts.next_due - time.time()]
        if self.wanted:
            pauses.append(self._next - time.monotonic())
        return max(min(pauses), 0.0)

    def leave(self, id_: str) -> None:
        """Do not take an entry until `take_again`."""
        self._left.add(id_)

    def take_again(self, ids: Iterable[str]) -> None:
        """Take entries after all that were left."""
        self._left.difference_update(ids)
        self.wanted, self._next_whole = True, 0.0

    def avoid(self, id_: str) -> None:
        """Do not take an entry for a while, since it cannot be read now."""
        self._unreadable[id_] = time.time() + LOOK_AGAIN

    def go_on(self, take: Callable[[Place, float], None]) -> None:
        """Begin a look where it is time, and take the next share of it."""
        if self._places is None and self._is_time():
            self._begin()
        if self._places is None:
            return
        began, now = time.monotonic(), time.time()
        taken = 0
        for place in self._places:
            if self._skips(place.id, now):
                continue
            take(place, now)
            taken += 1
            if taken >= SHARE or self.full:
                break
        else:
            self._end(now)
        if self.full and self._places is not None:
            self._places, self.wanted = None, True
            self._next_whole = 0.0 if self._whole else self._next_whole
        self._lasted += time.monotonic() - began
        pause = max(min(self._lasted * LOOK_SHARE, REST_MOST), GATHER if self.busy else 0.0)
        self._next = time.monotonic() + pause

    @property
    def full(self) -> bool:
        """Whether no more can be taken in hand now."""
        return len(self._attempts.in_hand) >= WINDOW

    def _skips(self, id_: str, now: float) -> bool:
        return (
            id_ in self._attempts.in_hand
            or id_ in self._left
            or self._unreadable.get(id_, 0.0) > now
        )

    def _is_time(self) -> bool:
        if self.full:
            return False
        clock = time.monotonic()
        if self.wanted:
            return clock >= self._next
        return time.time() >= self._attempts.next_due or clock >= self._next + LOOK_AGAIN

    def _begin(self) -> None:
        self.wanted = False
        self._lasted = 0.0
        now, clock = time.time(), time.monotonic()
        # The folders of wait/ are looked at when one is due, and now and then; else new/ alone.
        self._whole = clock >= self._next_whole or now >= self._attempts.next_due
        if self._whole:
            self._next_whole = clock + LOOK_AGAIN
        self._places = self._queue.due(now) if self._whole else self._queue.new()

    def _end(self, now: float) -> None:
        self._places = None
        if self._whole:
            self._queue.tidy(now)
            # What is due by now is in hand, or is left alone on purpose.
            due = self._queue.next_due(now)
            self._attempts.next_due = float("inf") if due is None else due
            self._unreadable = {id_: at for id_, at in self._unreadable.items() if at > now}
