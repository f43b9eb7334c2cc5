"""What became of every finished message: history/DAY, kept for some days, then removed.

Lines of TAB-separated fields, each beginning with the queue ID and the time:

    ID  TIME  from      reverse-path  size  Message-ID  client  judgement  programs  junk
    ID  TIME  ACTION    forward-path  status  text              (each report, oldest first)
    ID  TIME  notified  action  ID of the DSN
    ID  TIME  held      why
    ID  TIME  released
    ID  TIME  rerouted  way
    ID  TIME  replayed  ID of the entry it is a copy of
    ID  TIME  copied  ID of the copy (for one that waited then; of others the journal says so)
    ID  TIME  removed   forward-path            (that was pending when the operator removed it)

The last three fields of `from` stand there only where strangers' mail was judged, programs or
milters said something of it, or it was for the folder Junk (the word `junk`).
A message's lines stand together. The file is appended to without sync: a power cut may cost the
newest lines, never a message.
"""

import os
import re
import time
from collections.abc import Collection, Iterator
from typing import NamedTuple

from mailtools.mail.dates import parse_seconds
from mailtools.mail.envelope import JUDGED, JUNK, SCREENED
from mailtools.mail.reply import one_line
from mailtools.store import disk
from mailtools.store.entry import Entry
from mailtools.store.journal import NOTIFIED

BLOCK = 1024 * 1024  # octets looked at together

_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
FROM = "from"
REMOVED = "removed"


class Record(NamedTuple):
    """A line of the history: its ID, its time, its word, and the fields behind it."""

    id: str
    time: float
    word: str
    fields: tuple[str, ...]


def lines_of(entry: Entry) -> bytes:
    """Write the history of a finished entry, from its journal."""
    envelope = entry.envelope
    head = f"{entry.id}\t{entry.arrival:.0f}\t{FROM}"
    facts = f"{envelope.reverse_path}\t{entry.size}\t{entry.message_id}\t{envelope.client}"
    found = envelope.parameters
    if JUDGED in found or SCREENED in found or JUNK in found:
        facts = f"{facts}\t{found.get(JUDGED, '')}\t{found.get(SCREENED, '')}"
        facts += "\tjunk" if JUNK in found else ""
    lines = [f"{head}\t{facts}\n"]
    for turn in entry.journal.turns:
        lines.append(f"{entry.id}\t{turn.time:.0f}\t{turn.word}\t{one_line(turn.why)}\n")
    for when, report in entry.journal.attempts:
        lines.append(
            f"{entry.id}\t{when:.0f}\t{report.action}\t{report.forward_path}"
            f"\t{report.status}\t{one_line(report.text)}\n"
        )
    for notice in entry.journal.notices:
        lines.append(f"{entry.id}\t{notice.time:.0f}\t{NOTIFIED}\t{notice.action}\t{notice.id}\n")
    return "".join(lines).encode("utf-8", "replace")


def lines_of_removed(entry: Entry, now: float) -> bytes:
    """Write the history of an entry that the operator removes."""
    lines = [f"{entry.id}\t{now:.0f}\t{REMOVED}\t{path.address}\n" for path in entry.pending]
    return lines_of(entry) + "".join(lines).encode("utf-8", "replace")


class History:
    """The folder history/ of a queue."""

    def __init__(self, folder: str) -> None:
        """Take the folder."""
        self._folder = folder

    def append(self, lines: bytes, now: float) -> None:
        """Add lines to the file of the day; not synced."""
        disk.append(f"{self._folder}/{_day_of(now)}", lines, sync=False, mend=True)

    def begin_day(self, now: float) -> bool:
        """Whether this is the first call of a UTC day; makes the day's file."""
        path = f"{self._folder}/{_day_of(now)}"
        if os.path.exists(path):
            return False
        disk.append(path, b"", sync=False)
        return True

    def days(self) -> list[str]:
        """Give the days there are, oldest first."""
        try:
            return sorted(name for name in os.listdir(self._folder) if _day.match(name))
        except OSError:
            return []

    def sweep(self, now: float, keep: float) -> int:
        """Remove days that ended more than `keep` seconds ago; give how many."""
        oldest = _day_of(now - keep)
        return sum(disk.remove(f"{self._folder}/{day}") for day in self.days() if day < oldest)

    def read(self, day: str) -> Iterator[Record]:
        """Yield the records of a day, in the order they were written."""
        try:
            with open(
                f"{self._folder}/{day}", encoding="utf-8", errors="replace", newline="\n"
            ) as file:
                for line in file:
                    record = _parse(line)
                    if record:
                        yield record
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk.trouble(error, "read", f"{self._folder}/{day}") from error

    def find(self, day: str, needles: Collection[bytes]) -> Iterator[list[Record]]:
        """Yield the records of each message of a day that one of `needles` stands in.

        Needles are in lower case; case does not matter. In the order of the file, and as fast as
        grep: only what is found is taken apart.
        """
        for block in self._blocks(day):
            lowered = block.lower()
            hit = _next(lowered, needles, 0)
            while hit >= 0:
                start, end = _message_at(block, hit)
                lines = block[start:end].decode("utf-8", "replace").split("\n")[:-1]
                records = [record for line in lines if (record := _parse(f"{line}\n"))]
                if records:
                    yield records
                hit = _next(lowered, needles, end)

    def _blocks(self, day: str) -> Iterator[bytes]:
        """Read a day in pieces that part no message."""
        rest = b""
        try:
            with open(f"{self._folder}/{day}", "rb") as file:
                while piece := file.read(BLOCK):
                    data = rest + piece
                    end = data.rfind(b"\n") + 1
                    cut = _message_at(data, end - 1)[0] if end else 0
                    yield data[:cut]
                    rest = data[cut:]
        except FileNotFoundError:
            return
        except OSError as error:
            raise disk.trouble(error, "read", f"{self._folder}/{day}") from error
        yield rest[: rest.rfind(b"\n") + 1]


def _next(data: bytes, needles: Collection[bytes], start: int) -> int:
    hits = [hit for needle in needles if (hit := data.find(needle, start)) >= 0]
    return min(hits, default=-1)


def _message_at(data: bytes, place: int) -> tuple[int, int]:
    """Give where the lines begin and end that share their ID with the line at `place`."""
    start = data.rfind(b"\n", 0, place) + 1
    head = data[start : data.find(b"\t", start) + 1]
    end = data.find(b"\n", place) + 1
    while start:
        before = data.rfind(b"\n", 0, start - 1) + 1
        if not data.startswith(head, before):
            break
        start = before
    while data.startswith(head, end) and (after := data.find(b"\n", end)) >= 0:
        end = after + 1
    return start, end


def _parse(line: str) -> Record | None:
    if not line.endswith("\n") or "\0" in line:
        return None  # torn
    id_, *rest = line[:-1].split("\t")
    try:
        return Record(id_, parse_seconds(rest[0]), rest[1], tuple(rest[2:]))
    except (IndexError, ValueError):
        return None


def _day_of(now: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(now))
