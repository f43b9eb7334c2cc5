"""Text files that are kept in memory, and read again when somebody has changed them.

text = file.news()          None: as it was
if text is not None:
    table = read(text)      may raise: then the next look reads it again
    file.settle()
"""

import os


class ChangingFile:
    """One such file."""

    __slots__ = ("_read", "_settled", "owner", "path")

    def __init__(self, path: str) -> None:
        """Name the file."""
        self.path = path
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
            with open(self.path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
                about = os.fstat(file.fileno())  # of what is read, not of what replaced it since
                text = file.read()
        except OSError:
            self._settled = None
            raise
        self.owner = (about.st_uid, about.st_gid)
        self._read, self._settled = _stamp(about), None
        return text

    def settle(self) -> None:
        """Note that the text of the last news was good: it is not read again until it changes."""
        self._settled = self._read


def _stamp(about: os.stat_result) -> tuple[int, int, int]:
    return about.st_mtime_ns, about.st_size, about.st_ino
