"""A client's script: a generator that yields what to say and receives the peer's replies.

`ReplyEngine` runs one over the Engine's six names. The script yields bytes and gets a Reply, or
yields a Wait; a connection that dies, a silent peer and what the driver cannot do are thrown into
it as Failures, at the line where they happened.
"""

from collections.abc import Callable, Generator
from enum import Enum
from typing import TypeVar

from mailtools.errors import ConnectionDied, Failure, Refused, TimedOut
from mailtools.mail.reply import Reply, make_peer_reply, parse_reply_line
from mailtools.protocol.engine import Engine, LineTooLong

LINE_MOST = 8192  # octets of a reply line; RFC 5321 4.5.3.1.5 says 512, peers write novels
LINES_MOST = 500  # lines of a reply
AHEAD_MOST = 2 * 1024 * 1024  # octets said by a peer that nobody has listened to yet
KNOWN_MOST = 16  # replies of one line that are not read anew
TEXT_MOST = 1000  # characters of a reply that go into a report


T = TypeVar("T")


class Wait(Enum):
    """What a script waits for, when it is no reply."""

    ORDER = "something to do"
    TLS = "the handshake"
    WORK = "what takes long"


Script = Generator[bytes | Wait, object, None]
Step = Generator[bytes | Wait, object, Reply]


class Leaving(Refused):
    """The peer said 421: it closes the connection (RFC 5321 3.8)."""


class ReplyEngine(Engine):
    """Runs one script; a protocol gives it, and what it is to do next."""

    def __init__(self, peer: str) -> None:
        """Name the peer for failures; the protocol calls `_begin_script` when it is ready."""
        super().__init__()
        self.peer = peer
        self.secured = False
        """Whether TLS is up."""
        self.answered = False
        """Whether the peer has said anything."""
        self.idle = False
        """Open, and nothing to do."""
        self.works_aside = False
        """Whether the driver does `work` beside its other business."""
        self.work: Callable[[], object] | None = None
        """What takes long and needs no peer; its end is told by `worked` or `fail`."""
        self.died: Failure | None = None
        """Why the session came to an early end."""
        self._reply_lines: list[str] = []
        self._known: dict[bytes, Reply] = {}  # a peer says "250 ok" again and again
        self._ahead = 0  # commands said whose replies are still to come
        self._listens_to_the_last = False  # a reply may explain why the connection ended
        self._awaits: Wait | None = None
        self._script: Script

    # -- for the protocol -------------------------------------------------------------------------

    def _begin_script(self, script: Script) -> None:
        """Start the script, which says and hears everything from the greeting to the goodbye."""
        self._script = script
        self._resume(None)

    def _next_order(self) -> tuple[bool, object]:
        """Tell whether there is something to do (Wait.ORDER), and what."""
        return False, None

    def _ask(self, command: bytes, timeout: float) -> Step:
        """Say a command, unless it went ahead in a pipelined group, and give its reply."""
        self.timeout = timeout
        if self._ahead:
            self._ahead -= 1
            command = b""
        reply = yield command
        assert isinstance(reply, Reply)
        if reply.code == 421:
            raise Leaving(421, reply.status or "4.3.2", self._said(reply, ""))
        return reply

    def _elsewhere(self, work: Callable[[], T]) -> Generator[bytes | Wait, object, T]:
        """Give what `work` gives, or raise what it raises, while other engines go on."""
        if not self.works_aside:
            return work()
        done: list[T] = []
        failed: list[Failure] = []

        def task() -> None:
            try:
                done.append(work())
            except Failure as failure:
                failed.append(failure)

        self.work = task
        yield Wait.WORK
        if failed:
            raise failed[0]
        return done[0]

    def _said(self, reply: Reply, to: str) -> str:
        where = f" (to {to})" if to and not reply.positive else ""
        return f"{self.peer} said {str(reply)[:TEXT_MOST]}{where}"

    def _refusal(self, reply: Reply, to: str, *, soften: bool = False) -> Failure:
        """Say a reply that is not the wished one as a failure; `soften` makes it temporary."""
        text = self._said(reply, to)
        if reply.positive:
            return ConnectionDied(f"{text}: out of step", status="4.5.0")
        status = reply.status
        if soften and reply.permanent:
            status = f"4{status[1:]}" if status else "4.0.0"
        return Refused(reply.code, status, text)

    # -- for the driver ---------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take what the peer sent, but not without end while there is nothing to hear."""
        if self.closed:
            return
        super().receive(data)
        if len(self._input) > AHEAD_MOST:
            self._input.clear()
            self.fail(ConnectionDied(f"{self.peer} talks without end"))

    def output(self) -> bytes:
        """Give the next bytes to send. What cannot be read to be sent ends the session."""
        try:
            return super().output()
        except Failure as failure:
            self._answer = None
            self._out.clear()
            self.fail(failure)
            return b""

    def fail(self, failure: Failure) -> None:
        """End the session for a reason the driver knows: no connection, no TLS, no time."""
        if self.closed:
            return
        if self.peer not in failure.text:
            text = f"{self.peer}: {failure.text}"
            failure = type(failure)(text, status=failure.status, detail=failure.detail)
        self.died = failure
        self.idle = False
        try:
            self._script.throw(failure)
        except (StopIteration, Failure):
            pass
        self.closed = True

    def tls_started(self) -> None:
        """Go on under TLS, as if nothing had been said before (RFC 3207 4.2)."""
        super().tls_started()
        self.secured = True
        self._resume(None)

    def worked(self) -> None:
        """Go on: `work` is done."""
        self.work = None
        if not self.closed:
            self._resume(None)

    def timed_out(self) -> None:
        """Give up on a silent peer."""
        self.fail(TimedOut(f"{self.peer} was silent for {self.timeout:.0f} seconds"))

    def _lost(self) -> None:
        self.closed = False
        reply = self._last_words() if self._listens_to_the_last else None
        if reply is not None and not reply.positive:
            self.fail(self._refusal(reply, "the message"))
        else:
            self.fail(ConnectionDied(f"Lost the connection with {self.peer}"))

    def _last_words(self) -> Reply | None:
        try:
            return self._read_reply()
        except Failure:
            return None

    def _advance(self) -> bool:
        if self._awaits is Wait.ORDER:
            there, order = self._next_order()
            if there:
                self._resume(order)
            return there
        if self._awaits in (Wait.TLS, Wait.WORK):
            return False
        try:
            reply = self._read_reply()
        except Failure as failure:
            self.fail(failure)
            return False
        if reply is None:
            return False
        self._resume(reply)
        return True

    def _resume(self, value: object) -> None:
        try:
            wanted = self._script.send(value)
        except StopIteration:
            self.idle = False
            self.closed = True
            return
        if isinstance(wanted, bytes):
            self._awaits = None
            self._say(wanted)
        else:
            self._awaits = wanted
            self.wants_tls = wanted is Wait.TLS

    def _read_reply(self) -> Reply | None:
        while True:
            try:
                line = self._take_line(LINE_MOST)
            except LineTooLong:
                raise ConnectionDied(f"{self.peer} sent a line without an end") from None
            if line is None:
                return None
            known = self._known.get(line)
            if known is not None and not self._reply_lines:
                return known
            parsed = parse_reply_line(line.rstrip(b"\r\n"))
            if parsed is None or len(self._reply_lines) >= LINES_MOST:
                raise ConnectionDied(f"{self.peer} said something that is no reply")
            self.answered = True
            code, last, text = parsed
            self._reply_lines.append(text)
            if last:
                lines, self._reply_lines = self._reply_lines, []
                reply = make_peer_reply(code, lines)
                if len(lines) == 1 and len(self._known) < KNOWN_MOST:
                    self._known[line] = reply
                return reply
