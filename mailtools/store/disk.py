"""The only module that changes the file system: create, append, replace, move, remove, sync.

Each system call passes one door, `_call`, where the crash and fault tests stop, count and fail it.
A file appears under its name whole and synced, or not at all: write in tmp/, fsync, rename, fsync
the directory. Trouble is raised as a Failure, never a permanent one; a name that is not there is
FileNotFoundError, since the callers know what that means.
"""

import errno
import os
from collections.abc import Callable
from typing import Any, TypeVar

from mailtools.errors import Failure, QueueFull, SystemTrouble

T = TypeVar("T")
BUFFER = 65536  # octets gathered before they are written

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _call(function: Callable[..., T], *args: Any) -> T:
    return function(*args)


def trouble(error: OSError, doing: str, path: str) -> Failure:
    """Say an OSError as a Failure: QueueFull where space or quota ran out, else SystemTrouble."""
    kind = QueueFull if error.errno in _FULL else SystemTrouble
    return kind(detail=f"cannot {doing} {path}: {error.strerror or error}")


class Writer:
    """A new file that nobody sees until `publish`: gathered, written, synced, renamed, synced."""

    def __init__(self, path: str, mode: int = 0o600) -> None:
        """Create `path`, which must not exist; raise a Failure."""
        self.path = path
        self.size = 0
        """Octets written so far."""
        self._gathered: list[bytes] = []
        self._waiting = 0
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = _call(os.open, path, flags, mode)
        except OSError as error:
            raise trouble(error, "create", path) from error

    def write(self, data: bytes) -> None:
        """Add `data`; it is on disk only after `publish`."""
        self.size += len(data)
        self._waiting += len(data)
        self._gathered.append(data)
        if self._waiting >= BUFFER:
            self._flush()

    def publish(self, target: str, mtime: float | None = None, *, replacing: bool = False) -> None:
        """Make the file `target`: when this returns, file and name survive a power cut.

        `mtime` is the modification time to give it, in seconds (default: now). `replacing` a file
        that was there, a failure leaves the old or the new one.
        """
        self.close(mtime)
        try:
            _call(os.rename, self.path, target)
        except OSError as error:
            self._discard()
            raise trouble(error, "rename to", target) from error
        try:
            sync_directory(os.path.dirname(target))
        except Failure:
            # Not acknowledged, so it must not stay: its sender will send it again.
            if not replacing:
                remove(target)
            raise

    def close(self, mtime: float | None = None) -> None:
        """Write and sync the content, and close; the name is not synced."""
        self._flush()
        try:
            if mtime is not None:
                _call(os.utime, self._fd, (mtime, mtime))
            _call(os.fsync, self._fd)
        except OSError as error:
            self.abort()
            raise trouble(error, "sync", self.path) from error
        fd, self._fd = self._fd, -1
        os.close(fd)

    def abort(self) -> None:
        """Throw the file away."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
            self._discard()

    def _flush(self) -> None:
        data = memoryview(b"".join(self._gathered))
        self._gathered.clear()
        self._waiting = 0
        try:
            while data:
                data = data[_call(os.write, self._fd, data) :]
        except OSError as error:
            self.abort()
            raise trouble(error, "write", self.path) from error

    def _discard(self) -> None:
        try:
            _call(os.unlink, self.path)
        except OSError:
            pass  # litter in tmp/ is swept when it is 36 hours old


def create(path: str, data: bytes = b"", mode: int = 0o600) -> bool:
    """Create `path` with a short content, unsynced; False where the name is taken.

    For lock files and marks, which mean something by being there; FileNotFoundError as it is.
    """
    try:
        fd = _call(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError as error:
        raise trouble(error, "create", path) from error
    try:
        _call(os.write, fd, data)
    except OSError as error:
        remove(path)
        raise trouble(error, "write", path) from error
    finally:
        os.close(fd)
    return True


def append(
    path: str, data: bytes, *, sync: bool = True, mode: int = 0o600, mend: bool = False
) -> None:
    """Add `data` to the end of `path` in one write, creating it where it is missing.

    With `sync`, content and name are on disk when this returns. A write that is cut short (a full
    disk) raises; what it left is a torn last line, which readers ignore. With `mend` such a line is
    ended first by NUL and LF, so that what comes now does not become a part of it.
    """
    try:
        new = not os.path.exists(path)
        # Nonblocking: a FIFO under that name is an error at once, and not a long wait.
        access = (os.O_RDWR if mend else os.O_WRONLY) | os.O_NONBLOCK
        fd = _call(os.open, path, access | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, mode)
        try:
            if mend and not new:
                end = os.fstat(fd).st_size - 1
                data = data if end < 0 or os.pread(fd, 1, end) == b"\n" else b"\0\n" + data
            try:
                if _call(os.write, fd, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                if sync:  # whole lines of a write that was cut short too: readers believe them
                    _call(os.fsync, fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise trouble(error, "append to", path) from error
    if new and sync:
        sync_directory(os.path.dirname(path))


def replace(path: str, data: bytes, *, temporary: str = "", mode: int = 0o600) -> None:
    """Give `path` the content `data`: readers see the old or the new, also after a power cut.

    `temporary` is the name to write under, in the same file system (default: beside `path`).
    """
    writer = Writer(temporary, mode) if temporary else beside(path, mode)
    writer.write(data)
    writer.publish(path, replacing=True)


def beside(path: str, mode: int = 0o600) -> Writer:
    """Begin the new content of `path` in a file beside it, under a name with our process ID."""
    name = f"{path}.{os.getpid()}.new"
    if os.path.lexists(name):
        remove(name)  # of a process that died: in a container each has the same number
    return Writer(name, mode)


def move(source: str, target: str, *, sync: bool = False) -> None:
    """Rename `source` to `target`; raise FileNotFoundError when `source` is gone.

    Without `sync` a power cut may undo it: right where the old name means "do it again".
    """
    try:
        _call(os.rename, source, target)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise trouble(error, "rename", source) from error
    if sync:
        sync_directory(os.path.dirname(target))


def link(source: str, target: str, *, sync: bool = False) -> None:
    """Give the file `source` a second name; FileExistsError and FileNotFoundError as they are."""
    try:
        _call(os.link, source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise trouble(error, "link", source) from error
    if sync:
        sync_directory(os.path.dirname(target))


def remove(path: str, *, sync: bool = False) -> bool:
    """Unlink `path`; already gone is success. Tell whether it was there."""
    try:
        _call(os.unlink, path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise trouble(error, "remove", path) from error
    if sync:
        sync_directory(os.path.dirname(path))
    return True


def remove_directory(path: str) -> bool:
    """Remove an empty directory; False where it is not empty or not there."""
    try:
        _call(os.rmdir, path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise trouble(error, "remove", path) from error
    return True


def make_directory(path: str, mode: int = 0o700, *, sync: bool = False) -> bool:
    """Make a directory and what it stands in; False where it was there already."""
    parent = os.path.dirname(path)
    for last in (False, True):
        try:
            _call(os.mkdir, path, mode)
            break
        except FileExistsError:
            return False
        except OSError as error:
            # A second time: it stands behind a link that leads nowhere.
            if last or not parent or error.errno != errno.ENOENT:
                raise trouble(error, "make directory", path) from error
            make_directory(parent, mode, sync=sync)
    if sync:
        sync_directory(os.path.dirname(path))
    return True


def make_fifo(path: str, mode: int = 0o600) -> None:
    """Make a FIFO; one that is there is left as it is."""
    try:
        _call(os.mkfifo, path, mode)
    except FileExistsError:
        pass
    except OSError as error:
        raise trouble(error, "make fifo", path) from error


def pull(path: str) -> bool:
    """Write a byte to a FIFO if somebody reads it; never block. Tell whether somebody does."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False  # nobody listens: the next pass finds what there is
    try:
        os.write(fd, b"\0")
    except BlockingIOError:
        pass  # full: the reader has enough to wake up for
    except BrokenPipeError:
        return False
    finally:
        os.close(fd)
    return True


def has_reader(path: str) -> bool:
    """Tell whether somebody has a FIFO open to read; nothing is written."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def names(path: str) -> list[str]:
    """List a directory; one that is not there has no names. Raise a Failure."""
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise trouble(error, "list", path) from error


def set_mtime(path: str, seconds: float) -> None:
    """Set a file's modification time (IMAP's INTERNALDATE); FileNotFoundError as it is."""
    try:
        _call(os.utime, path, (seconds, seconds))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise trouble(error, "set the time of", path) from error


def set_owner(path: str, uid: int, gid: int, mode: int = -1) -> None:
    """Give a file or directory to `uid` and `gid`, with permissions `mode` (-1: as they are).

    A symbolic link itself is given, never what it points to.
    """
    try:
        _call(os.lchown, path, uid, gid)
        if mode >= 0:
            _call(os.chmod, path, mode)
    except OSError as error:
        raise trouble(error, "set the owner of", path) from error


def sync_file(path: str) -> None:
    """Make what was appended to a file unsynced survive a power cut; one that is gone is well."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call(os.fsync, fd)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return
    except OSError as error:
        raise trouble(error, "sync", path) from error


def sync_directory(path: str) -> None:
    """Make the names in a directory survive a power cut."""
    try:
        fd = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _call(os.fsync, fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise trouble(error, "sync", path) from error
