"""Whether the disk has room for a message: asked before it is taken, not when it is too late."""

import os
import time

from mailtools.errors import QueueFull, SystemTrouble

KEPT = 1.0  # seconds an answer of the file system holds


class Room:
    """The room on the queue's disk, beyond a floor that stays free."""

    def __init__(self, path: str, floor: int, inodes: int = 0) -> None:
        """`floor` is in octets, `inodes` the files that may still be made; 0: never mind."""
        self._path, self._floor, self._inodes = path, floor, inodes
        self._free, self._asked = 0, -KEPT
        self._files_left = True

    def check(self, size: int) -> None:
        """Raise QueueFull where `size` octets, or a file, would go below the floor; SystemTrouble.

        A file system that makes its inodes as it needs them says that it has none at all.
        """
        if not self._floor and not self._inodes:
            return
        now = time.monotonic()
        if now - self._asked >= KEPT:
            try:
                disk = os.statvfs(self._path)
            except OSError as error:
                raise SystemTrouble(detail=f"no queue at {self._path}: {error.strerror}") from error
            self._free, self._asked = disk.f_bavail * disk.f_frsize, now
            self._files_left = not disk.f_files or disk.f_favail > self._inodes
        if not self._files_left or (self._floor and self._free < self._floor + size):
            raise QueueFull


ANY_ROOM = Room("", 0)
