"""Whether the disk has room for a message: asked before it is taken, not when it is too late."""

import os
import time

from mailtools.errors import QueueFull, SystemTrouble

KEPT = 1.0  # seconds an answer of the file system holds


class Room:
    """The room on the queue's disk, beyond a floor that stays free."""

    def __init__(self, path: str, floor: int) -> None:
        """`floor` is in octets; 0: never mind."""
        self._path, self._floor = path, floor
        self._free, self._asked = 0, -KEPT

    def check(self, size: int) -> None:
        """Raise QueueFull where `size` octets would go below the floor; SystemTrouble."""
        if not self._floor:
            return
        now = time.monotonic()
        if now - self._asked >= KEPT:
            try:
                disk = os.statvfs(self._path)
            except OSError as error:
                raise SystemTrouble(detail=f"no queue at {self._path}: {error.strerror}") from error
            self._free, self._asked = disk.f_bavail * disk.f_frsize, now
        if self._free < self._floor + size:
            raise QueueFull


ANY_ROOM = Room("", 0)
