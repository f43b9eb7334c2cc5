"""What FETCH gives (RFC 3501 6.4.5, RFC 3516 BINARY, RFC 8514 SAVEDATE): items and responses.

An item is a callable that gives its octets for a message, in pieces where they are many. The file
is opened before the response begins, so that a message that is gone leaves no half of one; what is
large is made only when its turn comes, so that a response holds one such thing at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailtools.errors import BadSyntax
from mailtools.mail.dates import format_internal_date
from mailtools.mail.mime import HEADER_MOST, Part, header_pairs
from mailtools.mail.mime_words import decode_base64, decode_quoted_printable
from mailtools.protocol.imap.octets import WireCache, WireText, wire_form
from mailtools.protocol.imap.responses import No
from mailtools.protocol.imap.sections import (
    Section,
    take_binary_section,
    take_partial,
    take_section,
)
from mailtools.protocol.imap.structure import Structure, envelope
from mailtools.protocol.imap.wire import Cursor

if TYPE_CHECKING:
    from mailtools.protocol.imap.session import Message

ITEMS_MOST = 200  # of one FETCH
_ONE_PIECE = 4096  # octets: what is smaller goes out with its neighbours
_HELD = 65536  # octets: what is larger waits for its turn

Write = Callable[["Fetched"], Iterable[bytes]]
Brief = Callable[["Message"], bytes]


@dataclass(frozen=True, slots=True)
class Item:
    """Something to fetch: what the answer calls it, how it is made, what that costs."""

    write: Write
    brief: Brief | None = None
    """Makes it in one go, where the file's content is not needed."""
    sets_seen: bool = False
    flags: bool = False


class Fetched:
    """A message while its items are written: what several of them need is made once."""

    def __init__(self, message: Message, cache: WireCache) -> None:
        self.message = message
        self._cache = cache
        self._decoded: tuple[tuple[int, ...] | None, bytes] = (None, b"")

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """The header as pairs."""
        return header_pairs(self.message.header())

    def text(self, start: int, end: int) -> WireText:
        """A stretch of the message."""
        return self._cache.text(self.message, start, end)

    def decoded(self, section: Section, part: Part) -> bytes:
        """A part without its transfer encoding; the last one is remembered."""
        if self._decoded[0] != section.path:
            self._decoded = (None, b"")  # never two at a time
            self._decoded = (section.path, _decoded(section, self.message, part))
        return self._decoded[1]

    def header_of(self, part: Part) -> list[tuple[bytes, bytes]]:
        """The header of a message inside."""
        end = min(part.body, part.start + HEADER_MOST)
        return header_pairs(self.message.octets(part.start, end))


# -- items without content ------------------------------------------------------------------------


def _uid(message: Message) -> bytes:
    return b"UID %d" % message.uid


def _flags(message: Message) -> bytes:
    return b"FLAGS (" + " ".join(message.flags).encode() + b")"


def _size(message: Message) -> bytes:
    return b"RFC822.SIZE %d" % message.size


def _internal_date(message: Message) -> bytes:
    return f'INTERNALDATE "{format_internal_date(message.internal_date)}"'.encode()


def _save_date(message: Message) -> bytes:
    return f'SAVEDATE "{format_internal_date(message.save_date)}"'.encode()


def _brief(make: Brief, *, flags: bool = False) -> Item:
    return Item(lambda fetched: (make(fetched.message),), brief=make, flags=flags)


# -- items with content ---------------------------------------------------------------------------


def _envelope(fetched: Fetched) -> Iterable[bytes]:
    return (b"ENVELOPE ", envelope(fetched.pairs()))


def _body(fetched: Fetched) -> Iterable[bytes]:
    structure = Structure(fetched.header_of, extended=False)
    return (b"BODY ", structure.write(fetched.message.structure()))


def _bodystructure(fetched: Fetched) -> Iterable[bytes]:
    structure = Structure(fetched.header_of, extended=True)
    return (b"BODYSTRUCTURE ", structure.write(fetched.message.structure()))


def _section(name: bytes, section: Section, partial: tuple[int, int] | None) -> Write:
    label = name + (b"<%d> " % partial[0] if partial else b" ")

    def write(fetched: Fetched) -> Iterable[bytes]:
        message = fetched.message
        if section.of_header:

            def header() -> Iterable[bytes]:
                text = section.choose(message.header()) if section.names else message.header()
                return _literal(label, wire_form(text), partial)

            return _in_turn(len(message.header()), header)
        if section.path or section.text:
            part = section.find(message.structure())
            if part is None:
                return (label, b"NIL")
            start, end = section.stretch(part)
        else:
            start, end = 0, message.length

        def stretch() -> Iterable[bytes]:
            if section.names:
                chosen = section.choose(message.octets(start, end))
                return _literal(label, wire_form(chosen), partial)
            return _stretch(label, fetched.text(start, end), partial)

        return _in_turn(end - start, stretch)

    return write


def _in_turn(size: int, make: Callable[[], Iterable[bytes]]) -> Iterable[bytes]:
    """Make something now, or when its turn comes where it is large."""
    return make() if size <= _HELD else _later(make)


def _later(make: Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
    yield from make()


def _stretch(label: bytes, text: WireText, partial: tuple[int, int] | None) -> Iterable[bytes]:
    start, count = _within(text.size, partial)
    if text.small and count <= _ONE_PIECE:
        return (label, b"{%d}\r\n" % count, *text.piece(start, count))
    return _pieces(b"%b{%d}\r\n" % (label, count), text.piece(start, count))


def _pieces(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from pieces


def _literal(label: bytes, text: bytes, partial: tuple[int, int] | None) -> Iterable[bytes]:
    start, count = _within(len(text), partial)
    return (label, b"{%d}\r\n" % count, text[start : start + count])


def _within(size: int, partial: tuple[int, int] | None) -> tuple[int, int]:
    start, count = partial or (0, size)
    start = min(start, size)
    return start, min(count, size - start)


# -- BINARY ---------------------------------------------------------------------------------------


def _binary(name: bytes, section: Section, partial: tuple[int, int] | None) -> Write:
    label = name + (b"<%d> " % partial[0] if partial else b" ")

    def write(fetched: Fetched) -> Iterable[bytes]:
        part = _known(section, fetched.message)
        if part is None:
            return (label, b"NIL")

        def decoded() -> Iterator[bytes]:
            data = fetched.decoded(section, part)
            start, count = _within(len(data), partial)
            end = start + count
            tilde = b"~" if data.find(b"\0", start, end) >= 0 else b""  # RFC 3516 4.2
            yield b"%b%b{%d}\r\n" % (label, tilde, count)
            yield from (data[at : min(at + _HELD, end)] for at in range(start, end, _HELD))

        return decoded()

    return write


def _binary_size(name: bytes, section: Section) -> Write:
    def write(fetched: Fetched) -> Iterable[bytes]:
        part = _known(section, fetched.message)
        return (b"%b %d" % (name, len(fetched.decoded(section, part)) if part else 0),)

    return write


def _is_leaf(section: Section, part: Part) -> bool:
    """Whether a part has a transfer encoding to undo."""
    return bool(section.path) and not part.multipart and not part.message


def _known(section: Section, message: Message) -> Part | None:
    """Find a part; raise No where its transfer encoding is unknown."""
    part = section.find(message.structure())
    if part and _is_leaf(section, part) and part.mime.encoding.lower() not in _ENCODINGS:
        raise No("Unknown content-transfer-encoding", code="UNKNOWN-CTE")
    return part


def _decoded(section: Section, message: Message, part: Part) -> bytes:
    data = message.octets(*section.stretch(part)).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    undo = _ENCODINGS[part.mime.encoding.lower()] if _is_leaf(section, part) else None
    return undo(data) if undo else data


_ENCODINGS: dict[bytes, Callable[[bytes], bytes] | None] = {
    b"base64": decode_base64,
    b"quoted-printable": decode_quoted_printable,
    b"7bit": None,
    b"8bit": None,
    b"binary": None,
}


# -- the command ----------------------------------------------------------------------------------

_UID = _brief(_uid)
_FLAGS = _brief(_flags, flags=True)
_SIZE = _brief(_size)
_DATE = _brief(_internal_date)
_ENVELOPE = Item(_envelope)
_PLAIN = {
    "UID": _UID,
    "FLAGS": _FLAGS,
    "RFC822.SIZE": _SIZE,
    "INTERNALDATE": _DATE,
    "SAVEDATE": _brief(_save_date),
    "ENVELOPE": _ENVELOPE,
    "BODYSTRUCTURE": Item(_bodystructure),
    "RFC822": Item(_section(b"RFC822", Section(), None), sets_seen=True),
    "RFC822.HEADER": Item(_section(b"RFC822.HEADER", Section(text="HEADER"), None)),
    "RFC822.TEXT": Item(_section(b"RFC822.TEXT", Section(text="TEXT"), None), sets_seen=True),
}
_BODY = Item(_body)
_MACROS = {
    "ALL": [_FLAGS, _DATE, _SIZE, _ENVELOPE],
    "FAST": [_FLAGS, _DATE, _SIZE],
    "FULL": [_FLAGS, _DATE, _SIZE, _ENVELOPE, _BODY],
}


def take_items(cursor: Cursor) -> list[Item]:
    """Take a macro, an item, or a list of items."""
    if cursor.accept(b"("):
        items = [_take_item(cursor)]
        while not cursor.accept(b")"):
            cursor.space()
            items.append(_take_item(cursor))
            if len(items) > ITEMS_MOST:
                raise BadSyntax("Too many items")
        return items
    start = cursor.position
    macro = _MACROS.get(cursor.word())
    if macro is not None:
        return list(macro)
    cursor.position = start
    return [_take_item(cursor)]


def _take_item(cursor: Cursor) -> Item:
    word = cursor.word()
    if cursor.peek() != b"[":
        item = _BODY if word == "BODY" else _PLAIN.get(word)
        if item is None:
            raise BadSyntax(f"Unknown item {word[:40]}")
        return item
    match word:
        case "BODY" | "BODY.PEEK":
            section = take_section(cursor)
            partial = take_partial(cursor)
            write = _section(b"BODY" + section.written, section, partial)
            return Item(write, sets_seen=word == "BODY")
        case "BINARY" | "BINARY.PEEK":
            section = take_binary_section(cursor)
            partial = take_partial(cursor)
            write = _binary(b"BINARY" + section.written, section, partial)
            return Item(write, sets_seen=word == "BINARY")
        case "BINARY.SIZE":
            section = take_binary_section(cursor)
            return Item(_binary_size(b"BINARY.SIZE" + section.written, section))
    raise BadSyntax(f"Unknown item {word[:40]}")


def prepare(items: list[Item], *, uid: bool) -> list[Item]:
    """Put the items in the order they are sent: UID first and always where `uid`, flags next."""
    chosen: list[Item] = []
    for item in items:
        if item not in chosen:
            chosen.append(item)
    if uid or _UID in chosen:
        chosen = [_UID, *(item for item in chosen if item is not _UID)]
    return chosen


def with_flags(items: list[Item]) -> list[Item]:
    """Add FLAGS: reading has changed them (RFC 3501 6.4.5)."""
    return items if any(item.flags for item in items) else [*items, _FLAGS]


def brief(items: list[Item]) -> list[Brief] | None:
    """Give how to make each item in one go, where all can be."""
    made = [item.brief for item in items if item.brief is not None]
    return made if len(made) == len(items) else None


def respond(number: int, items: list[Item], fetched: Fetched) -> Iterator[bytes]:
    """Give one message's response; raise NoSuchMessage before its first octet, never later."""
    made = [item.write(fetched) for item in items]
    separator = b"* %d FETCH (" % number
    gathered: list[bytes] = []
    for pieces in made:
        gathered.append(separator)
        separator = b" "
        if isinstance(pieces, tuple):
            gathered += pieces
            continue
        yield b"".join(gathered)
        gathered = []
        yield from pieces
    gathered.append(b")\r\n")
    yield b"".join(gathered)
