"""Text files that are kept in memory, and read again when somebody has changed them.

text = file.news()          None: as it was
if text is not None:
    table = read(text)      may raise: then the next look reads it again
    file.settle()
"""

import errno
import os
import stat
import sys

from mailtools.store.plain_file import opener


class ChangingFile:
    """One such file."""

    __slots__ = ("_most", "_read", "_settled", "mode", "owner", "path")

    def __init__(self, path: str, most: int = sys.maxsize) -> None:
        """Name the file; one that is no plain file, or larger than `most` octets, is not read."""
        self.path, self._most = path, most
        self.mode = 0
        """Its permissions when it was last read."""
        self.owner = (os.getuid(), os.getgid())
        """Uid and gid of the file when it was last read; ours before that."""
        self._settled: tuple[int, int, int] | None = None
        self._read: tuple[int, int, int] | None = None

    def news(self) -> str | None:
        """Give the text where it is not the one that was settled; None where it is.

        Raises OSError; the file is then read again, whenever it comes back.
        """
        try:
            if self._settled and _stamp(os.stat(self.path)) == self._settled:
                return None
            with open(self.path, "rb", opener=opener) as file:
                about = os.fstat(file.fileno())  # of what is read, not of what replaced it since
                if about.st_size > self._most:
                    raise OSError(errno.EINVAL, f"Larger than {self._most} octets", self.path)
                text = file.read(about.st_size + 1).decode("utf-8", "surrogateescape")
        except OSError:
            self._settled = None
            raise
        self.owner, self.mode = (about.st_uid, about.st_gid), stat.S_IMODE(about.st_mode)
        self._read, self._settled = _stamp(about), None
        return text

    def settle(self) -> None:
        """Note that the text of the last news was good: it is not read again until it changes."""
        self._settled = self._read


def _stamp(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_mtime_ns, about.st_size, about.st_ino
