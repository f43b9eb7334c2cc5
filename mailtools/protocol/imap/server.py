"""IMAP4rev1, the server's half (RFC 3501), as an engine that asks a Session for the mailboxes.

Also: LITERAL+ (RFC 7888), SASL-IR (RFC 4959), ID (RFC 2971), IDLE (RFC 2177), NAMESPACE (RFC 2342),
UNSELECT (RFC 3691), UIDPLUS (RFC 4315), MOVE (RFC 6851), ENABLE (RFC 5161), CHILDREN (RFC 3348),
LIST-EXTENDED (RFC 5258), LIST-STATUS (RFC 5819), SPECIAL-USE (RFC 6154), ESEARCH (RFC 4731),
SEARCHRES (RFC 5182), WITHIN (RFC 5032), BINARY (RFC 3516), MULTIAPPEND (RFC 3502), APPENDLIMIT
(RFC 7889), STATUS=SIZE (RFC 8438), SAVEDATE (RFC 8514), response codes (RFC 5530).

The table at the end says which command is legal when; the commands themselves are in `commands.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mailtools.errors import (
    BadFolderName,
    BadSyntax,
    ConnectionDied,
    Failure,
    NoSuchFolder,
    ShuttingDown,
    TooBusy,
)
from mailtools.mail.reply import one_line
from mailtools.protocol.engine import Engine, LineTooLong
from mailtools.protocol.imap import commands
from mailtools.protocol.imap.octets import WireCache
from mailtools.protocol.imap.responses import No, code_of
from mailtools.protocol.imap.table import COMMANDS, Command, State
from mailtools.protocol.imap.values import Change, Changed, Counted, Expunged, Keywords
from mailtools.protocol.imap.wire import Cursor, literal_at_end

if TYPE_CHECKING:
    from mailtools.protocol.imap.append import Incoming
    from mailtools.protocol.imap.dialog import Answer
    from mailtools.protocol.imap.session import Session, Site, View

LINE_MOST = 1 << 18  # octets of a line; RFC 9051 4 asks for 8192 at least
LITERAL_MOST = 1 << 16  # octets of a literal that is no message
COMMAND_MOST = 1 << 20  # octets of a command
STRANGER_MOST = 1 << 14  # octets of a command before login
AUTOLOGOUT = 1800.0  # seconds, RFC 3501 5.4: thirty minutes at least
STRANGER_TIMEOUT = 180.0  # seconds that a peer has to log in
IDLE_LOOK = 1.0  # seconds between looks while idling
IDLE_MOST = 1800  # looks; RFC 2177 3 lets a client idle for 29 minutes
IDLE_SIGN = 120  # looks without news, after which a sign of life keeps the path open
BAD_COMMANDS = 20  # in a row, before the connection is closed
BAD_LOGINS = 3  # before the connection is closed


class ImapServer(Engine):
    """One IMAP session."""

    timeout = STRANGER_TIMEOUT

    def __init__(
        self,
        site: Site | None,
        *,
        host: str = "",
        tls: bool = False,
        secure: bool = False,
        plaintext_login: bool = False,
        session: Session | None = None,
    ) -> None:
        """Greet as `host`. `tls`: STARTTLS can be done; `secure`: TLS is on already.

        `plaintext_login` takes passwords without TLS. With a `session` the peer is logged in from
        the beginning (PREAUTH), and there need not be a site.
        """
        super().__init__()
        self._site = site
        self.can_tls = tls
        self.secure = secure
        self.plaintext_login = plaintext_login
        self.session = session
        self.view: View | None = None
        self.saved: list[int] = []
        """UIDs of the last SEARCH that was saved (RFC 5182)."""
        self.cache = WireCache()
        self._command = bytearray()  # what has come of a command
        self._wanted = 0  # octets of a literal to come
        self._skip = 0  # octets of a literal to throw away
        self._failing: tuple[bytes, Failure] | None = None  # said once the command is over
        self._incoming: Incoming | None = None
        self._incoming_tag = b""
        self._reader: Callable[[bytes], None] | None = None  # takes the next line
        self._idle_tag = b""
        self._looks = self._quiet_looks = 0
        self._bad_commands = self._bad_logins = 0
        self._ending = False
        self.timeout = AUTOLOGOUT if session else STRANGER_TIMEOUT
        word = b"PREAUTH" if session else b"OK"
        greeting = f"[CAPABILITY {self.capabilities()}] {host} IMAP ready".replace("  ", " ")
        self._say(b"* %b %b\r\n" % (word, greeting.encode()))

    @property
    def site(self) -> Site:
        """Who lets people in."""
        assert self._site is not None, "nobody logs in where somebody is logged in"
        return self._site

    @property
    def state(self) -> State:
        """Where the session stands (RFC 3501 3)."""
        if self.session is None:
            return State.STRANGER
        return State.SELECTED if self.view is not None else State.AUTHENTICATED

    def capabilities(self) -> str:
        """List what can be done now (RFC 3501 7.2.1)."""
        return commands.capabilities(self)

    @property
    def may_log_in(self) -> bool:
        """Whether a password may cross this connection."""
        return self.secure or self.plaintext_login

    # -- lines and literals -----------------------------------------------------------------------

    def _advance(self) -> bool:
        if self._ending and not self._has_begun:
            self._say(refusal(ShuttingDown()))
            super().timed_out()
            return True
        if self._skip:
            self._skip -= len(self._take(self._skip))
            if self._skip:
                return False
        if self._incoming is not None and self._incoming.left:
            return self._take_message(self._incoming)
        if self._wanted:
            data = self._take(self._wanted)
            self._command += data
            self._wanted -= len(data)
            if self._wanted:
                return False
        try:
            line = self._take_line(STRANGER_MOST if self.session is None else LINE_MOST)
        except LineTooLong:
            self._give_up_command()
            self._bad(b"*", BadSyntax("Line too long"))
            return True
        if line is None:
            return False
        self._line(line)
        return True

    def _line(self, line: bytes) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader(line.rstrip(b"\r\n"))
            return
        literal = literal_at_end(line)
        if self._failing is not None:
            self._after_failure(literal)
            return
        if self._incoming is not None:
            self._next_message(self._incoming, line)
            return
        self._command += line
        if literal is None:
            command = bytes(self._command)
            self._command.clear()
            self._run(command)
        else:
            self._literal(*literal)

    def _literal(self, octets: int, unasked: bool) -> None:
        """A line ends in a literal: a message, or a part of the command."""
        from mailtools.protocol.imap import append  # 4 ms, which a greeting need not cost

        command = bytes(self._command)
        match = append.begins_append(command)
        if match and not append.mailbox_is_coming(command, match.end()):
            self._begin_append(match[1], command, match.end())
            return
        most = STRANGER_MOST if self.session is None else COMMAND_MOST
        if octets > LITERAL_MOST or len(command) + octets > most:
            tag = command.split(None, 1)[0] if command.split() else b"*"
            failure = No("Literal is too large", code="TOOBIG")
            self._fail_literal(tag, failure, octets, unasked)
            return
        self._wanted = octets
        if not unasked:
            self._say(b"+ OK\r\n")

    def _fail_literal(self, tag: bytes, failure: Failure, octets: int, unasked: bool) -> None:
        """Refuse a literal: at once where it waits to be asked for, else after it has come."""
        self._command.clear()
        if unasked:
            self._skip = octets
            self._failing = (tag, failure)
        else:
            self._stream(self._end(tag, failure))

    def _after_failure(self, literal: tuple[int, bool] | None) -> None:
        assert self._failing is not None
        if literal is not None and literal[1]:
            self._skip = literal[0]
            return
        (tag, failure), self._failing = self._failing, None
        self._stream(self._end(tag, failure))

    def _give_up_command(self) -> None:
        self._command.clear()
        self._failing = None
        self._stop_append()

    # -- APPEND -----------------------------------------------------------------------------------

    def _begin_append(self, tag: bytes, command: bytes, start: int) -> None:
        from mailtools.protocol.imap import append

        self._command.clear()
        cursor = Cursor(command)
        cursor.position = start
        octets, unasked = literal_at_end(command) or (0, False)
        try:
            if self.session is None:
                raise BadSyntax("Log in first")
            name = cursor.mailbox()
            announced = append.take_announced(cursor)
            self._incoming_tag = tag
            try:
                self._incoming = append.Incoming(self.session, name)
            except (NoSuchFolder, BadFolderName) as failure:
                raise No(failure.text, code="TRYCREATE") from failure
            self._incoming.begin(announced)
        except Failure as failure:
            self._stop_append()
            self._fail_literal(tag, failure, octets, unasked)
            return
        if not unasked:
            self._say(b"+ OK\r\n")

    def _take_message(self, incoming: Incoming) -> bool:
        data = self._take(min(incoming.left, 1 << 18))
        if not data:
            return False
        left = incoming.left - len(data)
        try:
            incoming.write(data)
        except Failure as failure:
            tag = self._incoming_tag
            self._stop_append()
            self._skip = left
            self._failing = (tag, failure)
        return True

    def _next_message(self, incoming: Incoming, line: bytes) -> None:
        """The line behind a message: it ends the command, or announces another message."""
        from mailtools.protocol.imap.append import take_announced

        literal = literal_at_end(line)
        if literal is None:
            self._end_append(incoming, line)
            return
        try:
            incoming.begin(announced := take_announced(Cursor(line)))
        except Failure as failure:
            tag = self._incoming_tag
            self._stop_append()
            self._fail_literal(tag, failure, *literal)
            return
        if not announced.unasked:
            self._say(b"+ OK\r\n")

    def _end_append(self, incoming: Incoming, line: bytes) -> None:
        tag, self._incoming = self._incoming_tag, None

        def finish() -> Answer:
            try:
                Cursor(line).end()
            except BadSyntax:
                incoming.abort()
                raise
            yield b""
            return f"{incoming.commit()}Append completed"

        self._stream(self._answer_with(tag, finish(), "all"))

    def _stop_append(self) -> None:
        if self._incoming is not None:
            self._incoming.abort()
            self._incoming = None

    # -- commands ---------------------------------------------------------------------------------

    def _run(self, data: bytes) -> None:
        cursor = Cursor(data)
        if cursor.at_end:
            return  # an empty line: some clients send one
        tag = b"*"
        try:
            tag = cursor.tag()
            cursor.space()
            command = self._find(cursor)
        except BadSyntax as failure:
            self._bad(tag, failure)
            return
        self._stream(self._answer_with(tag, self._steps(tag, command, cursor), command.news))

    def _find(self, cursor: Cursor) -> Command:
        name = cursor.keyword()
        if name == "UID":
            cursor.space()
            name = f"UID {cursor.keyword()}"
        command = COMMANDS.get(name)
        if command is None:
            raise BadSyntax(f"Unknown command {name[:40]}")
        if not self.state & command.states:
            raise BadSyntax(f"Not now: {_ORDER[self.state]}")
        return command

    def _steps(self, tag: bytes, command: Command, cursor: Cursor) -> Answer:
        if command.plain:
            cursor.end()
        result = command.method(self, tag, cursor)
        return result if isinstance(result, str) else (yield from result)

    def _answer_with(self, tag: bytes, steps: Answer, news: str) -> Iterator[bytes]:
        """Run a command's steps, tell what is new where that is allowed, and end it."""
        try:
            text = yield from steps
            self._bad_commands = 0
            if not text:
                return  # the end comes later
            if news != "none":
                yield from self.news(expunges=news == "all")
        except ConnectionDied:
            raise
        except Failure as failure:
            if news == "all" and not isinstance(failure, BadSyntax):
                yield from self._news_all_the_same()
            yield from self._end(tag, failure)
        else:
            yield b"%b OK %b\r\n" % (tag, text.encode())

    def _news_all_the_same(self) -> Iterator[bytes]:
        """What is new may be why a command failed: messages that are gone."""
        try:
            yield from self.news(expunges=True)
        except Failure:
            return  # the command's own failure is told

    def _end(self, tag: bytes, failure: Failure) -> Iterator[bytes]:
        if isinstance(failure, BadSyntax):
            yield self._bad_line(tag, failure)
            return
        self._bad_commands = 0
        code = code_of(failure)
        text = one_line(failure.text)
        yield b"%b NO %b%b\r\n" % (tag, f"[{code}] ".encode() if code else b"", text.encode())

    def _bad(self, tag: bytes, failure: Failure) -> None:
        self._say(self._bad_line(tag, failure))

    def _bad_line(self, tag: bytes, failure: Failure) -> bytes:
        line = b"%b BAD %b\r\n" % (tag, one_line(failure.text).encode())
        self._bad_commands += 1
        if self._bad_commands >= BAD_COMMANDS:
            self.closed = True
            line += b"* BYE Too many errors\r\n"
        return line

    def no_login(self, failure: Failure) -> Failure:
        """Count a login that failed; after a few the connection is closed."""
        self._bad_logins += 1
        if self._bad_logins >= BAD_LOGINS:
            self.closed = True
            self._say(b"* BYE Too many attempts to log in\r\n")
        return failure

    def logged_in(self, session: Session) -> None:
        """Go on as somebody."""
        self.session = session
        self.timeout = AUTOLOGOUT

    def ask(self, reader: Callable[[bytes], None]) -> None:
        """Give the next line to `reader`, which is no command."""
        self._reader = reader

    def answer_later(self, tag: bytes, steps: Answer, news: str = "none") -> None:
        """Answer a command that took more than its own line."""
        self._stream(self._answer_with(tag, steps, news))

    def select(self, view: View | None) -> None:
        """Leave the mailbox that is selected, if any, and go to another, or none."""
        old, self.view = self.view, view
        self.saved = []
        if old is not None:
            old.close()

    def say(self, data: bytes) -> None:
        """Say something between commands."""
        self._say(data)

    # -- what is new ------------------------------------------------------------------------------

    def news(self, *, expunges: bool) -> Iterator[bytes]:
        """Tell what others did to the mailbox (RFC 3501 5.2, 7.4.1)."""
        if self.view is None:
            return
        for change in self.view.news(expunges=expunges):
            yield _said(change)

    def idle(self, tag: bytes) -> None:
        """Begin to idle: look each second, until the client says DONE (RFC 2177)."""
        self._idle_tag = tag
        self._looks = self._quiet_looks = 0
        self.timeout = IDLE_LOOK
        self.ask(self._done)

    def _done(self, line: bytes) -> None:
        tag, self._idle_tag = self._idle_tag, b""
        self.timeout = AUTOLOGOUT
        if line.upper() != b"DONE":
            self._bad(tag, BadSyntax("DONE expected"))
            return
        self.answer_later(tag, commands.idled(), "all")

    def timed_out(self) -> None:
        """Look for news while idling; else the peer was silent too long."""
        if not self._idle_tag:
            self._say(b"* BYE Logged out for inactivity\r\n")
            super().timed_out()
            return
        self._looks += 1
        self._quiet_looks += 1
        if self._looks >= IDLE_MOST:
            self._say(b"* BYE Idle for too long\r\n")
            super().timed_out()
            return
        try:
            for line in self.news(expunges=True):
                self._say(line)
                self._quiet_looks = 0
        except Failure as failure:
            self._say(b"* BYE %b\r\n" % one_line(failure.text).encode())
            super().timed_out()
        if self._quiet_looks >= IDLE_SIGN:
            self._quiet_looks = 0
            self._say(b"* OK Still here\r\n")

    def ending(self) -> None:
        """Say goodbye before the next command, or behind the one that was begun."""
        self._ending = True

    @property
    def _has_begun(self) -> bool:
        """Whether a command is under way; IDLE is not: it is there to be ended."""
        waits = self._command or self._wanted or self._skip or self._incoming or self._failing
        return bool(waits or (self._reader and not self._idle_tag))

    # -- the end ----------------------------------------------------------------------------------

    def tls_started(self) -> None:
        """Go on under TLS: what was said before does not count (RFC 3501 6.2.1)."""
        super().tls_started()
        self.secure = True
        self._give_up_command()

    def _lost(self) -> None:
        self._stop_append()
        self.leave()

    def leave(self) -> None:
        """Let everything go: the session is over."""
        self.closed = True
        self.select(None)
        session, self.session = self.session, None
        if session is not None:
            session.close()


_ORDER = {
    State.STRANGER: "log in first",
    State.AUTHENTICATED: "select a mailbox first, or you are logged in already",
    State.SELECTED: "you are logged in already",
}


def _said(change: Change) -> bytes:
    match change:
        case Expunged(number):
            return b"* %d EXPUNGE\r\n" % number
        case Changed(number, uid, flags):
            return b"* %d FETCH (UID %d FLAGS (%b))\r\n" % (number, uid, " ".join(flags).encode())
        case Counted(exists, recent):
            return b"* %d EXISTS\r\n* %d RECENT\r\n" % (exists, recent)
        case Keywords():
            return commands.flags_lines(change)


def refusal(failure: Failure) -> bytes:
    """Say in a greeting's place that there can be no session now."""
    code = "UNAVAILABLE" if isinstance(failure, (TooBusy, ShuttingDown)) else code_of(failure)
    return f"* BYE [{code or 'UNAVAILABLE'}] {one_line(failure.text)}\r\n".encode()
