"""Flags and keywords as IMAP writes them (RFC 3501 2.3.2)."""

from mailtools.errors import BadSyntax
from mailtools.protocol.imap.values import SYSTEM_FLAGS
from mailtools.protocol.imap.wire import Cursor

FLAGS_MOST = 200  # in a command

_known = {flag.lower(): flag for flag in SYSTEM_FLAGS}


def take_flag(cursor: Cursor) -> str:
    """Take a flag or keyword; `\\Recent` is not a client's to set."""
    if not cursor.accept(b"\\"):
        return cursor.atom().decode("ascii")
    flag = "\\" + cursor.atom().decode("ascii")
    try:
        return _known[flag.lower()]
    except KeyError:
        raise BadSyntax(f"{flag[:40]} is no flag that a client can set") from None


def take_flags(cursor: Cursor) -> list[str]:
    """Take flags: a list in parentheses, or one or more without (RFC 3501 store-att-flags)."""
    found: list[str] = []
    if cursor.accept(b"("):
        while not cursor.accept(b")"):
            if found:
                cursor.space()
            _add(found, take_flag(cursor))
        return found
    _add(found, take_flag(cursor))
    while not cursor.at_end:
        cursor.space()
        _add(found, take_flag(cursor))
    return found


def _add(found: list[str], flag: str) -> None:
    found.append(flag)
    if len(found) > FLAGS_MOST:
        raise BadSyntax("Too many flags")
