"""Reading what others laid into folders of theirs: plain files only, and only so much of them.

A FIFO under the name of a file would keep its reader for ever, and a file with holes may claim to
be larger than memory. `opener` is for `open` and FileIO.
"""

import errno
import os
import stat


def opener(path: str, flags: int) -> int:
    """Open a plain file; anything else is an OSError. Never waits."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "Not a plain file", path)
    return fd


def read(path: str, most: int) -> bytes:
    """Read a plain file; one of more than `most` octets is an OSError, as one that is not there."""
    with open(path, "rb", buffering=0, opener=opener) as file:
        data = file.read(most + 1)
        while data and len(data) <= most and (more := file.read(most + 1 - len(data))):
            data += more
    if len(data) > most:
        raise OSError(errno.EINVAL, f"Larger than {most} octets", path)
    return data
