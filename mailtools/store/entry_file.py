"""An entry's file, read: its envelope, where the message begins, the message."""

import errno
import os

from mailtools.errors import BadEntry, NoSuchEntry
from mailtools.mail import envelope as envelopes
from mailtools.mail.envelope import Envelope
from mailtools.store import disk

HEAD_MOST = 64 * 1024 * 1024  # octets of envelope lines; beyond, it is no entry
_HEAD_READ = 16384  # octets read at first: the envelope and most headers


def read_head(path: str) -> tuple[Envelope, int]:
    """Read the envelope of an entry's file: it, and the message's offset.

    Raise NoSuchEntry when the file is gone, BadEntry when it is no entry.
    """
    return read_start(path)[:2]


def read_start(path: str) -> tuple[Envelope, int, bytes, int]:
    """Read the start of an entry: envelope, the message's offset, its first octets and its size.

    A small message is whole in its first octets. Raises as `read_head` does.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            size = os.fstat(fd).st_size
            data = os.read(fd, _HEAD_READ)
            end = data.find(b"\n\n")
            while end < 0 and len(data) < HEAD_MOST:
                more = os.read(fd, len(data) * 2)
                if not more:
                    break
                start = len(data) - 1
                data += more
                end = data.find(b"\n\n", start)
        finally:
            os.close(fd)
    except FileNotFoundError:
        raise NoSuchEntry(f"No such entry in the queue: {os.path.basename(path)}") from None
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ELOOP):
            raise BadEntry("Not a plain file") from None
        raise disk.trouble(error, "read", path) from error
    if end < 0:
        raise BadEntry("The envelope has no end")
    return envelopes.decode(data[:end]), end + 2, data[end + 2 :], size - end - 2


def read_from(path: str, offset: int) -> bytes:
    """Read a file from `offset` to its end; raise NoSuchEntry when it is gone."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        raise NoSuchEntry(f"No such entry in the queue: {os.path.basename(path)}") from None
    except OSError as error:
        raise disk.trouble(error, "read", path) from error


def read_all(fd: int) -> bytes:
    """Read what a descriptor has, to its end."""
    pieces = []
    while piece := os.read(fd, 65536):
        pieces.append(piece)
    return b"".join(pieces)
