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


class SecretLines:
    """A file of secrets, a line each and the newest first; read again when it changes."""

    def __init__(self, path: str) -> None:
        """Name the file; raise Misconfigured."""
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._secrets: list[bytes] = []
        self.read()

    def read(self) -> list[bytes]:
        """Give the secrets, one at least; raise Misconfigured."""
        try:
            about = os.stat(self._path)
            stamp: tuple[int, ...] = (about.st_mtime_ns, about.st_size, about.st_ino)
        except OSError:
            stamp = ()
        if stamp and stamp == self._stamp:
            return self._secrets
        lines = (line.strip() for line in read_secret(self._path).split(b"\n"))
        secrets = [line for line in lines if line and not line.startswith(b"#")]
        if not secrets:
            raise Misconfigured(detail=f"{self._path}: holds no secret")
        self._secrets, self._stamp = secrets, stamp
        return secrets
