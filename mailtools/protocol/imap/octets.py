"""Stretches of a message in their CRLF form: measured first, then sent piece by piece.

What is small is made at once. Of what is large only a block is held at a time; places in it are
found again through marks, so that a client that fetches it in pieces costs its size once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mailtools.protocol.imap.session import Message

SMALL = 1 << 20  # octets made at once
BLOCK = 1 << 18  # octets on disk between two marks


def wire_form(data: bytes) -> bytes:
    """Give disk text as IMAP shows it: lines end in CRLF, NUL, which IMAP has not, is 80."""
    if b"\r\n" in data:
        data = data.replace(b"\r\n", b"\n")
    data = data.replace(b"\n", b"\r\n")
    return data.replace(b"\0", b"\x80") if b"\0" in data else data


class WireText:
    """A stretch of a message, as octets on the wire."""

    def __init__(self, message: Message, start: int, end: int) -> None:
        """Take a stretch by its offsets on disk, and measure it."""
        self._message = message
        self._end = end
        self._whole: bytes | None = None
        self._marks: list[tuple[int, int]] = []  # (offset on disk, octets on the wire before it)
        if end - start <= SMALL:
            self._whole = wire_form(message.octets(start, end))
            self.size = len(self._whole)
        else:
            self.size = self._measure(start, end)

    @property
    def small(self) -> bool:
        """Whether it is all in memory."""
        return self._whole is not None

    def of(self, message: Message) -> WireText:
        """Read from this message from now on: the same one, opened anew."""
        self._message = message
        return self

    def _measure(self, start: int, end: int) -> int:
        size, position = 0, start
        while position < end:
            self._marks.append((position, size))
            block = self._message.octets(position, min(position + BLOCK, end))
            if block.endswith(b"\r") and position + len(block) < end:
                block = block[:-1] or block  # a CRLF is not cut in two
            size += len(block) + block.count(b"\n") - block.count(b"\r\n")
            position += len(block)
        return size

    def piece(self, start: int, count: int) -> Iterator[bytes]:
        """Give `count` octets from `start` on; both lie within the size."""
        if self._whole is not None:
            yield self._whole[start : start + count]
            return
        index = self._mark_before(start)
        skip = start - self._marks[index][1]
        while count > 0:
            first = self._marks[index][0]
            last = self._marks[index + 1][0] if index + 1 < len(self._marks) else self._end
            chunk = wire_form(self._message.octets(first, last))[skip : skip + count]
            yield chunk
            count -= len(chunk)
            skip = 0
            index += 1

    def _mark_before(self, start: int) -> int:
        low, high = 0, len(self._marks) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if self._marks[middle][1] <= start:
                low = middle
            else:
                high = middle - 1
        return low


class WireCache:
    """Remembers the last large stretch, for clients that fetch it piece by piece."""

    def __init__(self) -> None:
        self._key: tuple[int, int, int] = (0, 0, 0)
        self._last: WireText | None = None

    def text(self, message: Message, start: int, end: int) -> WireText:
        """Give a stretch, measured."""
        key = (message.uid, start, end)
        if self._last is not None and key == self._key:
            return self._last.of(message)
        text = WireText(message, start, end)
        if not text.small:
            self._key, self._last = key, text
        return text
