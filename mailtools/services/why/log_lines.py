"""Reading the log of mailtools back: the events of mailtools-log(5), with the time before them.

Whoever keeps the log puts a stamp in front: syslog and journalctl (`short`, `short-iso`,
`short-unix`, `json`), svlogd, multilog (TAI64N). What is no event of ours is passed over.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

LINE_MOST = 65536  # characters of a line that are looked at
AHEAD = 86400.0  # seconds a stamp without a year may lie in the future: clocks and zones differ

_event = re.compile(r"(?P<stamp>(?:[^\s=\"]+\s+){0,8}?)(?P<word>[a-z][a-z-]*) (?=[a-z][a-z0-9_]*=)")
_fact = re.compile(r"([a-z][a-z0-9_]*)=(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\"]*))(?:\s+|\Z)")
_iso = re.compile(r"(\d{4}-\d\d-\d\d)[T_ ](\d\d:\d\d:\d\d)(\.\d{1,6})?\d*(Z|[+-]\d\d:?\d\d)?")
_syslog = re.compile(r"([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d)")
_tai = re.compile(r"@([0-9a-f]{16})[0-9a-f]{8}\b")
_unix = re.compile(r"(\d{9,11}\.\d+) ")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


class LogLine(NamedTuple):
    """An event: when it was (0.0 where the line does not say), its word and its facts."""

    time: float
    word: str
    facts: dict[str, str]

    def get(self, key: str) -> str:
        """Give a fact, "" where it is not there."""
        return self.facts.get(key, "")


def read_facts(text: str) -> dict[str, str]:
    """Read facts as log.facts writes them; reading ends at what is none."""
    found: dict[str, str] = {}
    at = 0
    while match := _fact.match(text, at):
        key, quoted, plain = match.groups()
        found[key] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
        at = match.end()
    return found


def read_line(line: str, now: float) -> LogLine | None:
    """Read a line of any log; None where it is no event. `now` decides the year of a stamp."""
    text, when = line[:LINE_MOST].strip(), None
    if text.startswith("{"):
        text, when = _from_json(text)
    match = _event.match(text)
    if not match:
        return None
    facts = read_facts(text[match.end() :])
    if when is None:
        when = _time_of(match["stamp"], now)
    return LogLine(when, match["word"], facts)


def read_log(lines: Iterable[bytes], now: float) -> Iterator[LogLine]:
    """Read a log, in its order."""
    for line in lines:
        found = read_line(line.decode("utf-8", "replace"), now)
        if found is not None:
            yield found


def _from_json(text: str) -> tuple[str, float | None]:
    """Read a line of `journalctl -o json`."""
    import json  # only where such lines come

    try:
        entry = json.loads(text)
        message, micros = entry["MESSAGE"], entry.get("__REALTIME_TIMESTAMP", "0")
        return (message if isinstance(message, str) else ""), int(micros) / 1e6
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError):
        return "", None


def _time_of(stamp: str, now: float) -> float:
    try:
        if match := _iso.search(stamp):
            return _iso_time(match, utc="_" in match[0])
        if match := _syslog.search(stamp):
            return _syslog_time(match, now)
    except (ValueError, OverflowError):
        return 0.0
    if match := _tai.search(stamp):
        return float(max(int(match[1], 16) - 2**62 - 10, 0))  # as tai64n(8) writes it
    match = _unix.search(stamp)
    return float(match[1]) if match else 0.0


def _iso_time(match: re.Match[str], *, utc: bool) -> float:
    day, clock, part, zone = match.groups()
    found = datetime.fromisoformat(f"{day}T{clock}{(part or '.0').ljust(7, '0')}{zone or ''}")
    return (found.replace(tzinfo=UTC) if utc and not zone else found).timestamp()


def _syslog_time(match: re.Match[str], now: float) -> float:
    """Give the newest time with that month and day that is not in the future."""
    name, day, *clock = match.groups()
    month = _MONTHS.index(name) + 1
    year = time.localtime(now).tm_year
    hour, minute, second = map(int, clock)
    for each in (year + 1, year, year - 1):
        when = time.mktime((each, month, int(day), hour, minute, second, 0, 0, -1))
        if when <= now + AHEAD:
            break
    return when
