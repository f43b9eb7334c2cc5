"""SEARCH's grammar: keys, charsets, what RETURN asks for (RFC 3501 6.4.4, RFC 4731, RFC 5032)."""

from mailtools.errors import BadSyntax
from mailtools.mail.dates import Day, parse_search_date
from mailtools.mail.mime_words import known_charset
from mailtools.protocol.imap.responses import No
from mailtools.protocol.imap.search_keys import (
    Age,
    All,
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
from mailtools.protocol.imap.sequence import take_numbers
from mailtools.protocol.imap.wire import NUMBER64_MOST, Cursor

DEPTH_MOST = 50  # keys inside one another
KEYS_MOST = 2000  # of one command

_FLAGS = {
    "ANSWERED": "\\Answered", "DELETED": "\\Deleted", "DRAFT": "\\Draft",
    "FLAGGED": "\\Flagged", "RECENT": "\\Recent", "SEEN": "\\Seen",
}  # fmt: skip
_DATES = {
    "BEFORE": ("arrived", "<"), "ON": ("arrived", "="), "SINCE": ("arrived", ">="),
    "SENTBEFORE": ("sent", "<"), "SENTON": ("sent", "="), "SENTSINCE": ("sent", ">="),
    "SAVEDBEFORE": ("saved", "<"), "SAVEDON": ("saved", "="), "SAVEDSINCE": ("saved", ">="),
}  # fmt: skip
_HEADERS = ("BCC", "CC", "FROM", "SUBJECT", "TO")
_RETURNS = ("MIN", "MAX", "ALL", "COUNT", "SAVE")


def take_returns(cursor: Cursor) -> set[str] | None:
    """Take `RETURN (…)` and the space behind it; None where it is not there (RFC 4731 3.1)."""
    start = cursor.position
    if cursor.peek().upper() != b"R" or cursor.word() != "RETURN" or not cursor.accept(b" ("):
        cursor.position = start
        return None
    found: set[str] = set()
    while not cursor.accept(b")"):
        if found:
            cursor.space()
        word = cursor.keyword()
        if word not in _RETURNS:
            raise BadSyntax(f"Unknown return option {word}")
        found.add(word)
    cursor.space()
    return found or {"ALL"}


def take_search(cursor: Cursor) -> Key:
    """Take `[CHARSET name] key key …` up to the end; raise BadSyntax, or No for a charset."""
    charset = "utf-8"
    start = cursor.position
    if cursor.peek().upper() == b"C" and cursor.word() == "CHARSET":
        cursor.space()
        charset = cursor.astring().decode("ascii", "replace")
        cursor.space()
        if not known_charset(charset):
            raise No("Unknown charset", code="BADCHARSET (US-ASCII UTF-8 ISO-8859-1)")
    else:
        cursor.position = start
    keys = _Keys(cursor, charset).several(0)
    cursor.end()
    return keys


class _Keys:
    def __init__(self, cursor: Cursor, charset: str) -> None:
        self._cursor = cursor
        self._charset = charset
        self._count = 0

    def several(self, depth: int) -> Key:
        found = [self.one(depth)]
        while not self._cursor.at_end and self._cursor.peek() != b")":
            self._cursor.space()
            if not self._cursor.at_end:  # a space at the end is overlooked
                found.append(self.one(depth))
        return found[0] if len(found) == 1 else All(tuple(found))

    def one(self, depth: int) -> Key:
        self._count += 1
        if depth > DEPTH_MOST or self._count > KEYS_MOST:
            raise BadSyntax("Search is too complicated")
        cursor = self._cursor
        if cursor.accept(b"("):
            keys = self.several(depth + 1)
            cursor.expect(b")")
            return keys
        if cursor.peek() in b"0123456789*$":
            return Named(take_numbers(cursor), uid=False)
        word = cursor.keyword()
        if word == "NOT":
            cursor.space()
            return Not(self.one(depth + 1))
        if word == "OR":
            cursor.space()
            first = self.one(depth + 1)
            cursor.space()
            return Any((first, self.one(depth + 1)))
        return self._simple(word) or self._with_argument(word)

    def _simple(self, word: str) -> Key | None:
        match word:
            case "ALL":
                return All()
            case "NEW":
                return All((Flag("\\Recent"), Not(Flag("\\Seen"))))
            case "OLD":
                return Not(Flag("\\Recent"))
            case "SAVEDATESUPPORTED":
                return All()
        if word in _FLAGS:
            return Flag(_FLAGS[word])
        if word.startswith("UN") and word[2:] in _FLAGS and word != "UNRECENT":
            return Not(Flag(_FLAGS[word[2:]]))
        return None

    def _with_argument(self, word: str) -> Key:
        cursor = self._cursor
        if word not in _WITH_ARGUMENT:
            raise BadSyntax(f"Unknown search key {word[:40]}")
        cursor.space()
        if word in _DATES:
            return Date(*_DATES[word], self._day())
        if word in _HEADERS:
            return Header(word.lower().encode(), self._text())
        match word:
            case "BODY" | "TEXT":
                return Text(self._text(), header=word == "TEXT")
            case "HEADER":
                name = cursor.astring().lower()
                cursor.space()
                return Header(name, self._text())
            case "KEYWORD":
                return Flag(cursor.atom().decode("ascii"))
            case "UNKEYWORD":
                return Not(Flag(cursor.atom().decode("ascii")))
            case "LARGER" | "SMALLER":
                return Size(word == "LARGER", cursor.number(NUMBER64_MOST))
            case "OLDER" | "YOUNGER":
                return Age(word == "YOUNGER", self._seconds())
        return Named(take_numbers(cursor), uid=True)

    def _text(self) -> str:
        raw = self._cursor.astring()
        try:
            return raw.decode("utf-8" if self._charset.lower() == "us-ascii" else self._charset)
        except (ValueError, LookupError):
            raise BadSyntax(f"String is not {self._charset[:40]} text") from None

    def _day(self) -> Day:
        text = self._cursor.astring().decode("ascii", "replace")
        try:
            return parse_search_date(text)
        except ValueError as error:
            raise BadSyntax(f"Bad date: {error}") from None

    def _seconds(self) -> int:
        seconds = self._cursor.number()
        if not seconds:
            raise BadSyntax("An interval is at least a second")
        return seconds


_WITH_ARGUMENT = frozenset(
    (
        *(*_DATES, *_HEADERS, "BODY", "TEXT", "HEADER", "KEYWORD", "UNKEYWORD"),
        *("LARGER", "SMALLER", "OLDER", "YOUNGER", "UID"),
    )
)
