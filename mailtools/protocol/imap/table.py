"""The table of commands: where each is legal, what does it, what may be told at its end."""

from __future__ import annotations

from collections.abc import Callable
from enum import Flag, auto
from typing import TYPE_CHECKING, NamedTuple

from mailtools.protocol.imap import commands
from mailtools.protocol.imap.wire import Cursor

if TYPE_CHECKING:
    from mailtools.protocol.imap.dialog import Answer, Dialog


class State(Flag):
    """RFC 3501 3; logout is no more than the answer to LOGOUT."""

    STRANGER = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()


Method = Callable[["Dialog", bytes, Cursor], "str | Answer"]

_STRANGER = State.STRANGER
_KNOWN = State.AUTHENTICATED | State.SELECTED
_SELECTED = State.SELECTED
_ANY = _STRANGER | _KNOWN


class Command(NamedTuple):
    """A row: states in which it is legal; its method; `plain` where it has no arguments.

    `news` is what may be told at its end: "all", "kept" (no EXPUNGE: the client's next command may
    use the numbers it knows, RFC 3501 7.4.1), or "none".
    """

    states: State
    method: Method
    plain: bool = False
    news: str = "all"


def _message(name: str) -> Method:
    """Give a command of `messages.py`, which is loaded when one is first used."""

    def run(server: Dialog, tag: bytes, cursor: Cursor) -> str | Answer:
        from mailtools.protocol.imap import messages  # costs 10 ms that a stranger need not

        method: Method = getattr(messages, name)
        return method(server, tag, cursor)

    return run


def _mailbox(name: str) -> Method:
    """Give a command of `mailboxes.py`, in the same way."""

    def run(server: Dialog, tag: bytes, cursor: Cursor) -> str | Answer:
        from mailtools.protocol.imap import mailboxes

        method: Method = getattr(mailboxes, name)
        return method(server, tag, cursor)

    return run


COMMANDS: dict[str, Command] = {
    "CAPABILITY": Command(_ANY, commands.capability, plain=True),
    "NOOP": Command(_ANY, commands.noop, plain=True),
    "LOGOUT": Command(_ANY, commands.logout, plain=True, news="none"),
    "ID": Command(_ANY, commands.identify),
    "STARTTLS": Command(_STRANGER, commands.starttls, plain=True),
    "LOGIN": Command(_STRANGER, commands.login),
    "AUTHENTICATE": Command(_STRANGER, commands.authenticate),
    "ENABLE": Command(_KNOWN, commands.enable),
    "NAMESPACE": Command(_KNOWN, _mailbox("namespace"), plain=True),
    "SELECT": Command(_KNOWN, _mailbox("select"), news="none"),
    "EXAMINE": Command(_KNOWN, _mailbox("examine"), news="none"),
    "CREATE": Command(_KNOWN, _mailbox("create")),
    "DELETE": Command(_KNOWN, _mailbox("delete")),
    "RENAME": Command(_KNOWN, _mailbox("rename")),
    "SUBSCRIBE": Command(_KNOWN, _mailbox("subscribe")),
    "UNSUBSCRIBE": Command(_KNOWN, _mailbox("unsubscribe")),
    "LIST": Command(_KNOWN, _mailbox("list_")),
    "LSUB": Command(_KNOWN, _mailbox("lsub")),
    "STATUS": Command(_KNOWN, _mailbox("status")),
    "APPEND": Command(_KNOWN, _mailbox("append_without_message")),
    "IDLE": Command(_KNOWN, commands.idle, plain=True, news="all"),
    "CHECK": Command(_SELECTED, _message("check"), plain=True),
    "CLOSE": Command(_SELECTED, _message("close"), plain=True, news="none"),
    "UNSELECT": Command(_SELECTED, _message("unselect"), plain=True, news="none"),
    "EXPUNGE": Command(_SELECTED, _message("expunge"), plain=True),
    "UID EXPUNGE": Command(_SELECTED, _message("uid_expunge")),
    "SEARCH": Command(_SELECTED, _message("search"), news="kept"),
    "UID SEARCH": Command(_SELECTED, _message("uid_search")),
    "FETCH": Command(_SELECTED, _message("fetch"), news="kept"),
    "UID FETCH": Command(_SELECTED, _message("uid_fetch")),
    "STORE": Command(_SELECTED, _message("store"), news="kept"),
    "UID STORE": Command(_SELECTED, _message("uid_store")),
    "COPY": Command(_SELECTED, _message("copy")),
    "UID COPY": Command(_SELECTED, _message("uid_copy")),
    "MOVE": Command(_SELECTED, _message("move")),
    "UID MOVE": Command(_SELECTED, _message("uid_move")),
}
