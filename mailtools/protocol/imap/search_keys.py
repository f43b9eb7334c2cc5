"""What SEARCH can ask of a message: values that a service evaluates (RFC 3501 6.4.4, RFC 5032)."""

from __future__ import annotations

from dataclasses import dataclass

from mailtools.mail.dates import Day
from mailtools.protocol.imap.sequence import Numbers


@dataclass(frozen=True, slots=True)
class All:
    """Every message that matches each of the keys; of no keys, every message."""

    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Any:
    """Messages that match one of the keys."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Messages that do not match."""

    key: Key


@dataclass(frozen=True, slots=True)
class Flag:
    """Messages that have a flag, a keyword, or `\\Recent`."""

    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """A header field of this name (in lower case) that contains the text; "" asks for the field."""

    name: bytes
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """The text stands in the body, or with `header` in the header or the body."""

    text: str
    header: bool


@dataclass(frozen=True, slots=True)
class Size:
    """Octets with CRLF: more than, or less than."""

    larger: bool
    octets: int


@dataclass(frozen=True, slots=True)
class Date:
    """A day of a message: `arrived` (INTERNALDATE), `sent` (Date field) or `saved` (RFC 8514).

    `order` is "<", "=" or ">=".
    """

    which: str
    order: str
    day: Day


@dataclass(frozen=True, slots=True)
class Age:
    """Arrived within, or longer ago than, so many seconds (RFC 5032)."""

    younger: bool
    seconds: int


@dataclass(frozen=True, slots=True)
class Named:
    """Messages named by a sequence set, of numbers or with `uid` of UIDs, as it came."""

    numbers: Numbers
    uid: bool


@dataclass(frozen=True, slots=True)
class Among:
    """Messages of these UIDs: what `Named` becomes before a service sees it."""

    uids: frozenset[int]


Key = All | Any | Not | Flag | Header | Text | Size | Date | Age | Named | Among
