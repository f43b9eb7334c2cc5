"""What reports are made of, and which were sent: mailtools-reports(5).

    reports/dmarc/2026-11-23   a line a message, of the UTC day
    reports/tls/2026-11-23     a line a session
    reports/dmarc/2026-11-23.5b     the share of some domains, once the day's file took half of all
    reports/dmarc/2026-11-23.5b.full   that share reached its limit: what came later is not in it
    reports/sent/2026-11-23    what was sent of that day

A line of data is a 1, the domain, the policy and the fact, TAB between, the latter two JSON; equal
lines are counted. Many processes append at once, each line in one write, unsynced: a crash may
cost the newest lines, and a torn line is passed over. The files of a day end at a limit: a flood
fills no disk. The first half of it is for all; when that is full, each of 128 shares has a part of
the other half, and a domain's name says which is its own: a flood about one domain, or about any
number of names below one, leaves 127 shares as they are.

    reports/failure/…               the same for failure reports: a line a message
    reports/failure/taken/…         what report-send has set aside, and is sending
    reports/redaction-key           by which it hides local-parts

The record of what was sent is synced line by line. `begun` names the queue ID that a report is
about to get, `queued` follows when it is there, so whoever finds `begun` alone asks the queue.
"""

import os
import re
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mailtools.store import disk

LINE_MOST = 16384  # octets; a longer one says more than a report can hold
SHARES = 128
SECOND_LEVEL_MOST = 3  # letters of co.uk, com.br: below such a name the owners differ
KEPT_DAYS = 7  # what could not be sent until then is dropped
DAY = 86400
SENT, TAKEN = "sent", "taken"
VERSION = "1"

_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")

Facts = dict[str, Counter[str]]
"""Facts and their numbers, by policy; the policy seen last is last."""


class Collected:
    """The data of one kind of report."""

    def __init__(self, folder: str, kind: str, most: int) -> None:
        """Take reports/ of the spool, which need not exist; `most` is a day's limit in octets."""
        self._folder, self._most = f"{folder}/{kind}", most

    def add(self, domain: str, policy: str, fact: str, now: float) -> bool:
        """Add a line; False where the domain's share is full, for the first line that does not fit.

        Raises QueueFull, SystemTrouble.
        """
        line = f"{VERSION}\t{domain}\t{policy}\t{fact}\n".encode("utf-8", "replace")
        if len(line) > LINE_MOST:
            return True
        day, half = day_of(now), self._most // 2
        path, most = f"{self._folder}/{day}", half
        size = _size(path)
        if size < 0:  # a new day: where nobody sends reports, this alone removes the old ones
            disk.make_directory(self._folder)
            self.sweep(day_of(now - KEPT_DAYS * DAY))
        if size + len(line) > half:
            path, most = f"{path}.{share_of(domain, day)}", half // SHARES
            size = _size(path)
        if size + len(line) > most:
            clock = time.strftime("%H:%M", time.gmtime(now))
            return not disk.create(f"{path}.full", f"{clock}\n".encode())
        disk.append(path, line, sync=False)
        return True

    def days(self) -> list[str]:
        """Give the days there are, oldest first."""
        return [name for name in _names(self._folder) if _day.match(name)]

    def full_since(self, day: str, domain: str) -> str:
        """When the share of a domain was full, as 14:05 UTC; "" where it never was."""
        path = f"{self._folder}/{day}.{share_of(domain, day)}.full"
        try:
            with open(path, encoding="ascii", errors="replace") as file:
                return file.read(5)
        except OSError:
            return ""

    def read(self, day: str) -> dict[str, Facts]:
        """Count a day's lines, by domain and policy; torn ones are passed over."""
        found: dict[str, Facts] = {}
        for name in _names(self._folder):  # the day's own file is the older one, and sorts first
            if name[:10] == day and not name.endswith(".full"):
                self._read(f"{self._folder}/{name}", found)
        return found

    def _read(self, path: str, found: dict[str, Facts]) -> None:
        try:
            with open(path, "rb") as file:
                for raw in file:
                    _count(found, raw)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise disk.trouble(error, "read", path) from error

    def sweep(self, before: str) -> int:
        """Remove the days before a day; give how many files."""
        return _sweep(self._folder, before)

    # -- data that are sent before the day is over ------------------------------------------------

    def take(self, now: float) -> None:
        """Set what is there aside, so that new files begin; raise QueueFull, SystemTrouble.

        A line that is on its way into a file just then may be lost with it.
        """
        names = [name for name in _names(self._folder) if _day.match(name[:10])]
        if names:
            disk.make_directory(f"{self._folder}/{TAKEN}")
        for name in names:
            path = f"{self._folder}/{name}"
            if name.endswith(".full"):
                disk.remove(path)
            else:
                disk.move(path, f"{self._folder}/{TAKEN}/{name}.{now * 1000:.0f}")

    def taken(self) -> list[str]:
        """Give the names of the files that were set aside, oldest first."""
        return _names(f"{self._folder}/{TAKEN}")

    def untaken(self) -> list[str]:
        """Give the names of those that still grow."""
        return [name for name in _names(self._folder) if _day.match(name[:10])]

    def lines(self, name: str) -> dict[str, Facts]:
        """Count the lines of a file, set aside or not."""
        found: dict[str, Facts] = {}
        for folder in (f"{self._folder}/{TAKEN}", self._folder):
            self._read(f"{folder}/{name}", found)
        return found

    def drop(self, name: str) -> None:
        """Remove a file that was set aside."""
        disk.remove(f"{self._folder}/{TAKEN}/{name}")


def family(domain: str) -> str:
    """Give what is registered of a name, as far as its form tells: who owns it owns all below.

    A share, and a place among those who get reports, is for these: names below one cost nothing.
    """
    labels = domain.lower().rstrip(".").rsplit(".", 3)[-3:]
    above = len(labels[-1]) == 2 and len(labels[-2:][0]) <= SECOND_LEVEL_MOST
    return ".".join(labels if above else labels[-2:])


def share_of(domain: str, day: str) -> str:
    """Name the share of a domain on a day, two hexadecimal digits; others meet in it each day."""
    return f"{zlib.crc32(f'{day} {family(domain)}'.encode('utf-8', 'replace')) % SHARES:02x}"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _count(found: dict[str, Facts], raw: bytes) -> None:
    parts = raw.decode("utf-8", "replace").split("\t")
    if len(parts) != 4 or parts[0] != VERSION or not raw.endswith(b"}\n"):
        return
    _, domain, policy, fact = parts
    fact = fact[:-1]
    facts = found.setdefault(domain, {})
    if policy not in facts:
        facts[policy] = Counter()
    elif next(reversed(facts)) != policy:
        facts[policy] = facts.pop(policy)
    facts[policy][fact] += 1


class Step(NamedTuple):
    """A step of sending a report."""

    word: str
    """begun, queued, posted or done."""
    what: str = ""
    """The queue ID, or the URI."""


class SentDay:
    """What was sent of a day."""

    def __init__(self, folder: str, day: str) -> None:
        """Take reports/ of the spool, and read what there is; raise SystemTrouble."""
        self._path = f"{folder}/{SENT}/{day}"
        self._steps: dict[tuple[str, str], list[Step]] = {}
        self._torn = False
        for kind, domain, word, what in self._read():
            self._steps.setdefault((kind, domain), []).append(Step(word, what))

    def steps(self, kind: str, domain: str) -> list[Step]:
        """Give the steps taken for a report."""
        return self._steps.get((kind, domain), [])

    def all_steps(self) -> Iterator[tuple[str, str, Step]]:
        """Yield the kind and domain of each report, and each step."""
        for (kind, domain), steps in self._steps.items():
            for step in steps:
                yield kind, domain, step

    def done(self, kind: str, domain: str) -> bool:
        """Whether nothing is left to be done for a report."""
        return any(step.word == "done" for step in self.steps(kind, domain))

    def note(self, kind: str, domain: str, word: str, what: str = "", *, sync: bool = True) -> None:
        """Note a step; on disk when this returns, unless it may be taken again (`sync`)."""
        self.note_all([(kind, domain, Step(word, what))], sync=sync)

    def note_all(self, steps: Sequence[tuple[str, str, Step]], *, sync: bool = True) -> None:
        """Note the steps of many reports, kind, domain and step of each, at the cost of one."""
        if not steps:
            return
        text = "".join(
            f"{kind}\t{domain}\t{word}\t{what}\n" for kind, domain, (word, what) in steps
        )
        lines = text.encode("utf-8", "replace")
        disk.make_directory(os.path.dirname(self._path), sync=True)
        disk.append(self._path, b"\n" + lines if self._torn else lines, sync=sync)
        self._torn = False
        for kind, domain, step in steps:
            self._steps.setdefault((kind, domain), []).append(step)

    def _read(self) -> Iterator[list[str]]:
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk.trouble(error, "read", self._path) from error
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in data.decode("utf-8", "replace").split("\n")[:-1]:
            parts = line.split("\t")
            if len(parts) == 4:
                yield parts


def sweep_sent(folder: str, before: str) -> int:
    """Remove what is noted of the days before a day; give how many files."""
    return _sweep(f"{folder}/{SENT}", before)


def day_of(now: float) -> str:
    """Name the UTC day of a time."""
    return time.strftime("%Y-%m-%d", time.gmtime(now))


def _sweep(folder: str, before: str) -> int:
    return sum(
        disk.remove(f"{folder}/{name}")
        for name in _names(folder)
        if _day.match(name[:10]) and name[:10] < before
    )


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
