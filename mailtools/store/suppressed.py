"""Addresses that another host refused as unknown: suppress/NAME, one file each.

The last line of a file counts: address, since when, status and text, TAB between. Like dest/ it is
a hint: what a power cut takes is learnt again. Removing the file lifts the suppression.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from mailtools.mail.dates import parse_seconds
from mailtools.store import disk, file_name

NAME_MOST = 200  # octets of a file's name; most file systems take 255


class Suppression(NamedTuple):
    """An address that is not tried."""

    address: str
    since: float
    """Seconds since 1970."""
    status: str
    text: str
    """What the other host said."""


class Suppressed:
    """The folder suppress/ of a queue."""

    def __init__(self, folder: str) -> None:
        """Take the folder; nothing is read yet."""
        self._folder = folder

    def find(self, address: str) -> Suppression | None:
        """Give what is known against an address; None where nothing is."""
        return _read(self._path(address))

    def add(self, one: Suppression) -> None:
        """Note that an address was refused as unknown."""
        line = f"{one.address}\t{one.since:.0f}\t{one.status}\t{one.text}\n"
        disk.append(self._path(one.address), line.encode("utf-8", "replace"), sync=False, mend=True)

    def lift(self, address: str) -> bool:
        """Let an address be tried again; tell whether it was suppressed."""
        return disk.remove(self._path(address))

    def all(self) -> Iterator[Suppression]:
        """Yield them all, in the order of their names."""
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk.trouble(error, "list", self._folder) from error
        for name in names:
            found = _read(f"{self._folder}/{name}")
            if found:
                yield found

    def sweep(self, before: float) -> None:
        """Lift what was noted before a time, in seconds since 1970."""
        for one in self.all():
            if one.since < before:
                self.lift(one.address)

    def _path(self, address: str) -> str:
        name = file_name.encode(address.lower())
        if len(name) > NAME_MOST:
            import hashlib  # such names are rare

            name = f"{name[:100]}+{hashlib.sha256(name.encode()).hexdigest()}"
        return f"{self._folder}/{name}"


def _read(path: str) -> Suppression | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line for line in file.read().split("\n")[:-1] if _is_whole(line)]
        address, since, status, text = lines[-1].split("\t")
        return Suppression(address, parse_seconds(since), status, text)
    except (OSError, IndexError, ValueError):
        return None


def _is_whole(line: str) -> bool:
    return line.count("\t") == 3 and "\0" not in line  # else a full disk or a power cut tore it
