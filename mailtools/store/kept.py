"""Messages that are over and kept whole for a while, so that they can be sent again: done/DAY/ID.

DAY is the last one (UTC) an entry is kept. It lies there as it was in the queue, and its journal
stays in log/, so to keep one is a rename, and to let it go two removals. Nothing here is synced:
what is lost was over.
"""

import os
import re
import time
from collections.abc import Iterator
from itertools import islice

from mailtools.errors import NoSuchEntry, SystemTrouble
from mailtools.store import disk
from mailtools.store.entry import Entry, Place, State
from mailtools.store.queue import Queue
from mailtools.store.queue_id import is_id

ROOM = 20  # one part of so many of the disk is to be free, or nothing is kept
SHARE = 20  # entries that are let go for each one that there is no room for

_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


class Kept:
    """The folder done/ of a queue."""

    def __init__(self, queue: Queue) -> None:
        """Take the queue; nothing is read yet."""
        self._queue = queue
        self._folder = f"{queue.path}/done"

    def put(self, entry: Entry, until: float) -> bool:
        """Keep a finished entry, whose journal is on disk, until the end of a day.

        False where the disk lacks the room, and where it was removed or moved meanwhile: then it is
        to be settled. Raises a Failure.
        """
        if not self._has_room():
            self._make_room()
            return False
        target = f"{self._folder}/{_day_of(until)}"
        for _ in range(2):
            try:
                disk.move(entry.path, f"{target}/{entry.id}")
                return True
            except FileNotFoundError:
                if not os.path.lexists(entry.path):
                    return False
                disk.make_directory(target)
        raise SystemTrouble(detail=f"no folder {target}")

    def all(self) -> Iterator[Place]:
        """Yield what is kept, the shortest first."""
        for day in self._days():
            for name in disk.names(f"{self._folder}/{day}"):
                yield Place(name, f"{self._folder}/{day}/{name}", State.DONE)

    def find(self, id_: str) -> Place | None:
        """Find an entry that is kept; None where it is not."""
        if is_id(id_):
            for day in self._days():
                path = f"{self._folder}/{day}/{id_}"
                if os.path.lexists(path):
                    return Place(id_, path, State.DONE)
        return None

    def remove(self, id_: str) -> None:
        """Keep an entry no longer; raise NoSuchEntry."""
        place = self.find(id_)
        if place is None:
            raise NoSuchEntry(f"No such entry is kept: {id_}")
        self._let_go(place.path, self._queue)

    def sweep(self, now: float) -> None:
        """Let go what was kept until a day that is over."""
        today, queue = _day_of(now), Queue(self._queue.path, many=True)
        for day in self._days():
            if day < today:
                for name in disk.names(f"{self._folder}/{day}"):
                    self._let_go(f"{self._folder}/{day}/{name}", queue)
                disk.remove_directory(f"{self._folder}/{day}")

    def _make_room(self) -> None:
        """Let go some of what was to be kept the shortest: mail that comes needs the disk more."""
        for place in islice(self.all(), SHARE):
            self._let_go(place.path, self._queue)

    def _let_go(self, path: str, queue: Queue) -> None:
        disk.remove(path)
        id_ = os.path.basename(path)
        if is_id(id_) and queue.find(id_) is None:  # else somebody put it back
            disk.remove(f"{queue.path}/log/{id_}")

    def _days(self) -> list[str]:
        return sorted(name for name in disk.names(self._folder) if _day.match(name))

    def _has_room(self) -> bool:
        try:
            about = os.statvfs(self._queue.path)
        except OSError:
            return False
        files = not about.f_files or about.f_favail > about.f_files // ROOM
        return files and about.f_bavail > about.f_blocks // ROOM


def _day_of(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))
