"""SEARCH over the messages of a view: what costs little is asked first (RFC 3501 6.4.4).

Text is compared without case, as Unicode folds it, after its transfer encoding and its charset are
undone: in text parts of any depth, in headers of messages inside, never in what is not text.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from mailtools.errors import NoSuchMessage
from mailtools.mail.dates import day_of, days_since_1970, parse_date_field
from mailtools.mail.mime import HEADER_MOST, Part, header_pairs, walk
from mailtools.mail.mime_words import (
    decode_base64,
    decode_charset,
    decode_quoted_printable,
    decode_words,
)
from mailtools.protocol.imap.search_keys import (
    Age,
    All,
    Among,
    Any,
    Date,
    Flag,
    Header,
    Key,
    Named,
    Not,
    Size,
    Text,
)

if TYPE_CHECKING:
    from mailtools.protocol.imap.session import Message

Test = Callable[["Looked"], bool]


class Search:
    """A search, made ready."""

    def __init__(self, key: Key) -> None:
        """Take the key; moments are counted from now."""
        self._now = time.time()
        _, self._test = self._made(key)

    def among(self, messages: Iterable[Message]) -> list[int]:
        """Give the UIDs of those that match; one that is gone does not."""
        found: list[int] = []
        for message in messages:
            try:
                if self._test(Looked(message)):
                    found.append(message.uid)
            except NoSuchMessage:
                continue
            finally:
                message.release()
        return found

    def _made(self, key: Key) -> tuple[int, Test]:
        """Give what a key costs, and its test."""
        match key:
            case All(keys):
                made = sorted((self._made(one) for one in keys), key=_cost)
                tests = [test for _, test in made]
                cost = made[-1][0] if made else 0
                return cost, lambda looked: all(test(looked) for test in tests)
            case Any(keys):
                made = sorted((self._made(one) for one in keys), key=_cost)
                tests = [test for _, test in made]
                return made[-1][0], lambda looked: any(test(looked) for test in tests)
            case Not(one):
                cost, test = self._made(one)
                return cost, lambda looked: not test(looked)
            case Among(uids):
                return 0, lambda looked: looked.message.uid in uids
            case Flag(name):
                folded = name.lower()
                return 1, lambda looked: folded in (f.lower() for f in looked.message.flags)
            case Size(larger, octets):
                if larger:
                    return 2, lambda looked: looked.message.size > octets
                return 2, lambda looked: looked.message.size < octets
            case Age(younger, seconds):
                since = self._now - seconds
                return 3, lambda looked: (looked.message.internal_date >= since) == younger
            case Date():
                return (5 if key.which == "sent" else 3), _date_test(key)
            case Header(name, text):
                folded = fold(text)
                return 5, lambda looked: any(folded in body for body in looked.fields(name))
            case Text(text, header):
                folded = fold(text)
                return 9, lambda looked: looked.contains(folded, header=header)
            case Named():
                raise TypeError("numbers are made UIDs before a search")


def _cost(made: tuple[int, Test]) -> int:
    return made[0]


def _date_test(key: Date) -> Test:
    wanted = days_since_1970(key.day)

    def test(looked: Looked) -> bool:
        day = looked.day(key.which)
        if day is None:
            return False
        if key.order == "=":
            return day == wanted
        return day < wanted if key.order == "<" else day >= wanted

    return test


def fold(text: str) -> str:
    """Make a text comparable: without case, letters apart from their marks (RFC 5051)."""
    folded = text.casefold()
    return folded if folded.isascii() else unicodedata.normalize("NFKD", folded)


class Looked:
    """A message being looked at: what one key has read is there for the next."""

    def __init__(self, message: Message) -> None:
        """Take the message; nothing is read yet."""
        self.message = message
        self._pairs: list[tuple[bytes, bytes]] | None = None

    def pairs(self) -> list[tuple[bytes, bytes]]:
        """The header as pairs."""
        if self._pairs is None:
            self._pairs = header_pairs(self.message.header())
        return self._pairs

    def fields(self, name: bytes) -> Iterator[str]:
        """The bodies of the fields of a name, ready to be compared."""
        return (fold(decode_words(body)) for key, body in self.pairs() if key == name)

    def day(self, which: str) -> int | None:
        """A day of the message, in days since 1970."""
        if which == "sent":
            dates = (body for name, body in self.pairs() if name == b"date")
            parsed = parse_date_field(next(dates, b"").decode("latin-1"))
            return days_since_1970(parsed[0]) if parsed else None
        moment = self.message.internal_date if which == "arrived" else self.message.save_date
        return days_since_1970(day_of(moment))

    def contains(self, folded: str, *, header: bool) -> bool:
        """Whether a text stands in the body, or with `header` in the header too."""
        if not folded:
            return True
        if header and _in_header(folded, self.pairs()):
            return True
        root = self.message.structure()
        for part in walk(root):
            # The header of a message inside is part of the body; that of a part is not text.
            looked_at = part is not root and (header or part.top)
            if looked_at and self._in_header_of(part, folded):
                return True
            if not part.parts and self._in_body_of(part, folded):
                return True
        return False

    def _in_header_of(self, part: Part, folded: str) -> bool:
        end = min(part.body, part.start + HEADER_MOST)
        return _in_header(folded, header_pairs(self.message.octets(part.start, end)))

    def _in_body_of(self, part: Part, folded: str) -> bool:
        if part.mime.type.lower() not in (b"text", b"message"):
            return False
        data = self.message.octets(part.body, part.end)
        match part.mime.encoding.lower():
            case b"base64":
                data = decode_base64(data)
            case b"quoted-printable":
                data = decode_quoted_printable(data)
        charset = (part.mime.parameter(b"charset") or b"us-ascii").decode("latin-1")
        text = decode_charset(data, charset)
        return folded in fold(text) or ("\n" in text and folded in fold(text.replace("\r", "")))


def _in_header(folded: str, pairs: list[tuple[bytes, bytes]]) -> bool:
    return any(
        folded in fold(f"{name.decode('latin-1')}: {decode_words(body)}") for name, body in pairs
    )
