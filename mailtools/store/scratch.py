"""Octets kept until it is known what becomes of them: in memory, and in a file where they are many.

The file is never synced and means nothing after a crash: in a queue's tmp/ it is swept like any
litter there.
"""

from collections.abc import Iterator

from mailtools.errors import SystemTrouble
from mailtools.store import disk

MEMORY_MOST = 1 << 20  # octets
_PIECE = 1 << 16


class Scratch:
    """A text that is written once and read once."""

    def __init__(self, path: str, most: int = MEMORY_MOST) -> None:
        """Take the name of a file that may be made, and how many octets memory holds."""
        self._path = path
        self._most = most
        self._pieces: list[bytes] = []
        self._size = 0
        self._spilled = False

    def write(self, data: bytes) -> None:
        """Add a piece; raise QueueFull or SystemTrouble."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._most:
            self._spill()

    def read(self) -> Iterator[bytes]:
        """Yield all that was written."""
        if self._spilled:
            self._spill()
            try:
                with open(self._path, "rb") as file:
                    while piece := file.read(_PIECE):
                        yield piece
            except OSError as error:
                raise SystemTrouble(detail=f"cannot read {self._path}: {error}") from error
        yield from self._pieces

    def close(self) -> None:
        """Forget it."""
        self._pieces.clear()
        if self._spilled:
            self._spilled = False
            disk.remove(self._path)

    def _spill(self) -> None:
        # From now on memory holds a buffer's worth, and the file the rest.
        self._spilled, self._most = True, disk.BUFFER
        disk.append(self._path, b"".join(self._pieces), sync=False)
        self._pieces.clear()
        self._size = 0
