"""The table of commands: where each is legal, what does it, what may be told at its end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Flag, auto
from typing import TYPE_CHECKING

from mailtools.protocol.imap import commands, mailboxes, messages
from mailtools.protocol.imap.wire import Cursor

if TYPE_CHECKING:
    from mailtools.protocol.imap.server import ImapServer


class State(Flag):
    """RFC 3501 3; logout is no more than the answer to LOGOUT."""

    STRANGER = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()


Method = Callable[["ImapServer", bytes, Cursor], str | Generator[bytes, None, str]]

_STRANGER = State.STRANGER
_KNOWN = State.AUTHENTICATED | State.SELECTED
_SELECTED = State.SELECTED
_ANY = _STRANGER | _KNOWN


@dataclass(frozen=True, slots=True)
class Command:
    """A row: states in which it is legal; its method; `plain` where it has no arguments.

    `news` is what may be told at its end: "all", "kept" (no EXPUNGE: the client's next command may
    use the numbers it knows, RFC 3501 7.4.1), or "none".
    """

    states: State
    method: Method
    plain: bool = False
    news: str = "all"


COMMANDS: dict[str, Command] = {
    "CAPABILITY": Command(_ANY, commands.capability, plain=True),
    "NOOP": Command(_ANY, commands.noop, plain=True),
    "LOGOUT": Command(_ANY, commands.logout, plain=True, news="none"),
    "ID": Command(_ANY, commands.identify),
    "STARTTLS": Command(_STRANGER, commands.starttls, plain=True),
    "LOGIN": Command(_STRANGER, commands.login),
    "AUTHENTICATE": Command(_STRANGER, commands.authenticate),
    "ENABLE": Command(_KNOWN, commands.enable),
    "NAMESPACE": Command(_KNOWN, mailboxes.namespace, plain=True),
    "SELECT": Command(_KNOWN, mailboxes.select, news="none"),
    "EXAMINE": Command(_KNOWN, mailboxes.examine, news="none"),
    "CREATE": Command(_KNOWN, mailboxes.create),
    "DELETE": Command(_KNOWN, mailboxes.delete),
    "RENAME": Command(_KNOWN, mailboxes.rename),
    "SUBSCRIBE": Command(_KNOWN, mailboxes.subscribe),
    "UNSUBSCRIBE": Command(_KNOWN, mailboxes.unsubscribe),
    "LIST": Command(_KNOWN, mailboxes.list_),
    "LSUB": Command(_KNOWN, mailboxes.lsub),
    "STATUS": Command(_KNOWN, mailboxes.status),
    "APPEND": Command(_KNOWN, mailboxes.append_without_message),
    "IDLE": Command(_KNOWN, commands.idle, plain=True, news="all"),
    "CHECK": Command(_SELECTED, messages.check, plain=True),
    "CLOSE": Command(_SELECTED, messages.close, plain=True, news="none"),
    "UNSELECT": Command(_SELECTED, messages.unselect, plain=True, news="none"),
    "EXPUNGE": Command(_SELECTED, messages.expunge, plain=True),
    "UID EXPUNGE": Command(_SELECTED, messages.uid_expunge),
    "SEARCH": Command(_SELECTED, messages.search, news="kept"),
    "UID SEARCH": Command(_SELECTED, messages.uid_search),
    "FETCH": Command(_SELECTED, messages.fetch, news="kept"),
    "UID FETCH": Command(_SELECTED, messages.uid_fetch),
    "STORE": Command(_SELECTED, messages.store, news="kept"),
    "UID STORE": Command(_SELECTED, messages.uid_store),
    "COPY": Command(_SELECTED, messages.copy),
    "UID COPY": Command(_SELECTED, messages.uid_copy),
    "MOVE": Command(_SELECTED, messages.move),
    "UID MOVE": Command(_SELECTED, messages.uid_move),
}
