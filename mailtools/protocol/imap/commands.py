"""Commands of any state, login, and IDLE (RFC 3501 6.1 and 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mailtools import __version__
from mailtools.errors import AuthTrouble, BadCredentials, BadParameter, BadSyntax, Failure
from mailtools.protocol.imap.responses import No
from mailtools.protocol.imap.values import SYSTEM_FLAGS, Keywords
from mailtools.protocol.imap.wire import Cursor
from mailtools.protocol.sasl import wire

if TYPE_CHECKING:
    from mailtools.protocol.imap.dialog import Answer, Dialog


ID_PAIRS_MOST = 30  # RFC 2971 3.3

_ALWAYS = "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE"
_LOGGED_IN = (
    "IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE ESEARCH"
    " SEARCHRES WITHIN BINARY MULTIAPPEND STATUS=SIZE SAVEDATE"
)


def capabilities(server: Dialog) -> str:
    """List what can be done in this state."""
    if server.session is not None:
        return f"{_ALWAYS} {_LOGGED_IN} APPENDLIMIT={server.session.append_limit}"
    words = [_ALWAYS]
    if server.can_tls and not server.secure:
        words.append("STARTTLS")
    words += (f"AUTH={name}" for name in _mechanisms(server))
    if not server.may_log_in:
        words.append("LOGINDISABLED")
    return " ".join(words)


def _mechanisms(server: Dialog) -> list[str]:
    return [
        name for name in server.site.mechanisms if server.may_log_in or name not in wire.PLAINTEXT
    ]


def capability(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.1.1."""
    yield f"* CAPABILITY {server.capabilities()}\r\n".encode()
    return "Capability completed"


def noop(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.1.2: the news comes with every command."""
    return "Noop completed"


def logout(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 3501 6.1.3."""
    yield b"* BYE Logging out\r\n"
    server.leave()
    return "Logout completed"


def identify(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 2971: what the client says of itself is read and forgotten."""
    cursor.space()
    if cursor.accept(b"("):
        count = 0
        while not cursor.accept(b")"):
            if count:
                cursor.space()
            cursor.string()
            cursor.space()
            cursor.nstring()
            count += 1
            if count > ID_PAIRS_MOST:
                raise BadSyntax("More than 30 pairs (RFC 2971 3.3)")
    elif cursor.nstring() is not None:
        raise BadSyntax("A list or NIL expected")
    cursor.end()
    yield f'* ID ("name" "mailtools" "version" "{__version__}")\r\n'.encode()
    return "ID completed"


def enable(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 5161: nothing here needs to be enabled, and what is unknown is overlooked."""
    cursor.space()
    cursor.atom()
    while not cursor.at_end:
        cursor.space()
        cursor.atom()
    yield b"* ENABLED\r\n"
    return "Enabled"


def starttls(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.2.1."""
    if not server.can_tls or server.secure:
        raise BadSyntax("TLS is active already" if server.secure else "There is no TLS here")
    server.wants_tls = True
    return "Begin TLS negotiation now"


# -- login ----------------------------------------------------------------------------------------


def login(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.2.3."""
    from mailtools.protocol.sasl.server import Password  # not before it is used

    cursor.space()
    name = cursor.astring()
    cursor.space()
    password = cursor.astring()
    cursor.end()
    _need_privacy(server)
    try:
        credentials = Password(name.decode(), password.decode())
        identity = server.site.authority.authenticate(credentials)
    except UnicodeDecodeError:
        raise server.no_login(BadCredentials()) from None
    except BadCredentials as failure:
        raise server.no_login(failure) from failure
    return _welcome(server, identity)


def authenticate(server: Dialog, tag: bytes, cursor: Cursor) -> str:
    """RFC 3501 6.2.2, with an initial response (RFC 4959)."""
    from mailtools.protocol.sasl.server import start  # not before it is used

    cursor.space()
    mechanism = cursor.keyword()
    initial = None
    if cursor.accept(b" "):
        initial = cursor.data[cursor.position :].strip()
    if mechanism in wire.PLAINTEXT:
        _need_privacy(server)
    if mechanism not in _mechanisms(server):
        raise No("There is no such mechanism here", code="CANNOT")
    try:
        exchange = start(mechanism, server.site.authority)
    except BadParameter as failure:
        raise No(failure.text) from failure

    def respond(line: bytes | None) -> Callable[[], str]:
        def step() -> str:
            response = None if line is None else wire.decode(line)
            challenge = exchange.respond(response)
            if challenge is None:
                return _welcome(server, exchange.identity)
            server.ask(lambda answer: _go_on(server, tag, respond(answer)))
            server.say(b"+ " + wire.encode(challenge) + b"\r\n")
            return ""

        return step

    return _guarded(server, respond(initial))


def _go_on(server: Dialog, tag: bytes, step: Callable[[], str]) -> None:
    def steps() -> Answer:
        yield b""
        return _guarded(server, step)

    server.answer_later(tag, steps())


def _guarded(server: Dialog, step: Callable[[], str]) -> str:
    try:
        return step()
    except BadCredentials as failure:
        raise server.no_login(failure) from failure


def _need_privacy(server: Dialog) -> None:
    if not server.may_log_in:
        raise No("Passwords are taken under TLS only", code="PRIVACYREQUIRED")


def _welcome(server: Dialog, identity: object) -> str:
    try:
        server.logged_in(server.site.open(identity))
    except Failure as failure:
        raise AuthTrouble(failure.text, detail=failure.detail) from failure
    return f"[CAPABILITY {server.capabilities()}] Logged in"


# -- IDLE -----------------------------------------------------------------------------------------


def idle(server: Dialog, tag: bytes, cursor: Cursor) -> Answer:
    """RFC 2177."""
    yield b"+ idling\r\n"
    yield from server.news(expunges=True)
    server.idle(tag)
    return ""


def idled() -> Answer:
    """End IDLE."""
    yield b""
    return "Idle completed"


def flags_lines(keywords: Keywords) -> bytes:
    """Say which flags there are, and which of them last (RFC 3501 7.2.6)."""
    flags = " ".join((*SYSTEM_FLAGS, *keywords.names)).encode()
    more = b" \\*" if keywords.more else b""
    return b"* FLAGS (%b)\r\n* OK [PERMANENTFLAGS (%b%b)] Flags that last\r\n" % (
        flags,
        flags,
        more,
    )
