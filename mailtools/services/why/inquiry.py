"""One question to mail-why: what queue, history and logs together know of a message."""

from __future__ import annotations

from collections.abc import Iterator

from mailtools.services.why.log_search import Logs, add_lines, story_of
from mailtools.services.why.refusals import Refusal
from mailtools.services.why.search import Search
from mailtools.services.why.story import Story
from mailtools.services.why.why_order import came_in, in_order


class Inquiry:
    """What is known; `found` says whether that is anything."""

    def __init__(self, search: Search, logs: Logs, asked: str, most: int) -> None:
        """Look; `most` (0: any number) is how many messages, and how many refusals, are told.

        Raises NoSuchEntry and SystemTrouble for a log that cannot be read.
        """
        self._asked = search.find(asked, most)
        self._linked = search.linked(self._asked)
        logged, refusals = logs.of(asked, self._linked)
        self._refusals = refusals[-most:] if most else refusals
        for id_, lines in logged.items():
            if id_ in self._linked:
                add_lines(self._linked[id_], lines)
        lost = [id_ for id_ in logged if id_ not in self._linked]
        lost = sorted(lost)[-most:] if most else sorted(lost)
        self._lost = [story_of(id_, logged[id_]) for id_ in lost]
        self.found = bool(self._asked or self._lost or self._refusals)
        self.hint = "" if logs.any else "; what was refused at the door stands in the log: --log"

    def stories(self) -> Iterator[tuple[Story, str]]:
        """Yield each message, with what it is to another one ("": nothing)."""
        yield from in_order(self._asked, self._linked)
        for one in reversed(self._lost):
            yield one, ""

    def refusals(self) -> Iterator[tuple[Refusal, str]]:
        """Yield what was refused, the newest first, with the ID it has since ("": none)."""
        known = [*self._linked.values(), *self._lost]
        for one in reversed(self._refusals):
            yield one, came_in(one, known)
