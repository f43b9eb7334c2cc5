"""Text files that people and programs edit: one writer at a time, owner and permissions kept."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator

from mailtools.errors import SystemTrouble
from mailtools.store import disk, lock

PATIENCE = 10  # seconds to wait for another writer


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Be the one writer of `path`: the lock is `PATH.lock` beside it. Raise SystemTrouble."""
    held = lock.hold(f"{path}.lock", PATIENCE)
    if held is None:
        raise SystemTrouble(detail=f"{path}.lock is held by another program")
    try:
        yield
    finally:
        held.release()


def rewrite(path: str, lines: Iterable[str], mode: int = 0o600) -> None:
    """Give `path` these lines at once; a new file gets `mode`, one that is there keeps its own."""
    text = "".join(f"{line}\n" for line in lines)
    try:
        about = os.stat(path)
    except FileNotFoundError:
        about = None
    writer = disk.beside(path, mode)
    writer.write(text.encode("utf-8", "surrogateescape"))
    if about is not None:
        # Before it gets its name: nobody who may read it must miss it for a moment.
        if (about.st_uid, about.st_gid) != (os.geteuid(), os.getegid()):
            disk.set_owner(writer.path, about.st_uid, about.st_gid)
        disk.set_owner(writer.path, -1, -1, stat.S_IMODE(about.st_mode))
    writer.publish(path, replacing=True)
