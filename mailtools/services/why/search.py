"""Finding messages by ID, Message-ID or address: in the queue, in its journals, in the history.

Grep first, read then: an entry or a day is only looked into where the words stand in it. The ID of
an entry says when it arrived, so the history before that day is left aside.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator

from mailtools.services.queue.classes import Classes
from mailtools.services.queue.notify import BOUNCE, DOUBLE_BOUNCE
from mailtools.services.queue.schedule import Schedule
from mailtools.services.why import story
from mailtools.services.why.story import Story
from mailtools.store.entry import Place
from mailtools.store.history import History
from mailtools.store.journal import COPIED
from mailtools.store.kept import Kept
from mailtools.store.queue import Queue
from mailtools.store.queue_id import arrival, is_id

LINKED_MOST = 50  # entries that came of one another, told at once
HEAD_READ = 16384  # octets of an entry or a journal that are looked through

Match = Callable[[Story], bool]


class Search:
    """One look at a queue and its history."""

    def __init__(self, queue: Queue, schedule: Schedule, classes: Classes) -> None:
        """`schedule` and `classes` say until when what waits is tried."""
        self._queue, self._schedule, self._classes = queue, schedule, classes
        self._kept = Kept(queue)
        self._history = History(f"{queue.path}/history")

    def find(self, asked: str, most: int) -> list[Story]:
        """Give the messages that are meant, newest first, at most `most` (0: all of them)."""
        if is_id(asked):
            return self._by_ids([asked])
        wanted = asked.lower()
        message_id = asked if asked.startswith("<") else f"<{asked}>"

        def fits(one: Story) -> bool:
            if one.message_id == message_id:
                return True
            addresses = (one.reverse_path, *one.forward_paths, *one.client.split(" ")[:2])
            return any(address.lower() == wanted for address in addresses)

        needle = asked.strip("<>").encode("utf-8", "surrogateescape").lower()
        found: dict[str, Story] = {}
        for one in (*self._alive(needle, fits, most), *self._past(needle, fits, most)):
            found.setdefault(one.id, one)
        newest = sorted(found.values(), key=lambda one: one.id, reverse=True)
        return newest[:most] if most else newest

    def linked(self, stories: list[Story]) -> dict[str, Story]:
        """Give what they came of and what came of them, by ID, with themselves; oldest first."""
        known = {one.id: one for one in stories}
        fresh = stories
        for one in stories:
            self._look_at_kept(one)
        while fresh and len(known) < max(LINKED_MOST, len(stories)):
            ids = [id_ for one in fresh for id_ in one.children]
            ids += [one.origin for one in fresh if one.origin]
            near = self._by_ids([id_ for id_ in dict.fromkeys(ids) if id_ not in known])
            told = {id_ for one in (*known.values(), *near) for id_ in one.children}
            orphans = [one for one in fresh if not one.origin and one.id not in told]
            fresh = [one for one in (*near, *self._parents(orphans)) if one.id not in known]
            for one in fresh:
                self._look_at_kept(one)
            known.update((one.id, one) for one in fresh)
        return dict(sorted(known.items()))

    def _look_at_kept(self, one: Story) -> None:
        """Note of a message that is over and kept whether copies were made of it since."""
        if one.state != story.FINISHED or self._kept.find(one.id) is None:
            return
        copies = [t for t in self._queue.journal(one.id).turns if t.word == COPIED]
        one.turns += [turn for turn in copies if turn not in one.turns]
        one.kept = not copies

    # -- the queue --------------------------------------------------------------------------------

    def _read(self, place: Place) -> Story | None:
        return story.of_place(self._queue, place, self._schedule, self._classes)

    def _alive(self, needle: bytes, fits: Match, most: int) -> Iterator[Story]:
        count = 0
        for place in sorted(self._queue.all(), key=lambda place: place.id, reverse=True):
            if needle in _head(place.path).lower():
                one = self._read(place)
                if one is not None and fits(one):
                    yield one
                    count += 1
                    if count == most:
                        return

    # -- the history ------------------------------------------------------------------------------

    def _past(self, needle: bytes, fits: Match, most: int) -> Iterator[Story]:
        count = 0
        for day in reversed(self._history.days()):
            groups = self._history.find(day, (needle,))
            stories = (story.of_records(records) for records in groups)
            newest = deque((one for one in stories if one and fits(one)), maxlen=most or None)
            for one in reversed(newest):
                yield one
                count += 1
                if count == most:
                    return

    def _by_ids(self, ids: list[str]) -> list[Story]:
        """Give the messages of some IDs, wherever they are."""
        found: dict[str, Story] = {}
        for id_ in ids:
            place = self._queue.find(id_)
            one = self._read(place) if place else None
            if one:
                found[id_] = one
        missing = {id_ for id_ in ids if id_ not in found and is_id(id_)}
        if not missing:
            return list(found.values())
        for day in self._days_since(min(map(arrival, missing))):
            for records in self._history.find(day, [id_.lower().encode() for id_ in missing]):
                if records[0].id in missing and (one := story.of_records(records)):
                    found[one.id] = one
            missing -= found.keys()
            if not missing:
                break
        return list(found.values())

    def _parents(self, orphans: list[Story]) -> list[Story]:
        """Give the entries that messages came of, whose records name them."""
        wanted = {one.id for one in orphans}
        if not wanted:
            return []
        told = [one.id for one in orphans if one.client in (BOUNCE, DOUBLE_BOUNCE)]
        found = self._by_ids(self._journals_with(told)) if told else []
        needles = [id_.lower().encode() for id_ in wanted]
        for day in self._days_since(min(one.arrival for one in orphans)):
            groups = map(story.of_records, self._history.find(day, needles))
            found += (one for one in groups if one and not wanted.isdisjoint(one.children))
        return found

    def _journals_with(self, ids: list[str]) -> list[str]:
        """Grep the journals of what waits."""
        folder, needles = f"{self._queue.path}/log", [id_.encode() for id_ in ids]
        try:
            names = os.listdir(folder)
        except OSError:
            return []
        journals = ((name, _head(f"{folder}/{name}")) for name in names if is_id(name))
        return [name for name, text in journals if any(needle in text for needle in needles)]

    def _days_since(self, moment: float) -> list[str]:
        first = time.strftime("%Y-%m-%d", time.gmtime(moment))
        return [day for day in self._history.days() if day >= first]


def _head(path: str) -> bytes:
    """Read the beginning of a file, b"" where there is none: an envelope and most headers."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(fd, HEAD_READ)
    except OSError:
        return b""
    finally:
        os.close(fd)
