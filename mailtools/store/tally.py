"""How much of something was done in the last hour: counts in small files, without a lock.

    budget/489200/user:alice          hours since 1970; a line `SECONDS COUNT` each time
    budget/day/20383/alert:alice      days since 1970; what happened once that day

A line is one append, so many processes count at once, and whoever appends before he reads is never
allowed what another took. A negative count takes one back. Nothing is synced: a power cut forgives.
Folders older than the last hour go when a new one is made.
"""

import os
import re

from mailtools.store import disk

HOUR, DAY = 3600, 86400
_odd = re.compile(r"[^A-Za-z0-9@.:_+-]")


class Tally:
    """Counts of a kind, each under a name."""

    def __init__(self, folder: str) -> None:
        """Take the folder, which need not exist."""
        self._folder = folder

    def add(self, name: str, count: int, now: float) -> int:
        """Count, and give the sum of the last hour with it; raise QueueFull or SystemTrouble."""
        hour = int(now) // HOUR
        folder = f"{self._folder}/{hour}"
        if not os.path.isdir(folder) and disk.make_directory(folder):
            _sweep(self._folder, hour - 1)
        disk.append(f"{folder}/{_file_name(name)}", b"%d %d\n" % (now, count), sync=False)
        return self.sum(name, now)

    def sum(self, name: str, now: float) -> int:
        """Give the sum of the last hour."""
        hour = int(now) // HOUR
        return sum(
            count
            for part in (hour - 1, hour)
            for when, count in _lines(f"{self._folder}/{part}/{_file_name(name)}")
            if when > now - HOUR
        )

    def first_today(self, name: str, now: float) -> bool:
        """Note something, and tell whether it was not noted yet this UTC day."""
        days, day = f"{self._folder}/day", int(now) // DAY
        if disk.make_directory(f"{days}/{day}"):
            _sweep(days, day)
        return disk.create(f"{days}/{day}/{_file_name(name)}")


def _sweep(folder: str, kept: int) -> None:
    """Remove the folders whose number is below `kept`."""
    for old in disk.names(folder):
        if old.isdigit() and int(old) < kept:
            for name in disk.names(f"{folder}/{old}"):
                disk.remove(f"{folder}/{old}/{name}")
            disk.remove_directory(f"{folder}/{old}")


def _file_name(name: str) -> str:
    safe = _odd.sub(lambda match: "".join(f"%{b:02X}" for b in match[0].encode()), name)
    return safe[:200]


def _lines(path: str) -> list[tuple[int, int]]:
    try:
        with open(path, "rb") as file:
            whole = file.read().rpartition(b"\n")[0]  # a torn last line does not count
    except OSError:
        return []
    found = []
    for line in whole.split(b"\n"):
        when, _, count = line.partition(b" ")
        if when.isdigit() and count.removeprefix(b"-").isdigit():
            found.append((int(when), int(count)))
    return found
