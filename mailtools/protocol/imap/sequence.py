"""Sequence sets: `1:4,7,9:*`, of sequence numbers or of UIDs (RFC 3501 9, RFC 5182 for `$`)."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mailtools.errors import BadSyntax
from mailtools.protocol.imap.wire import NUMBER_MOST, Cursor

STAR = 0  # the highest number there is
_set = re.compile(
    rb"(?:[0-9]{1,10}|\*)(?::(?:[0-9]{1,10}|\*))?(?:,(?:[0-9]{1,10}|\*)(?::(?:[0-9]{1,10}|\*))?)*"
)


class Numbers(NamedTuple):
    """A set of numbers as ranges; `saved` is `$`, the result of the last SEARCH that was saved."""

    ranges: tuple[tuple[int, int], ...] = ()
    saved: bool = False

    def among(self, values: Sequence[int]) -> list[int]:
        """Give those of `values`, which are in order, that are in the set, in order."""
        if not values:
            return []
        most = values[-1]
        found: list[int] = []
        for low, high in self.merged(most):
            found += values[bisect_left(values, low) : bisect_right(values, high)]
        return found

    def merged(self, most: int) -> list[tuple[int, int]]:
        """Give the ranges in order, none overlapping, with `*` replaced by `most`."""
        result: list[tuple[int, int]] = []
        for pair in sorted(_ordered(low or most, high or most) for low, high in self.ranges):
            if result and pair[0] <= result[-1][1] + 1:
                result[-1] = result[-1][0], max(result[-1][1], pair[1])
            else:
                result.append(pair)
        return result

    def within(self, most: int) -> bool:
        """Whether each number named is at most `most`; `*` needs at least one."""
        return all((low or most or 1) <= most and (high or most or 1) <= most
                   for low, high in self.ranges)  # fmt: skip


def _ordered(low: int, high: int) -> tuple[int, int]:
    return (low, high) if low <= high else (high, low)


def take_numbers(cursor: Cursor) -> Numbers:
    """Take a sequence set, or `$`."""
    if cursor.accept(b"$"):
        return Numbers(saved=True)
    match = _set.match(cursor.data, cursor.position)
    if not match:
        raise BadSyntax("Sequence set expected, as in 1:4,7,9:*")
    cursor.position = match.end()
    ranges = []
    for item in match[0].split(b","):
        first, _, last = item.partition(b":")
        ranges.append((_one(first), _one(last or first)))
    return Numbers(tuple(ranges))


def _one(text: bytes) -> int:
    if text == b"*":
        return STAR
    number = int(text)
    if not 0 < number <= NUMBER_MOST:
        raise BadSyntax("Messages are numbered from 1")
    return number


def write_numbers(numbers: Iterable[int]) -> bytes:
    """Write numbers, which are in order, as a sequence set."""
    parts: list[str] = []
    start = last = 0
    for number in numbers:
        if number == last + 1 and start:
            last = number
            continue
        if start:
            parts.append(_range(start, last))
        start = last = number
    if start:
        parts.append(_range(start, last))
    return ",".join(parts).encode("ascii")


def _range(start: int, last: int) -> str:
    return str(start) if start == last else f"{start}:{last}"
