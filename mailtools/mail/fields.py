"""Header fields, byte-exact: where they are, what they are called, what they say (RFC 5322 2.2).

Works on messages as they lie on disk (LF) and on the wire (CRLF). Nothing is decoded or rewritten
here: signatures depend on each byte. MIME words and address lists are decoded in `mime.py`.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_field = re.compile(rb"([!-9;-~]+)[ \t]*:((?:[^\n]*\n(?=[ \t]))*[^\n]*(?:\n|\Z))")
_folding = re.compile(rb"\r?\n(?=[ \t])")
_end_of_header = re.compile(rb"(?:\A|\n)\r?\n")


class Field(NamedTuple):
    """A header field: its name as written, all its bytes, and its body with folding undone."""

    name: bytes
    raw: bytes

    @property
    def key(self) -> bytes:
        """The name for comparison: lower case."""
        return self.name.lower()

    @property
    def body(self) -> bytes:
        """What stands behind the colon, unfolded (RFC 5322 2.2.3), without surrounding space."""
        return _folding.sub(b"", self.raw.partition(b":")[2]).strip()


def header_end(message: bytes) -> int:
    """Where the header ends: the offset of the empty line, or the length where there is none."""
    match = _end_of_header.search(message)
    if not match:
        return len(message)
    return match.start() + 1 if match.group().count(b"\n") == 2 else match.start()


def split_message(message: bytes) -> tuple[bytes, bytes]:
    """Split a message into its header (with the last field's line end) and its body.

    The empty line between them belongs to neither.
    """
    end = header_end(message)
    rest = message[end:]
    if rest.startswith(b"\r\n"):
        return message[:end], rest[2:]
    return message[:end], rest[1:]


def fields(header: bytes) -> Iterator[Field]:
    """Yield the fields of a header, top to bottom; a line that is no field is passed over."""
    position, length = 0, len(header)
    while position < length:
        match = _field.match(header, position)
        if match:
            yield Field(match[1], match[0])
            position = match.end()
        else:
            newline = header.find(b"\n", position)
            position = length if newline < 0 else newline + 1


def find(header: bytes, name: bytes) -> Iterator[Field]:
    """Yield the fields called `name`, in any case."""
    wanted = name.lower()
    return (field for field in fields(header) if field.key == wanted)


def first(header: bytes, name: bytes) -> Field | None:
    """Give the topmost field called `name`."""
    return next(find(header, name), None)
