"""Text files that people and programs edit: one writer at a time, owner and permissions kept."""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mailtools.errors import SystemTrouble
from mailtools.store import disk, lock

PATIENCE = 10  # seconds to wait for another writer


class Rights(NamedTuple):
    """Whose a file is (-1: whoever makes it), and its permissions."""

    uid: int = -1
    gid: int = -1
    mode: int = 0o600


OURS_ALONE = Rights()


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


def rewrite(path: str, lines: Iterable[str], new: Rights = OURS_ALONE) -> None:
    """Give `path` these lines at once; a `new` file gets these rights, another keeps its own."""
    text = "".join(f"{line}\n" for line in lines)
    rights = rights_of(path) or new
    writer = disk.beside(path, 0o600)
    writer.write(text.encode("utf-8", "surrogateescape"))
    # Before it gets its name: nobody who may read it must miss it for a moment.
    if (rights.uid, rights.gid) not in ((-1, -1), (os.geteuid(), os.getegid())):
        disk.set_owner(writer.path, rights.uid, rights.gid)
    disk.set_owner(writer.path, -1, -1, rights.mode)
    writer.publish(path, replacing=True)


def rights_of(path: str) -> Rights | None:
    """Give whose a file is, and who may do what with it; None where it is not there."""
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return None
    return Rights(about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode))
