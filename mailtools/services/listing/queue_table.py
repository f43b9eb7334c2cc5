"""The queue as a table: messages and octets by recipient domain, and by how long they have waited.

The idea is that of Postfix' qshape: one look tells whether a destination is down (old mail for one
domain), we are slow (young mail for all) or somebody floods us. Here a message counts once for each
domain it still goes to, and once in the total.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mailtools.mail.reply import one_line
from mailtools.services.listing.queue_view import Row

BOUNDS = (5, 10, 20, 40, 80, 160, 320, 640, 1280)  # minutes, as qshape has them
HEADS = ("TOTAL", "SIZE", *(str(bound) for bound in BOUNDS), f"{BOUNDS[-1]}+")
LOCAL = "(no domain)"
FAULTY = "(unreadable)"
DONE = "(nobody)"


class Line(NamedTuple):
    """A row of the table: a name, messages, their octets, and the messages by age."""

    name: str
    messages: int
    octets: int
    ages: tuple[int, ...]


def shape(rows: Iterable[Row], now: float) -> list[Line]:
    """Count: the first line is the total, then domains, those with most messages first."""
    total = [0] * (len(BOUNDS) + 3)
    domains: dict[str, list[int]] = {}
    for row in rows:
        minutes = max(now - row.arrival, 0) / 60
        column = next((n for n, bound in enumerate(BOUNDS) if minutes < bound), len(BOUNDS))
        for counts in (total, *(domains.setdefault(name, [0] * len(total)) for name in _of(row))):
            counts[0] += 1
            counts[1] += row.size
            counts[2 + column] += 1
    named = sorted(domains.items(), key=lambda item: (-item[1][0], item[0]))
    return [_line("TOTAL", total), *(_line(name, counts) for name, counts in named)]


def table(rows: Iterable[Row], now: float) -> Iterator[str]:
    """Yield the table's lines: a head (minutes), the total, a line a domain."""
    lines = shape(rows, now)
    width = max(len(line.name) for line in lines)
    cells = [(str(line.messages), octets(line.octets), *map(str, line.ages)) for line in lines]
    widths = [max(map(len, column)) for column in zip(HEADS, *cells, strict=True)]
    for name, values in (("", HEADS), *zip((line.name for line in lines), cells, strict=True)):
        fields = (f"{value:>{size}}" for value, size in zip(values, widths, strict=True))
        yield f"{name:<{width}}  " + " ".join(fields)


def octets(count: int) -> str:
    """Say a size in a few characters: `812`, `20K`, `3.1M`."""
    size = float(count)
    for unit in ("", "K", "M", "G"):
        if size < 1024:
            return f"{size:.1f}{unit}" if unit and size < 10 else f"{size:.0f}{unit}"
        size /= 1024
    return f"{size:.1f}T"


def _of(row: Row) -> set[str]:
    if row.fault:
        return {FAULTY}
    if not row.pending:
        return {DONE}
    names = (one.address.rpartition("@") for one in row.pending)
    return {one_line(domain.lower()) if at else LOCAL for _, at, domain in names}


def _line(name: str, counts: list[int]) -> Line:
    return Line(name, counts[0], counts[1], tuple(counts[2:]))
