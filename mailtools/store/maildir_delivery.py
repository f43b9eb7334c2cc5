"""A delivery into a Maildir: written in tmp/, measured as it goes, published whole and synced."""

import os

from mailtools.errors import Failure
from mailtools.store import disk
from mailtools.store.maildir_names import CUR, NEW, Message, info


class Delivery:
    """A message on its way into a Maildir: seen by nobody before `commit`."""

    def __init__(self, path: str, unique: str, found: Message | None) -> None:
        """For `Maildir.begin`: the Maildir's path, the unique part, and this very message where an
        earlier attempt left it."""
        self._path = path
        self._unique = unique
        self._found = found
        self._lines = 0
        self._after_cr = False
        self._writer = None if found else _writer(path, unique)

    @property
    def size(self) -> int:
        """Octets written so far."""
        return self._writer.size if self._writer else 0

    def write(self, data: bytes) -> None:
        """Add a piece of the message, with LF at its line ends."""
        if not self._writer or not data:
            return
        self._lines += data.count(b"\n")
        if b"\r" in data or self._after_cr:  # a line that keeps its CR is no longer with one more
            self._lines -= data.count(b"\r\n") + (self._after_cr and data.startswith(b"\n"))
            self._after_cr = data.endswith(b"\r")
        self._writer.write(data)

    def commit(self, flags: str = "", mtime: float | None = None, new: bool = True) -> Message:
        """Put it in new/, or with flags or without `new` in cur/; durable when this returns.

        `mtime` is IMAP's INTERNALDATE. Raises a Failure, and then the message is not there.
        """
        if not self._writer:
            assert self._found
            return self._found
        folder = NEW if new and not flags else CUR
        size, wire = self._writer.size, self._writer.size + self._lines
        name = f"{self._unique},S={size},W={wire}"
        if folder == CUR:
            name += info(flags)
        self._writer.publish(f"{self._path}/{folder}/{name}", mtime)
        message = Message(self._path, folder, name, self._unique)
        message.know_sizes(size, wire)
        return message

    def abort(self) -> None:
        """Throw it away."""
        if self._writer:
            self._writer.abort()


def create(path: str) -> None:
    """Make a Maildir with tmp/, new/ and cur/, durably; what is there stays."""
    made = [disk.make_directory(f"{path}/{name}", sync=True) for name in ("tmp", NEW, CUR)]
    if any(made) and os.path.basename(path).startswith("."):
        disk.create(f"{path}/maildirfolder")  # Maildir++: a subfolder, not a root


def _writer(root: str, unique: str) -> disk.Writer:
    path = f"{root}/tmp/{unique}"
    try:
        return disk.Writer(path)
    except Failure as failure:
        cause = failure.__cause__
        if isinstance(cause, FileNotFoundError):
            create(root)
        elif isinstance(cause, FileExistsError):  # left by an attempt that was cut off
            disk.remove(path)
        else:
            raise
    return disk.Writer(path)
