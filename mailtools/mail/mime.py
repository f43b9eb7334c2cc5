"""The MIME structure of a message, byte-exact: where each part's header and body lie (RFC 2046).

`scan` reads any octets (bytes, or a memory map) and never raises. Offsets are those of the text as
it lies on disk; `octets` and `lines` are those of its CRLF form, which is what IMAP speaks of. The
time is linear in the size, times the depth, which is limited.

A delimiter line is found by its beginning (RFC 2046 5.1.1), the innermost open boundary first, the
longest where several fit; an outer one ends all that is inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from mailtools.mail.fields import fields
from mailtools.mail.mime_fields import MimeFields, read_mime_fields

DEPTH_MOST = 100  # parts inside one another; a deeper multipart or message is a leaf
PARTS_MOST = 10000  # parts of a message; beyond, delimiters are text
BOUNDARY_MOST = 80  # octets looked at; RFC 2046 5.1.1 allows 70
HEADER_MOST = 1 << 20  # octets of a header that are read for its fields
_COUNTED = 1 << 20  # octets counted at a time

_end_of_header = re.compile(rb"\n\r?\n")


class Octets(Protocol):
    """What is scanned: bytes, or a memory map."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> bytes: ...

    def find(self, sub: bytes, start: int = ..., end: int = ..., /) -> int: ...


@dataclass(slots=True)
class Part:
    """A part: a message, or what stands between two delimiter lines.

    `start` is where its header begins, `body` where its body begins (behind the empty line), `end`
    where that ends. `header_octets`, `octets` and `lines` measure the CRLF form.
    """

    start: int
    body: int = 0
    end: int = 0
    header_octets: int = 0
    octets: int = 0
    lines: int = 0
    mime: MimeFields = field(default_factory=MimeFields)
    parts: list[Part] = field(default_factory=list)
    """Of a multipart its parts, of a message/rfc822 the one message in it."""
    multipart: bool = False
    message: bool = False
    """Whether the body is a message: message/rfc822, the one kind that IMAP4rev1 looks into."""
    top: bool = False
    """Whether the header is that of a message: the whole, or one inside."""


@dataclass(slots=True)
class _Open:
    delimiter: bytes
    part: Part
    depth: int
    next: int = -1  # where a line begins that begins with it; -1: not known
    clear: int = -1  # no such line begins up to and at this place


def scan(data: Octets) -> Part:
    """Find the parts of a message; never raises."""
    root = _Scanner(data).run()
    _measure(data, root)
    return root


def walk(part: Part) -> Iterator[Part]:
    """Yield a part and all parts inside it, in the order they stand in the message."""
    stack = [part]
    while stack:
        part = stack.pop()
        yield part
        stack.extend(reversed(part.parts))


def header_pairs(header: bytes) -> list[tuple[bytes, bytes]]:
    """Give the fields of a header as (name in lower case, unfolded body)."""
    return [(item.key, item.body) for item in fields(header[:HEADER_MOST])]


class _Scanner:
    def __init__(self, data: Octets) -> None:
        self._data = data
        self._size = len(data)
        self._open: list[_Open] = []  # multiparts we are in, the outermost first
        self._path: list[Part] = []  # parts we are in, the message itself first
        self._count = 0

    def run(self) -> Part:
        root = Part(0, top=True)
        position = self._enter(root, 0)
        while True:
            found = self._next_delimiter(position)
            if found is None:
                self._finish(0, self._size)
                return root
            line, opened = found
            self._finish(opened.depth, self._before(line, position))
            closing = line + len(opened.delimiter)
            newline = self._data.find(b"\n", closing)
            position = self._size if newline < 0 else newline + 1
            while self._open[-1] is not opened:
                self._open.pop()
            if self._data[closing : closing + 2] == b"--":
                self._open.pop()  # what follows is the epilogue
            elif newline >= 0:
                position = self._enter(Part(position), position)

    def _enter(self, part: Part, position: int) -> int:
        """Read headers from `position` on, until a body begins; give where."""
        while True:
            if self._path:
                self._path[-1].parts.append(part)
            self._path.append(part)
            self._count += 1
            position, whole = self._read_header(part, position)
            boundary = (part.mime.parameter(b"boundary") or b"")[:BOUNDARY_MOST]
            if part.multipart and whole and boundary:
                self._open.append(_Open(b"--" + boundary, part, len(self._path)))
            if not part.message:
                return position
            part = Part(position, top=True)
            if not whole:  # nothing of the message inside is there
                part.body = position
                self._path[-1].parts.append(part)
                self._path.append(part)
                return position

    def _read_header(self, part: Part, start: int) -> tuple[int, bool]:
        """Find the end of a header and read its MIME fields; whether no delimiter cut it off."""
        data = self._data
        first = data[start : start + 2]
        if first[:1] == b"\n" or first == b"\r\n":
            end = body = start + (1 if first[:1] == b"\n" else 2)
        else:
            match = _end_of_header.search(data, start)  # type: ignore[call-overload]
            end = body = match.end() if match else self._size
        found = self._next_delimiter(start)
        cut = found is not None and found[0] < body
        if found is not None and cut:
            end = body = self._before(found[0], start)
        part.body = body
        header = data[start : min(end, start + HEADER_MOST)]
        inside = not part.top
        part.mime = read_mime_fields(header_pairs(header), inside=inside)
        self._settle_type(part)
        return body, not cut

    def _settle_type(self, part: Part) -> None:
        mime = part.mime
        parent = self._path[-2] if len(self._path) > 1 else None
        in_digest = (
            parent is not None and parent.multipart and parent.mime.subtype.lower() == b"digest"
        )
        if in_digest and not mime.declared:  # RFC 2046 5.1.5
            mime.type, mime.subtype = b"message", b"rfc822"
        kind = mime.type.lower()
        is_message = kind == b"message" and mime.subtype.lower() == b"rfc822"
        if kind == b"multipart":
            part.multipart = len(self._path) < DEPTH_MOST
        elif is_message:
            part.message = len(self._path) < DEPTH_MOST and self._count < PARTS_MOST
        if (is_message or kind == b"multipart") and not (part.message or part.multipart):
            # It cannot be looked into, so it must not claim to be a composite: RFC 2049 2 (7)
            mime.type, mime.subtype = b"application", b"octet-stream"

    def _before(self, line: int, floor: int) -> int:
        """Where the text before a delimiter line ends: the line end belongs to the delimiter."""
        if line <= floor:
            return floor
        end = line - 1
        if end > floor and self._data[end - 1 : end] == b"\r":
            end -= 1
        return end

    def _finish(self, depth: int, end: int) -> None:
        """Leave all parts deeper than `depth`; they end at `end`."""
        for part in self._path[depth:]:
            part.end = max(end, part.body)
        del self._path[depth:]

    # -- delimiters -------------------------------------------------------------------------------

    def _next_delimiter(self, position: int) -> tuple[int, _Open] | None:
        """Find the next delimiter line at or behind `position`, which is the begin of a line."""
        if not self._open or self._count >= PARTS_MOST:
            return None
        nearest = self._size
        for opened in self._open:
            # What is open further in matters only before the nearest line of those further out:
            # so each octet is looked at once a level, whatever boundaries are declared.
            if opened.next < position and opened.clear < nearest:
                self._find(opened, position, nearest)
            if position <= opened.next < nearest:
                nearest = opened.next
        if nearest == self._size:
            return None
        return nearest, self._best(nearest)

    def _find(self, opened: _Open, position: int, most: int) -> None:
        """Look for a delimiter at the begin of a line, from `position` to `most`."""
        data, delimiter = self._data, opened.delimiter
        length = len(delimiter)
        if position > opened.clear and data[position : position + length] == delimiter:
            opened.next = position
            return
        start, end = max(position, opened.clear), min(most + length, self._size)
        found = data.find(b"\n" + delimiter, start, end)
        opened.next, opened.clear = (found + 1, found) if found >= 0 else (-1, most)

    def _best(self, line: int) -> _Open:
        """Choose among the open boundaries that begin a line."""
        text = self._data[line : line + BOUNDARY_MOST + 6]
        text = text.partition(b"\n")[0].removesuffix(b"\r")
        best: _Open | None = None
        for opened in reversed(self._open):
            length = len(opened.delimiter)
            if text.startswith(opened.delimiter) and (best is None or length > len(best.delimiter)):
                best = opened
                if text[length:] in (b"", b"--"):
                    break
        assert best is not None, "a line is looked at where a delimiter was found"
        return best


# -- sizes ----------------------------------------------------------------------------------------


def _measure(data: Octets, root: Part) -> None:
    """Fill in the CRLF sizes of all parts with one pass over the text."""
    parts = list(walk(root))
    places = sorted({place for part in parts for place in (part.start, part.body, part.end)})
    bare, newlines = 0, 0
    before: dict[int, tuple[int, int]] = {}
    last = 0
    for place in places:
        more = count_lines(data, last, place)
        newlines += more[0]
        bare += more[1]
        before[place] = (newlines, bare)
        last = place
    for part in parts:
        at_start, at_body, at_end = before[part.start], before[part.body], before[part.end]
        part.header_octets = part.body - part.start + at_body[1] - at_start[1]
        part.octets = part.end - part.body + at_end[1] - at_body[1]
        part.lines = at_end[0] - at_body[0]


def count_lines(data: Octets, start: int, end: int) -> tuple[int, int]:
    """Count the line ends in a stretch, and those among them that lack their CR."""
    newlines = bare = 0
    position = start
    while position < end:
        chunk = data[position : min(position + _COUNTED, end)]
        found = chunk.count(b"\n")
        newlines += found
        bare += found - chunk.count(b"\r\n")
        if chunk[:1] == b"\n" and position > 0 and data[position - 1 : position] == b"\r":
            bare -= 1
        position += len(chunk)
    return newlines, bare


def wire_size(data: Octets, start: int, end: int) -> int:
    """Measure a stretch in its CRLF form."""
    return end - start + count_lines(data, start, end)[1]
