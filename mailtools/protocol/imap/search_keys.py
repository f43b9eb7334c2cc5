"""What SEARCH can ask of a message: values that a service evaluates (RFC 3501 6.4.4, RFC 5032)."""

from __future__ import annotations

from typing import NamedTuple

from mailtools.mail.dates import Day
from mailtools.protocol.imap.sequence import Numbers


class All(NamedTuple):
    """Every message that matches each of the keys; of no keys, every message."""

    keys: tuple[Key, ...] = ()


class Any(NamedTuple):
    """Messages that match one of the keys."""

    keys: tuple[Key, ...]


class Not(NamedTuple):
    """Messages that do not match."""

    key: Key


class Flag(NamedTuple):
    """Messages that have a flag, a keyword, or `\\Recent`."""

    name: str


class Header(NamedTuple):
    """A header field of this name (in lower case) that contains the text; "" asks for the field."""

    name: bytes
    text: str


class Text(NamedTuple):
    """The text stands in the body, or with `header` in the header or the body."""

    text: str
    header: bool


class Size(NamedTuple):
    """Octets with CRLF: more than, or less than."""

    larger: bool
    octets: int


class Date(NamedTuple):
    """A day of a message: `arrived` (INTERNALDATE), `sent` (Date field) or `saved` (RFC 8514).

    `order` is "<", "=" or ">=".
    """

    which: str
    order: str
    day: Day


class Age(NamedTuple):
    """Arrived within, or longer ago than, so many seconds (RFC 5032)."""

    younger: bool
    seconds: int


class Named(NamedTuple):
    """Messages named by a sequence set, of numbers or with `uid` of UIDs, as it came."""

    numbers: Numbers
    uid: bool


class Among(NamedTuple):
    """Messages of these UIDs: what `Named` becomes before a service sees it."""

    uids: frozenset[int]


Key = All | Any | Not | Flag | Header | Text | Size | Date | Age | Named | Among
