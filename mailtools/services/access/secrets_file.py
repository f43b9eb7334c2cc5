"""Files that hold a secret: read only where others cannot."""

import os
import stat

from mailtools.errors import Misconfigured


def read_secret(path: str) -> bytes:
    """Read a file that is a secret; raise Misconfigured where others can read it too."""
    try:
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & stat.S_IRWXO:
                raise Misconfigured(detail=f"{path}: others can read it: chmod o= {path}")
            return file.read()
    except OSError as error:
        raise Misconfigured(detail=f"{path}: cannot be read: {error.strerror}") from error
