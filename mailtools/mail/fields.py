"""Header fields, byte-exact: where they are, what they are called, what they say (RFC 5322 2.2).

Works on messages as they lie on disk (LF) and on the wire (CRLF). Nothing is decoded or rewritten
here: signatures depend on each byte. MIME words and address lists are decoded in `mime.py`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_field = re.compile(rb"^([!-9;-~]+)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", re.MULTILINE)
_folding = re.compile(rb"\r?\n(?=[ \t])")


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


Header = bytes | Sequence[Field]
"""A header as it is, or its fields, for those who look at it more than once."""


def header_end(message: bytes) -> int:
    """Where the header ends: the offset of the empty line, or the length where there is none."""
    if message.startswith((b"\n", b"\r\n")):
        return 0
    end = message.find(b"\n\n")
    wire_end = message.find(b"\n\r\n", 0, end if end >= 0 else len(message))
    last = wire_end if wire_end >= 0 else end
    return last + 1 if last >= 0 else len(message)


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
    for match in _field.finditer(header):
        yield Field(match[1], match[0])


def listed(header: Header) -> Sequence[Field]:
    """Give the fields of a header; one that was read before comes back as it is."""
    return tuple(fields(header)) if isinstance(header, bytes) else header


def find(header: Header, name: bytes) -> Iterator[Field]:
    """Yield the fields called `name`, in any case."""
    wanted = name.lower()
    return (field for field in listed(header) if field.key == wanted)


def first(header: Header, name: bytes) -> Field | None:
    """Give the topmost field called `name`."""
    return next(find(header, name), None)
