"""Which addresses answer: remembered between messages, so that a dead one is not tried by each.

While an address has not answered yet, one connection at a time tries it, and the others wait for
what comes of that. After a failure it is passed over for a while, wherever there is another.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mailtools.errors import Failure, NoAnswer
from mailtools.net.loop import Later

AVOIDED_FIRST = 60.0  # seconds an address is passed over after it did not answer
AVOIDED_MOST = 900.0
PLACES_MOST = 10_000  # addresses remembered

Place = tuple[str, int, str]
"""An address, a port, and the address of ours it is called from."""


class _State:
    __slots__ = ("failures", "lasting", "proven", "until", "waiting")

    def __init__(self) -> None:
        self.proven = False
        self.failures = 0
        self.until = 0.0
        self.lasting = False  # whether somebody tries it now
        self.waiting: list[Later[Failure | None]] = []


class Health:
    """What is known of addresses, within one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet."""
        self._clock = clock
        self._places: dict[Place, _State] = {}

    def avoided(self, place: Place) -> bool:
        """Whether an address did not answer a while ago."""
        state = self._places.get(place)
        return state is not None and state.until > self._clock()

    def enter(self, place: Place) -> Later[Failure | None]:
        """Wait for one's turn to try an address: None, or why somebody else just could not.

        With None, `reached` or `failed` must follow.
        """
        later: Later[Failure | None] = Later()
        state = self._places.get(place)
        if state is None:
            self._forget()
            state = self._places[place] = _State()
        if state.lasting and not state.proven:
            state.waiting.append(later)
        else:
            state.lasting = True
            later.put(None)
        return later

    def reached(self, place: Place) -> None:
        """It answers."""
        state = self._places.setdefault(place, _State())
        state.proven, state.failures, state.until = True, 0, 0.0
        self._let_go(state, None)

    def failed(self, place: Place, failure: Failure) -> None:
        """It does not: not for those who wait, and not for a while."""
        state = self._places.setdefault(place, _State())
        state.proven = False
        if isinstance(failure, NoAnswer) and state.until <= self._clock():
            wait = min(AVOIDED_FIRST * 2 ** min(state.failures, 10), AVOIDED_MOST)
            state.failures += 1
            state.until = self._clock() + wait
        self._let_go(state, failure)

    def _let_go(self, state: _State, failure: Failure | None) -> None:
        state.lasting = False
        waiting, state.waiting = state.waiting, []
        for later in waiting:
            later.put(failure)

    def _forget(self) -> None:
        if len(self._places) >= PLACES_MOST:
            now = self._clock()
            for place, state in list(self._places.items()):
                if not state.lasting and state.until <= now:
                    del self._places[place]
