"""One holder at a time: an advisory lock, gone when its process is (flock)."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Protocol

from mailtools.errors import SystemTrouble

if TYPE_CHECKING:
    from filelock import BaseFileLock


def hold(path: str, timeout: float = -1) -> BaseFileLock | None:
    """Take the lock at `path`, waiting up to `timeout` seconds (0: not at all; -1: for ever).

    None: somebody else holds it. Its `release()` lets it go; so does the end of the process.
    """
    import filelock  # here, since it costs 24 ms and most commands never lock

    lock = filelock.FileLock(path, mode=0o600)
    try:
        lock.acquire(timeout=timeout)
    except filelock.Timeout:
        return None
    except OSError as error:
        raise SystemTrouble(detail=f"cannot lock {path}: {error.strerror}") from error
    return lock


class Hold(Protocol):
    """A lock that is held."""

    def release(self, force: bool = ...) -> None:
        """Let it go."""


class _FolderHold:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self, force: bool = False) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def hold_folder(path: str, name: str) -> Hold | None:
    """Take the lock of a folder without waiting; None: somebody else holds it.

    It lies on the folder itself, so a full disk does not matter and nothing is left behind; only
    where a folder cannot be locked (NFS) on a file `name` in it. Raises SystemTrouble.
    """
    fd = -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES) and fd >= 0:
            return None
        if error.errno in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            return hold(os.path.join(path, name), 0)
        raise SystemTrouble(detail=f"cannot lock {path}: {error.strerror}") from error
    return _FolderHold(fd)
