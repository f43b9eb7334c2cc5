"""Octets kept until it is known what becomes of them: in memory, and in a file where they are many.

The file is never synced and means nothing after a crash: in a queue's tmp/ it is swept like any
litter there.
"""

import contextlib
from collections.abc import Iterator

from mailtools.errors import Failure, SystemTrouble
from mailtools.store import disk
from mailtools.store.queue_id import make_id

MEMORY_MOST = 1 << 20  # octets
_PIECE = 1 << 16


class Scratch:
    """A text that is written once and read once."""

    def __init__(self, folder: str, most: int = MEMORY_MOST) -> None:
        """Take where a file may be made, and how many octets memory holds."""
        self._folder, self._path = folder, ""
        self._most = most
        self._held = bytearray()  # not pieces: those of a peer that sips take forty times the room

    def write(self, data: bytes) -> None:
        """Add a piece; raise QueueFull or SystemTrouble."""
        self._held += data
        if len(self._held) > self._most:
            self._spill()

    def read(self) -> Iterator[bytes]:
        """Yield all that was written."""
        if self._path:
            self._spill()
            try:
                with open(self._path, "rb") as file:
                    while piece := file.read(_PIECE):
                        yield piece
            except OSError as error:
                raise SystemTrouble(detail=f"cannot read {self._path}: {error}") from error
        if self._held:
            yield bytes(self._held)

    def close(self) -> None:
        """Forget it; never raises."""
        self._held = bytearray()
        path, self._path = self._path, ""
        if path:
            with contextlib.suppress(Failure):  # what stays is swept like any litter there
                disk.remove(path)

    def _spill(self) -> None:
        # From now on memory holds a buffer's worth, and the file the rest.
        self._path, self._most = self._path or f"{self._folder}/{make_id()}", disk.BUFFER
        disk.append(self._path, bytes(self._held), sync=False)
        self._held.clear()
