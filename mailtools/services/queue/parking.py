"""Which entries are left where they are though they are due, and until when.

Only so many are in hand at a time. One destination with ten thousand messages, or one sender, must
not keep out all others: what goes beyond its share is left in its folder, and a glance at an entry
tells that it is one more of these. So is what goes to a destination that does not answer, while
there is other work: to put off thousands takes its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from mailtools.services.queue import lookout
from mailtools.store.glance import only_path

if TYPE_CHECKING:
    from mailtools.services.queue.agents import Pool
    from mailtools.services.queue.attempt import Attempts
    from mailtools.services.queue.worker import Assignment
    from mailtools.store.destinations import Destinations
    from mailtools.store.entry import Place

CROWD = 1000  # jobs that wait for a destination, from which on those who have many there wait
LOOK = 1.0  # seconds between looks whether what did not answer may be tried, while there is work
FEW = 100  # jobs that each sender may have there all the same, up to twice the crowd


class Kind(NamedTuple):
    """What is left: all to a destination, one sender's there, or one sender's anywhere."""

    agent: str
    destination: str
    sender: str | None


class Parking:
    """What is left, and whether it still has to be."""

    def __init__(
        self,
        queue: str,
        attempts: Attempts,
        pools: Mapping[str, Pool],
        destinations: Destinations,
        busy: Callable[[], bool],
    ) -> None:
        """`busy` tells whether there is other work."""
        self._queue, self._attempts, self._pools = queue, attempts, pools
        self._destinations, self._busy = destinations, busy
        self._left: dict[Kind, set[str]] = {}
        self._next_look = 0.0

    def stays(self, place: Place) -> bool:
        """Leave an entry that is one more of those left already; a glance tells."""
        if not self._left:
            return False
        address, sender = only_path(self._queue, place)
        if not address:
            return False
        agent, destination = self._attempts.transports.find(address)
        for kind in (
            Kind(agent, destination, None),
            Kind(agent, destination, sender),
            Kind("", "", sender),
        ):
            ids = self._left.get(kind)
            if ids is not None:
                ids.add(place.id)
                return True
        return False

    def leave(self, assignments: list[Assignment], now: float) -> bool:
        """Leave an entry of which nothing was begun, where all of its assignments must wait."""
        kinds = [self._kind(assignment, now) for assignment in assignments]
        if not kinds or kinds[0] is None or None in kinds:
            return False
        self._left.setdefault(kinds[0], set()).add(assignments[0].id)
        return True

    def free(self, now: float) -> Iterable[set[str]]:
        """Give the IDs of those that need not be left any more."""
        if not self._left:
            return
        look = now >= self._next_look or not self._busy()
        if look:
            self._next_look = now + LOOK
        kinds = [kind for kind in self._left if look or kind.sender is not None]
        for kind in [kind for kind in kinds if self._is_free(kind, now)]:
            yield self._left.pop(kind)

    def _kind(self, assignment: Assignment, now: float) -> Kind | None:
        agent, destination, sender = assignment.agent, assignment.destination, assignment.sender
        waiting, own = self._waiting(agent, destination, sender)
        if waiting >= 2 * CROWD or self._is_silent(destination, now):
            return Kind(agent, destination, None)
        if assignment.priority > 0:
            return None
        if waiting >= CROWD and own >= FEW:
            return Kind(agent, destination, sender)
        in_hand, share = self._share(sender)
        return Kind("", "", sender) if in_hand > share else None

    def _is_free(self, kind: Kind, now: float) -> bool:
        if not kind.agent:
            in_hand, share = self._share(kind.sender or "")
            return in_hand <= share // 2
        waiting, own = self._waiting(kind.agent, kind.destination, kind.sender or "")
        if kind.sender is None:
            return waiting < CROWD * 3 // 2 and not self._is_silent(kind.destination, now)
        return waiting < CROWD // 2 or (own < FEW // 2 and waiting < CROWD * 3 // 2)

    def _share(self, sender: str) -> tuple[int, int]:
        """Give how many of a sender's entries are in hand, and how many may be.

        It is half of what others leave: so there is always room for one more sender.
        """
        in_hand = self._attempts.of_sender(sender)
        others = len(self._attempts.in_hand) - in_hand
        return in_hand, (lookout.WINDOW - others) // 2

    def _waiting(self, agent: str, destination: str, sender: str) -> tuple[int, int]:
        pool = self._pools.get(agent)
        if pool is None:
            return 0, 0
        return pool.dealer.waiting_for(destination), pool.dealer.waiting_of(destination, sender)

    def _is_silent(self, destination: str, now: float) -> bool:
        return self._busy() and self._destinations.silent(destination, now) is not None
