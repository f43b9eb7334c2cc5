"""Sections of a message: `BODY[2.1.HEADER.FIELDS (TO)]<0.100>` (RFC 3501 6.4.5, RFC 3516)."""

import re
from dataclasses import dataclass

from mailtools.errors import BadSyntax
from mailtools.mail.fields import fields
from mailtools.mail.mime import Part
from mailtools.protocol.imap.wire import NUMBER64_MOST, Cursor, astring

FIELDS_MOST = 1000  # names in a HEADER.FIELDS

EMPTY = Part(0)

_path = re.compile(rb"[1-9][0-9]{0,8}(?:\.[1-9][0-9]{0,8}){0,200}")
_texts = re.compile(rb"HEADER\.FIELDS\.NOT|HEADER\.FIELDS|HEADER|TEXT|MIME", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Section:
    """Which part (numbers from 1; none: the message), and what of it ("" is the body)."""

    path: tuple[int, ...] = ()
    text: str = ""
    names: tuple[bytes, ...] = ()
    """Of HEADER.FIELDS, in lower case."""
    written: bytes = b""
    """As the client wrote it, for the answer."""

    @property
    def of_header(self) -> bool:
        """Whether the message's own header is enough."""
        return not self.path and self.text.startswith("HEADER")

    def find(self, root: Part) -> Part | None:
        """Find the part whose header or body is meant; None where there is none."""
        part = find_part(root, self.path)
        if part is None or not self.path:
            return part
        if self.text and self.text != "MIME":
            return part.parts[0] if part.message else None
        return part

    def stretch(self, part: Part) -> tuple[int, int]:
        """Where the section lies, given its part; for HEADER.FIELDS, the whole header."""
        if self.text.startswith("HEADER") or self.text == "MIME":
            return part.start, part.body
        if not self.path and not self.text:
            return part.start, part.end
        return part.body, part.end

    def choose(self, header: bytes) -> bytes:
        """Give of a header the fields that HEADER.FIELDS or HEADER.FIELDS.NOT names."""
        if self.text == "HEADER.FIELDS":
            chosen = [item.raw for item in fields(header) if item.key in self.names]
        else:  # all the rest, also what is no field
            chosen, place = [], 0
            for item in fields(header):
                if item.key in self.names:
                    start = header.index(item.raw, place)
                    chosen.append(header[place:start])
                    place = start + len(item.raw)
            chosen.append(header[place:].removesuffix(b"\n").removesuffix(b"\r"))
        text = b"".join(chosen)
        if text and not text.endswith(b"\n"):
            text += b"\n"
        return text + b"\n"


def find_part(root: Part, path: tuple[int, ...]) -> Part | None:
    """Find a part by its numbers; None where there is none.

    What is not a multipart has one part, its body; a message inside is counted into.
    """
    if not path:
        return root
    part = _child(root, path[0])
    for number in path[1:]:
        if part is None:
            return None
        if part.multipart and part is not root:
            part = _child(part, number)
        elif part.message:
            part = _child(part.parts[0], number)
        else:
            return None
    return part


def _child(container: Part, number: int) -> Part | None:
    if container.multipart:
        if not container.parts and number == 1:
            return EMPTY  # what BODYSTRUCTURE shows in its place
        return container.parts[number - 1] if number <= len(container.parts) else None
    return container if number == 1 else None


def take_section(cursor: Cursor) -> Section:
    """Take `[…]`."""
    start = cursor.position
    cursor.expect(b"[")
    path = _take_path(cursor)
    names: tuple[bytes, ...] = ()
    text = ""
    if cursor.peek() != b"]":
        match = _texts.match(cursor.data, cursor.position)
        if not match:
            raise BadSyntax("Unknown section")
        cursor.position = match.end()
        text = match[0].upper().decode("ascii")
        if text == "MIME" and not path:
            raise BadSyntax("MIME needs a part number before it")
        if text.startswith("HEADER.FIELDS"):
            names, written = _take_names(cursor)
            cursor.expect(b"]")
            before = cursor.data[start : match.end()]
            return Section(path, text, names, before + b" (" + written + b")]")
    cursor.expect(b"]")
    return Section(path, text, names, cursor.data[start : cursor.position])


def take_binary_section(cursor: Cursor) -> Section:
    """Take `[…]` with nothing but part numbers (RFC 3516 4.2)."""
    start = cursor.position
    cursor.expect(b"[")
    match = _path.match(cursor.data, cursor.position)
    cursor.position = match.end() if match else cursor.position
    cursor.expect(b"]")
    return Section(_numbers(match), written=cursor.data[start : cursor.position])


def take_partial(cursor: Cursor) -> tuple[int, int] | None:
    """Take `<start.count>` where it is there."""
    if not cursor.accept(b"<"):
        return None
    start = cursor.number(NUMBER64_MOST)
    cursor.expect(b".")
    count = cursor.number(NUMBER64_MOST)
    cursor.expect(b">")
    if not count:
        raise BadSyntax("A partial fetch asks for one octet at least")
    return start, count


def _take_path(cursor: Cursor) -> tuple[int, ...]:
    match = _path.match(cursor.data, cursor.position)
    if not match:
        return ()
    cursor.position = match.end()
    if cursor.peek() != b"]":
        cursor.expect(b".")
        if cursor.peek() == b"]":
            raise BadSyntax("Section ends in a dot")
    return _numbers(match)


def _numbers(match: re.Match[bytes] | None) -> tuple[int, ...]:
    return tuple(int(number) for number in match[0].split(b".")) if match else ()


def _take_names(cursor: Cursor) -> tuple[tuple[bytes, ...], bytes]:
    cursor.expect(b" (")
    names = [cursor.astring()]
    while not cursor.accept(b")"):
        cursor.space()
        names.append(cursor.astring())
        if len(names) > FIELDS_MOST:
            raise BadSyntax("Too many field names")
    written = b" ".join(astring(name) for name in names)
    return tuple(name.lower() for name in names), written
