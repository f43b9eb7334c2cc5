"""APPEND (RFC 3501 6.3.11, MULTIAPPEND RFC 3502, literal8 RFC 3516): its arguments and its text.

The message is not held in memory: it goes to the session as it comes. So this command is read
before it is whole, up to the brace that announces the message.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from mailtools.errors import BadSyntax, MessageTooBig
from mailtools.mail.dates import parse_internal_date
from mailtools.protocol.dotted import ChunkReader
from mailtools.protocol.imap.flags import take_flags
from mailtools.protocol.imap.responses import No
from mailtools.protocol.imap.sequence import write_numbers
from mailtools.protocol.imap.wire import Cursor

if TYPE_CHECKING:
    from mailtools.protocol.imap.session import Appending, Session

_command = re.compile(rb"([^\x00-\x20\x7f-\xff(){%*\"\\+]+) +APPEND +", re.IGNORECASE)
_literal = re.compile(rb"(~?)\{([0-9]{1,19})(\+?)\}\r?\n\Z")


class Announced(NamedTuple):
    """A message that is about to come: its flags, date, octets, and whether it comes unasked."""

    flags: list[str]
    internal_date: float | None
    octets: int
    unasked: bool
    binary: bool


def begins_append(command: bytes) -> re.Match[bytes] | None:
    """Whether a command, of which the first line is there, is an APPEND: its tag and its length."""
    return _command.match(command)


def mailbox_is_coming(command: bytes, start: int) -> bool:
    """Whether the literal at the end of the first line is the mailbox' name, not the message."""
    return bool(_literal.match(command, start))


def take_announced(cursor: Cursor) -> Announced:
    """Take ` [(flags)] ["date"] {octets}`, in front of each message."""
    cursor.space()
    flags: list[str] = []
    date: float | None = None
    if cursor.peek() == b"(":
        flags = take_flags(cursor)
        cursor.space()
    if cursor.peek() == b'"':
        try:
            date = float(parse_internal_date(cursor.string().decode("ascii", "replace")))
        except ValueError as error:
            raise BadSyntax(f"Bad date-time: {error}") from None
        cursor.space()
    match = _literal.match(cursor.data, cursor.position)
    if not match:
        raise BadSyntax("A message as literal expected")
    cursor.position = match.end()
    return Announced(flags, date, int(match[2]), match[3] == b"+", match[1] == b"~")


class Incoming:
    """The messages of one APPEND, as they come."""

    def __init__(self, session: Session, name: str) -> None:
        """Begin; raise NoSuchFolder."""
        self.left = 0
        """Octets of the message that have not come yet."""
        self._limit = session.append_limit
        self._appending: Appending = session.append(name)
        self._reader = ChunkReader()
        self._binary = False

    def begin(self, announced: Announced) -> None:
        """Start the next message; raise a Failure."""
        if announced.octets > self._limit:
            raise MessageTooBig(f"A message can have {self._limit} octets")
        if not announced.octets:
            raise No("A message of no octets cannot be appended")  # RFC 3502 6.3.11
        self._reader = ChunkReader()
        self._binary = announced.binary
        self._appending.begin(announced.flags, announced.internal_date)
        self.left = announced.octets

    def write(self, data: bytes) -> None:
        """Take octets of the message; raise a Failure."""
        if not self._binary and b"\0" in data:
            raise No("NUL in the message: a literal8 can carry it", code="CANNOT")
        self.left -= len(data)
        self._appending.write(self._reader.feed(data, last=not self.left))

    def commit(self) -> str:
        """Put all messages in the mailbox; give the APPENDUID code (RFC 4315 3) and a space.

        Without a code where one of them was removed again by now.
        """
        uidvalidity, uids = self._appending.commit()
        return "" if 0 in uids else f"[APPENDUID {uidvalidity} {write_numbers(uids).decode()}] "

    def abort(self) -> None:
        """Throw all away."""
        self._appending.abort()
