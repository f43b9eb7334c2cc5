"""Lock files that Dovecot honours too: `NAME.lock`, created with O_EXCL, `pid:host` inside.

A lock whose process is dead (same host), or that has not changed for two minutes, is stale and
taken over: renamed away first and looked at again, so that of two who find it stale only one wins
and neither takes a fresh lock for the stale one. Who holds a lock for long must `touch` it.
"""

import os
import random
import time

from mailtools.errors import SystemTrouble
from mailtools.store import disk
from mailtools.store.plain_file import opener

STALE = 120  # seconds: Dovecot's limit for its UID list
FRESH = 2  # seconds: the holder may still be writing its pid
_HOST = os.uname().nodename


class DotLock:
    """One lock file; reentrant in its process, for use with `with`."""

    def __init__(self, path: str, timeout: float = STALE + 2) -> None:
        """Lock the file `path`, waiting up to `timeout` seconds before SystemTrouble."""
        self.path = f"{path}.lock"
        self._timeout = timeout
        self._depth = 0
        self._touched = 0.0

    def __enter__(self) -> "DotLock":
        if not self._depth:
            self._acquire()
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            disk.remove(self.path)

    def touch(self) -> None:
        """Tell the others that we still work; cheap to call often."""
        now = time.monotonic()
        if now - self._touched > 10:
            self._touched = now
            disk.set_mtime(self.path, time.time())

    def _acquire(self) -> None:
        end = time.monotonic() + self._timeout
        wait = 0.002
        while not disk.create(self.path, f"{os.getpid()}:{_HOST}".encode(), mode=0o600):
            if self._take_over():
                continue
            if time.monotonic() > end:
                raise SystemTrouble(detail=f"{self.path} is held by another process")
            time.sleep(wait * (0.5 + random.random()))
            wait = min(wait * 2, 0.2)
        self._touched = time.monotonic()

    def _take_over(self) -> bool:
        """Remove the lock where it is stale; tell whether to try again at once."""
        try:
            status = os.stat(self.path)
            if not self._stale(status):
                return False
            aside = f"{self.path}.{os.getpid()}"
            disk.move(self.path, aside)
        except FileNotFoundError:
            return True
        if os.stat(aside).st_ino != status.st_ino:  # a fresh one: give it back
            try:
                disk.link(aside, self.path)
            except FileExistsError:
                pass
        disk.remove(aside)
        return True

    def _stale(self, status: os.stat_result) -> bool:
        age = time.time() - max(status.st_mtime, status.st_ctime)
        if age < FRESH:
            return False
        with open(self.path, "rb", opener=opener) as file:
            pid, _, host = file.read(512).decode("utf-8", "replace").strip().partition(":")
        if host == _HOST and pid.isascii() and pid.isdigit() and int(pid) > 0:
            # Dovecot trusts a living process for ever; so do we.
            return int(pid) == os.getpid() or not _alive(int(pid))
        return age > STALE


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
