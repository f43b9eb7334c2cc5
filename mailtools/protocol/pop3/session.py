"""What a POP3 engine asks of the site, and what it says of trouble (RFC 1939, RFC 2449 8)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mailtools.errors import (
    BadCredentials,
    BadParameter,
    BadSequence,
    BadSyntax,
    Failure,
    MailboxInUse,
    NoSuchMessage,
    TlsRequired,
    UnknownCommand,
)
from mailtools.mail.reply import one_line

if TYPE_CHECKING:
    from mailtools.protocol.sasl import server as sasl

_end_of_header = re.compile(rb"\n\r?\n")


class Drop(Protocol):
    """A maildrop, locked and open: messages are numbered from 0 and do not change (RFC 1939 4)."""

    @property
    def sizes(self) -> Sequence[int]:
        """Of each message: its octets on the wire, CRLF counted, dot-stuffing not (RFC 1939 11)."""

    def uid(self, index: int) -> str:
        """The unique-id of a message (RFC 1939 7, UIDL); raise Failure."""

    def read(self, index: int) -> Iterable[bytes]:
        """A message as disk text, opened already; raise NoSuchMessage where it is gone."""

    def update(self, removed: set[int], retrieved: set[int]) -> None:
        """Remove for good, and take note of what was read (RFC 1939 6); raise Failure."""

    def release(self) -> None:
        """Let the maildrop go: the session is over, with `update` before or without."""


class Session(Protocol):
    """What the engine asks of the site."""

    @property
    def authority(self) -> sasl.Authority[Any]:
        """Who knows the accounts."""

    @property
    def mechanisms(self) -> Sequence[str]:
        """SASL mechanisms to offer; the engine leaves out those that would show a secret."""

    @property
    def apop(self) -> bool:
        """Whether APOP is offered (RFC 1939 7)."""

    def open(self, identity: Any, /) -> Drop:
        """Open the maildrop of whom the authority has let in; raise MailboxInUse or a Failure."""


def _response_code(failure: Failure) -> str:
    """The response code that tells a client why (RFC 2449 8, RFC 3206 4); "" where none fits."""
    if isinstance(failure, MailboxInUse):
        return "[IN-USE] "
    if isinstance(failure, (BadCredentials, TlsRequired)):
        return "[AUTH] "
    if isinstance(failure, (BadParameter, BadSequence, BadSyntax, NoSuchMessage, UnknownCommand)):
        return ""
    return "[SYS/PERM] " if failure.permanent else "[SYS/TEMP] "


def refusal(failure: Failure) -> bytes:
    """Say in a greeting's place that there can be no session now."""
    return f"-ERR {_response_code(failure)}{one_line(failure.text)}\r\n".encode()


def top(text: Iterable[bytes], lines: int) -> Iterator[bytes]:
    """Give the header of disk text, the empty line, and `lines` lines of the body (TOP)."""
    before = b"\n"  # the last octets; a text begins as if a line had just ended
    in_header = True
    for piece in text:
        chunk = piece
        if in_header:
            joined = before + chunk
            match = _end_of_header.search(joined)
            if not match:
                yield chunk
                before = joined[-2:]
                continue
            in_header = False
            end = match.end() - len(before)
            yield chunk[:end]
            chunk = chunk[end:]
        if lines <= 0:
            return
        count = chunk.count(b"\n")
        if count < lines:
            yield chunk
            lines -= count
        else:
            rest = chunk.split(b"\n", lines)[-1]
            yield chunk[: len(chunk) - len(rest)]
            return
