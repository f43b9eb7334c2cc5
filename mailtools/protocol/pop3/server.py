"""POP3, the server's half (RFC 1939), as an engine that asks a Session for the maildrop.

Also: CAPA and limits of lines (RFC 2449), STLS (RFC 2595), SYS and AUTH response codes (RFC 3206),
AUTH with an initial response (RFC 5034), UTF8 (RFC 6856); APOP where the session offers it. Left
out: LANG.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from mailtools.errors import (
    BadCredentials,
    BadParameter,
    BadSequence,
    BadSyntax,
    Failure,
    TlsRequired,
    UnknownCommand,
)
from mailtools.mail.reply import one_line
from mailtools.protocol.dotted import dot_stuffed
from mailtools.protocol.engine import Engine, LineTooLong
from mailtools.protocol.pop3.session import Drop, Session, refusal, top
from mailtools.protocol.pop3.table import ORDER, Command, State
from mailtools.protocol.sasl import wire

if TYPE_CHECKING:
    from mailtools.protocol.sasl.server import Exchange

LINE = 255  # octets of a command with its line end (RFC 2449 4)
SASL_LINE = wire.RESPONSE_MOST + 64  # octets of an AUTH command, or of a line that answers one
AUTOLOGOUT = 600.0  # seconds of silence (RFC 1939 3: ten minutes at least)
BAD_COMMANDS = 20  # in a row, before the connection is closed
BAD_LOGINS = 3  # before the connection is closed
LISTED = 500  # scan listings made at a time

_number = re.compile(r"[0-9]{1,9}\Z")


_A, _T = State.AUTHORIZATION, State.TRANSACTION


class Pop3Server(Engine):
    """One POP3 session."""

    timeout = AUTOLOGOUT

    def __init__(
        self,
        session: Session | None,
        *,
        host: str = "",
        tls: bool = False,
        secure: bool = False,
        plaintext_login: bool = False,
        drop: Drop | None = None,
    ) -> None:
        """Greet as `host`. `tls`: STLS can be done; `secure`: TLS is on already.

        `plaintext_login` takes passwords without TLS. With a `drop` the session is logged in from
        the beginning, and needs no Session.
        """
        super().__init__()
        self._session = session
        self._can_tls = tls
        self._secure = secure
        self._plaintext_login = plaintext_login
        self._name: str | None = None  # what USER said
        self._state = _A if drop is None else _T
        self._drop = drop
        self._removed: set[int] = set()
        self._retrieved: set[int] = set()
        self._bad_commands = 0
        self._bad_logins = 0
        self._sasl: Callable[[bytes], None] | None = None  # takes the answer to a challenge
        self._utf8 = False
        self._stamp = ""  # what APOP digests; "" where it is not offered
        if session is not None and drop is None and session.apop:
            from mailtools.protocol.sasl.server import make_nonce  # rare

            self._stamp = f"<{make_nonce()}@{host}>"
        self._ok(f"{host} POP3 ready {self._stamp}" if drop is None else self._greeting(drop))

    # -- lines ------------------------------------------------------------------------------------

    def _advance(self) -> bool:
        try:
            line = self._take_line(SASL_LINE)
        except LineTooLong:
            self._sasl = None
            self._bad(BadSyntax("Line too long"))
            return True
        if line is None:
            return False
        line = line.removesuffix(b"\n").removesuffix(b"\r")  # a bare LF will do, as in Dovecot
        if self._sasl is not None:
            answer, self._sasl = self._sasl, None
            self._guard(lambda: answer(line))
        else:
            self._guard(lambda: self._command(line))
        return True

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (BadParameter, BadSequence, BadSyntax, UnknownCommand) as failure:
            self._bad(failure)
        except Failure as failure:
            self._error(failure)
        else:
            self._bad_commands = 0

    def _command(self, line: bytes) -> None:
        word, _, rest = line.partition(b" ")
        verb = word.upper().rstrip()
        if len(line) + 2 > LINE and verb != b"AUTH":
            raise BadSyntax("Line too long")
        command = _COMMANDS.get(verb)
        if command is None:
            raise UnknownCommand("Unknown command")
        if self._state not in command.states:
            raise BadSequence("Not now: " + ORDER[self._state])
        try:
            text = rest.decode()
        except UnicodeDecodeError as error:
            raise BadSyntax("Not UTF-8") from error
        if "\0" in text:
            raise BadSyntax("NUL in the command")
        arguments = ([text] if text else []) if command.most < 0 else text.split()
        if not command.least <= len(arguments) <= abs(command.most):
            raise BadSyntax("Wrong number of arguments")
        command.method(self, arguments)

    # -- answers ----------------------------------------------------------------------------------

    def _ok(self, text: str = "") -> None:
        self._say(f"+OK {one_line(text)}".rstrip().encode() + b"\r\n")

    def _error(self, failure: Failure) -> None:
        self._say(refusal(failure))

    def _bad(self, failure: Failure) -> None:
        self._error(failure)
        self._bad_commands += 1
        if self._bad_commands >= BAD_COMMANDS:
            self._end()

    def _lines(self, lines: Iterable[str]) -> None:
        """Answer with a multi-line response, LISTED lines at a time."""

        def chunks() -> Iterator[bytes]:
            held: list[str] = []
            for line in lines:
                held.append(line + "\r\n")
                if len(held) == LISTED:
                    yield "".join(held).encode()
                    held.clear()
            yield "".join([*held, ".\r\n"]).encode()

        self._stream(chunks())

    def _end(self) -> None:
        self.closed = True
        self._lost()

    def _lost(self) -> None:
        # RFC 1939 3: a session that ends without QUIT removes nothing.
        drop, self._drop = self._drop, None
        if drop:
            drop.release()

    # -- any state --------------------------------------------------------------------------------

    def _capa(self, arguments: list[str]) -> None:
        self._ok("Capability list follows")
        capabilities = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8 USER"]
        capabilities += ["EXPIRE NEVER", "LOGIN-DELAY 0", "IMPLEMENTATION mailtools"]
        if self._can_tls and not self._secure:
            capabilities.append("STLS")
        if self._session and self._secrecy:
            capabilities.append("USER")
        if mechanisms := self._mechanisms():
            capabilities.append(" ".join(("SASL", *mechanisms)))
        self._lines(capabilities)

    def _quit(self, arguments: list[str]) -> None:
        try:
            if self._drop:
                self._drop.update(self._removed, self._retrieved)
            self._ok("Bye")
        finally:
            self._end()

    # -- AUTHORIZATION ----------------------------------------------------------------------------

    def _stls(self, arguments: list[str]) -> None:
        if self._secure:
            raise BadSequence("TLS is on already")
        if not self._can_tls:
            raise UnknownCommand("TLS is not available")
        if self._utf8:
            raise BadSequence("STLS comes before UTF8")  # RFC 6856 2.1
        self._ok("Begin TLS")
        self.wants_tls = True

    def tls_started(self) -> None:
        """Go on under TLS; what was learnt before it is forgotten (RFC 2595 4)."""
        super().tls_started()
        self._secure = True
        self._name = None

    def _utf8_mode(self, arguments: list[str]) -> None:
        self._utf8 = True
        self._ok("UTF-8 it is")

    @property
    def _site(self) -> Session:
        assert self._session, "AUTHORIZATION state is entered with a Session only"
        return self._session

    @property
    def _secrecy(self) -> bool:
        return self._secure or self._plaintext_login

    def _need_secrecy(self) -> None:
        if not self._secrecy:
            raise TlsRequired("Passwords are taken under TLS only: use STLS, or port 995")

    def _mechanisms(self) -> list[str]:
        offered = self._session.mechanisms if self._session else ()
        return [name for name in offered if self._secrecy or name not in wire.PLAINTEXT]

    def _user(self, arguments: list[str]) -> None:
        self._need_secrecy()
        self._name = arguments[0]
        self._ok()  # whether there is such a user or not

    def _pass(self, arguments: list[str]) -> None:
        from mailtools.protocol.sasl.server import Password  # not before it is used

        self._need_secrecy()
        name, self._name = self._name, None
        if name is None:
            raise BadSequence("USER comes first")
        authority = self._site.authority
        credentials = Password(name, arguments[0])
        self._log_in(lambda: authority.authenticate(credentials))

    def _apop(self, arguments: list[str]) -> None:
        if not self._stamp:
            raise UnknownCommand("Unknown command")
        self._need_secrecy()
        from mailtools.protocol.sasl.server import check_apop  # not before it is used

        name, proof = arguments
        self._log_in(lambda: check_apop(self._site.authority, name, self._stamp, proof))

    def _auth(self, arguments: list[str]) -> None:
        if not arguments:  # older than RFC 1734, and Outlook still asks
            self._ok("Mechanisms follow")
            self._lines(self._mechanisms())
            return
        name = arguments[0].upper()
        if name in wire.PLAINTEXT:
            self._need_secrecy()
        if name not in self._mechanisms():
            raise BadParameter("Unknown mechanism")
        initial = arguments[1].encode() if len(arguments) > 1 else None
        from mailtools.protocol.sasl.server import start  # not before it is used

        exchange = start(name, self._site.authority)
        self._exchange(exchange, initial)

    def _exchange(self, exchange: "Exchange[Any]", line: bytes | None) -> None:
        """Take one step of AUTH: challenge again, or log in."""
        response = None if line is None else wire.decode(line)

        def step() -> object:
            challenge = exchange.respond(response)
            if challenge is None:
                return exchange.identity
            self._say(b"+ " + wire.encode(challenge) + b"\r\n")
            self._sasl = lambda line: self._exchange(exchange, line)
            return None

        self._log_in(step)

    def _log_in(self, step: Callable[[], object | None]) -> None:
        """Open the maildrop of the identity that `step` gives; None: it is not there yet."""
        try:
            identity = step()
        except BadCredentials as failure:
            self._error(failure)
            self._bad_logins += 1
            if self._bad_logins >= BAD_LOGINS:
                self._end()
            return
        if identity is None:
            return
        self._drop = self._site.open(identity)
        self._state = _T
        self._ok(self._greeting(self._drop))

    @staticmethod
    def _greeting(drop: Drop) -> str:
        return f"{len(drop.sizes)} messages ({sum(drop.sizes)} octets)"

    # -- TRANSACTION ------------------------------------------------------------------------------

    def _find(self, argument: str) -> tuple[Drop, int]:
        """The maildrop and the index of a message that is there and not marked."""
        assert self._drop is not None
        if not _number.match(argument):
            raise BadSyntax(f"{argument!r} is not a number")
        index = int(argument) - 1
        if not 0 <= index < len(self._drop.sizes):
            raise BadSyntax(f"No such message: there are {len(self._drop.sizes)}")
        if index in self._removed:
            raise BadSyntax(f"Message {index + 1} is marked as deleted")
        return self._drop, index

    def _left(self) -> tuple[Drop, list[int]]:
        assert self._drop is not None
        return self._drop, [i for i in range(len(self._drop.sizes)) if i not in self._removed]

    def _stat(self, arguments: list[str]) -> None:
        drop, left = self._left()
        self._ok(f"{len(left)} {sum(drop.sizes[index] for index in left)}")

    def _list(self, arguments: list[str]) -> None:
        if arguments:
            drop, index = self._find(arguments[0])
            self._ok(f"{index + 1} {drop.sizes[index]}")
            return
        drop, left = self._left()
        self._ok(f"{len(left)} messages")
        self._lines(f"{index + 1} {drop.sizes[index]}" for index in left)

    def _uidl(self, arguments: list[str]) -> None:
        if arguments:
            drop, index = self._find(arguments[0])
            self._ok(f"{index + 1} {drop.uid(index)}")
            return
        drop, left = self._left()
        uids = [(index + 1, drop.uid(index)) for index in left]  # any trouble before "+OK"
        self._ok(f"{len(left)} messages")
        self._lines(f"{number} {uid}" for number, uid in uids)

    def _retr(self, arguments: list[str]) -> None:
        drop, index = self._find(arguments[0])
        text = drop.read(index)
        self._ok(f"{drop.sizes[index]} octets")
        self._retrieved.add(index)
        self._stream(dot_stuffed(text))

    def _top(self, arguments: list[str]) -> None:
        drop, index = self._find(arguments[0])
        if not _number.match(arguments[1]):
            raise BadSyntax(f"{arguments[1]!r} is not a number of lines")
        text = drop.read(index)
        self._ok("The top follows")
        self._stream(dot_stuffed(top(text, int(arguments[1]))))

    def _dele(self, arguments: list[str]) -> None:
        _, index = self._find(arguments[0])
        self._removed.add(index)
        self._ok(f"Message {index + 1} will be removed at QUIT")

    def _noop(self, arguments: list[str]) -> None:
        self._ok()

    def _rset(self, arguments: list[str]) -> None:
        self._removed.clear()
        self._ok("Nothing is marked")


_COMMANDS = {
    b"CAPA": Command(_A | _T, 0, 0, Pop3Server._capa),
    b"QUIT": Command(_A | _T, 0, 0, Pop3Server._quit),
    b"STLS": Command(_A, 0, 0, Pop3Server._stls),
    b"UTF8": Command(_A, 0, 0, Pop3Server._utf8_mode),
    b"USER": Command(_A, 1, -1, Pop3Server._user),
    b"PASS": Command(_A, 1, -1, Pop3Server._pass),
    b"APOP": Command(_A, 2, 2, Pop3Server._apop),
    b"AUTH": Command(_A, 0, 2, Pop3Server._auth),
    b"STAT": Command(_T, 0, 0, Pop3Server._stat),
    b"LIST": Command(_T, 0, 1, Pop3Server._list),
    b"UIDL": Command(_T, 0, 1, Pop3Server._uidl),
    b"RETR": Command(_T, 1, 1, Pop3Server._retr),
    b"TOP": Command(_T, 2, 2, Pop3Server._top),
    b"DELE": Command(_T, 1, 1, Pop3Server._dele),
    b"NOOP": Command(_T, 0, 0, Pop3Server._noop),
    b"RSET": Command(_T, 0, 0, Pop3Server._rset),
}
