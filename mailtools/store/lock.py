"""One holder at a time: an advisory lock on a file, gone when its process is (flock)."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
