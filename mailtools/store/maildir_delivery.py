"""A delivery into a Maildir: written in tmp/, measured as it goes, published whole and synced."""

import os
from collections.abc import Callable

from mailtools.errors import Failure
from mailtools.store import disk
from mailtools.store.maildir_names import CUR, NEW, Message, info


class Delivery:
    """A message on its way into a Maildir: seen by nobody before `commit`."""

    def __init__(
        self, path: str, unique: str, find: Callable[[str], Message | None] | None = None
    ) -> None:
        """For `Maildir.begin`: the Maildir's path, the unique part, and a look for an earlier
        attempt by the name it had in new/."""
        self._path = path
        self._unique = unique
        self._find = find
        self._lines = 0
        self._after_cr = False
        self._writer = _writer(path, unique)

    @property
    def size(self) -> int:
        """Octets written so far."""
        return self._writer.size

    def write(self, data: bytes) -> None:
        """Add a piece of the message, with LF at its line ends."""
        if not data:
            return
        self._lines += data.count(b"\n")
        if b"\r" in data or self._after_cr:  # a line that has its CR needs none on the wire
            self._lines -= data.count(b"\r\n") + (self._after_cr and data.startswith(b"\n"))
            self._after_cr = data.endswith(b"\r")
        self._writer.write(data)

    def commit(self, flags: str = "", mtime: float | None = None, new: bool = True) -> Message:
        """Put it in new/, or with flags or without `new` in cur/; durable when this returns.

        `mtime` is IMAP's INTERNALDATE. Raises a Failure, and then the message is not there.
        """
        folder = NEW if new and not flags else CUR
        size, wire = self._writer.size, self._writer.size + self._lines
        name = f"{self._unique},S={size},W={wire}"
        found = self._find(name) if self._find else None
        if found:
            self._writer.abort()
            # The attempt that left it may have died before this.
            disk.sync_directory(f"{self._path}/{found.folder}")
            return found
        if folder == CUR:
            name += info(flags)
        try:
            self._writer.publish(f"{self._path}/{folder}/{name}", mtime)
        except Failure as failure:
            if isinstance(failure.__cause__, FileNotFoundError):
                create(self._path)  # new/ or cur/ was taken away: the next attempt finds them
            raise
        message = Message(self._path, folder, name, self._unique)
        message.know_sizes(size, wire)
        return message

    def abort(self) -> None:
        """Throw it away."""
        self._writer.abort()


def create(path: str) -> None:
    """Make a Maildir with tmp/, new/ and cur/, durably; what is there stays."""
    disk.make_directory(path, sync=True)
    # tmp/ last: where it is there, so are the others, if the process died in between.
    made = [disk.make_directory(f"{path}/{name}") for name in (CUR, NEW, "tmp")]
    if any(made):
        if os.path.basename(path).startswith("."):
            disk.create(f"{path}/maildirfolder")  # Maildir++: a subfolder, not a root
        disk.sync_directory(path)


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
