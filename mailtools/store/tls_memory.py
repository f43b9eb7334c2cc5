"""Which hosts were spoken to under TLS: tls-memory/HOST:PORT, a hint that may be lost.

The last line of a file counts: when a session was encrypted last, and since when it cannot be any
more (0: it can), in seconds since 1970. Removing the file makes the host a stranger again.
"""

from typing import NamedTuple

from mailtools.errors import Failure
from mailtools.store import disk, file_name


class Seen(NamedTuple):
    """A host that was spoken to under TLS."""

    encrypted: float
    """When last."""
    failing: float = 0.0
    """Since when TLS fails there; 0: it does not."""


class TlsMemory:
    """The folder tls-memory of a spool."""

    def __init__(self, folder: str) -> None:
        """Take the folder; it is made when something is noted first."""
        self._folder = folder

    def path(self, host: str) -> str:
        """Give the file of a host."""
        return f"{self._folder}/{file_name.encode(host)}"

    def name(self, host: str) -> str:
        """Give the same as it stands in the spool, for texts that strangers may read."""
        return f"tls-memory/{file_name.encode(host)}"

    def find(self, host: str) -> Seen | None:
        """Give what is known of a host; None where nothing is."""
        try:
            with open(self.path(host), encoding="ascii", errors="replace") as file:
                lines = [line for line in file.read().split("\n")[:-1] if line.count("\t") == 1]
            encrypted, failing = lines[-1].split("\t")
            return Seen(float(encrypted), float(failing))
        except (OSError, IndexError, ValueError):
            return None

    def note(self, host: str, seen: Seen) -> None:
        """Note what is known of a host now; raise QueueFull, SystemTrouble."""
        disk.make_directory(self._folder)
        line = f"{seen.encrypted:.0f}\t{seen.failing:.0f}\n"
        disk.append(self.path(host), line.encode(), sync=False, mend=True)

    def forget(self, host: str) -> None:
        """Forget a host."""
        disk.remove(self.path(host))

    def sweep(self, before: float) -> None:
        """Forget the hosts that were encrypted last before a time, in seconds since 1970."""
        for name in disk.names(self._folder):
            host = file_name.decode(name)
            seen = self.find(host)
            if seen is None or seen.encrypted < before:
                try:
                    self.forget(host)
                except Failure:
                    return  # another day
