"""A channel drives one client engine over a socket that never blocks, in a Loop.

The same contract as `net/drive.py`: output, closed, wants_tls, timeout; here the loop waits for
many of them at a time. What goes wrong is told to the engine (`fail`), never raised.
"""

from __future__ import annotations

import errno
import socket
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mailtools.errors import (
    ConnectionDied,
    Failure,
    NoAnswer,
    SystemTrouble,
    TimedOut,
    TlsTrouble,
)
from mailtools.net.drive import SLOWEST, Drivable
from mailtools.net.loop import READ, WRITE, Loop
from mailtools.net.outbound import NO_ROUTE, failure_of, set_out, socket_for

if TYPE_CHECKING:
    import ssl

    from mailtools.net.tls_pipe import TlsPipe

RECEIVE = 65536  # octets asked for at a time
CONNECT_TIMEOUT = 30.0  # seconds; a host that is there answers sooner (Postfix waits as long)
HANDSHAKE_TIMEOUT = 60.0
TURN_MOST = 1024 * 1024  # octets sent before others have their turn
SEND_TIMEOUT = 180.0  # for a block of the message, RFC 5321 4.5.3.2.5


class ClientEngine(Drivable, Protocol):
    """What a channel needs of an engine: what the one loop does, and a reason when it ends."""

    works_aside: bool
    steps: int
    work: Callable[[], object] | None

    def worked(self) -> None:
        """The work is done."""

    def fail(self, failure: Failure) -> None:
        """The connection is gone, and this is why."""


class Channel:
    """One connection: made, secured, driven and closed."""

    def __init__(
        self,
        loop: Loop,
        engine: ClientEngine,
        progress: Callable[[], None],
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        host: str | None = None,
        check: Callable[[ssl.SSLObject], None] | None = None,
        implicit: bool = False,
    ) -> None:
        """Drive `engine`; `progress` is called whenever it may have advanced, and at the end.

        `tls` makes the context; `host` is whom to expect; `check` looks at the finished session
        and raises TlsTrouble. With `implicit` TLS comes before all else (RFC 8314).
        """
        self.deadline = 0.0
        self.closed = False
        self.failure: Failure | None = None
        """Why the connection ended early, as it was found here."""
        self.local = ""
        """Our own address in it."""
        self.no_route = False
        """The connection failed since this host cannot reach such addresses at all."""
        self.reached = False
        """Whether somebody took the connection."""
        self._loop, self._engine, self._progress = loop, engine, progress
        engine.works_aside = True
        self._working = False
        self._steps: int | None = None  # the engine's when the deadline was set; None: set it anew
        self._context, self._host, self._check, self._implicit = tls, host, check, implicit
        self._socket: socket.socket | None = None
        self._events = 0
        self._unsent: memoryview = memoryview(b"")
        self._connecting = True
        self._handshaking = False
        self._pipe: TlsPipe | None = None

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session, once there is one."""
        return None if self._pipe is None or self._handshaking else self._pipe.session

    # -- beginning --------------------------------------------------------------------------------

    def connect(self, address: str, port: int, source: str = "") -> None:
        """Connect to an IP address and port, or to a socket in the file system (an `/` in it)."""
        self._loop.time(self)
        self.deadline = time.monotonic() + CONNECT_TIMEOUT
        try:
            self._socket = socket_for(address)
            error = set_out(self._socket, address, port, source)
        except OSError as failure:
            error = failure.errno or errno.EIO
        except Failure as trouble:
            late = trouble
            self._loop.soon(lambda: self._end(late))
            return
        if error in (0, errno.EINPROGRESS):
            self._watch(WRITE)
        else:
            self._loop.soon(lambda: self._not_connected(error))

    def wake(self) -> None:
        """Look at the engine again: it was given something to do."""
        self._loop.soon(self._pump)

    def _not_connected(self, error: int) -> None:
        self.no_route = error in NO_ROUTE
        self._end(failure_of(error))

    def _connected(self) -> None:
        assert self._socket
        error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._not_connected(error)
            return
        self._connecting, self.reached = False, True
        self.local = self._local()
        if self._implicit:
            self._start_tls()
        else:
            self._pump()

    def _local(self) -> str:
        assert self._socket
        name = self._socket.getsockname()
        return str(name[0]) if isinstance(name, tuple) else ""

    # -- events -----------------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        try:
            self._happened(events)
        except Exception:
            # A fault of ours must not take down the other connections, and what they have sent.
            traceback.print_exc()
            self._end(SystemTrouble())

    def _happened(self, events: int) -> None:
        if self._connecting:
            self._connected()
            return
        if events & WRITE:
            self._steps = None
            self._send(b"")
        if events & READ and not self.closed:
            self._receive()
        if not self.closed and self._engine.closed and self._unsent:
            self._end(ConnectionDied())  # it has given up, whatever was still to be sent
        if not self.closed and not self._handshaking:
            self._pump()

    def expired(self) -> None:
        """Deal with a deadline that has passed."""
        if self._connecting:
            self._end(NoAnswer(f"no answer in {CONNECT_TIMEOUT:.0f} seconds"))
        elif self._handshaking:
            self._end(TlsTrouble("Timeout in the TLS handshake"))
        elif self._unsent:
            self._end(TimedOut("the peer takes nothing any more, or too slowly"))
        elif self._working:
            self.deadline = time.monotonic() + SEND_TIMEOUT
        else:
            self._steps = None
            self._engine.timed_out()
            self._pump()

    def _receive(self) -> None:
        assert self._socket
        try:
            data = self._socket.recv(RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(ConnectionDied(error.strerror or "Connection lost"))
            return
        if self._pipe is None:
            self._engine.receive(data)
        elif not data:
            self._tls_ended()
        else:
            self._receive_tls(self._pipe, data)

    def _receive_tls(self, pipe: TlsPipe, data: bytes) -> None:
        try:
            if self._handshaking:
                self._handshake(data)
                return
            text = pipe.decrypt(data)
        except Failure as failure:
            self._end(failure)
            return
        self._send_raw(pipe.to_send())
        if self.closed:
            return
        if text:
            self._engine.receive(text)
        if pipe.ended:
            self._engine.receive(b"")

    def _tls_ended(self) -> None:
        if self._handshaking:
            self._end(TlsTrouble("Connection lost in the TLS handshake"))
        else:
            self._engine.receive(b"")

    def _pump(self) -> None:
        """Let the engine go on as far as it can."""
        if self._connecting or self._handshaking:
            return
        engine = self._engine
        sent = 0
        while not self._unsent and not self.closed:
            if sent > TURN_MOST:
                self._loop.soon(self._pump)  # others have something to say too
                break
            data = engine.output()
            if data:
                sent += len(data)
                self._send(data)
            elif engine.closed:
                self._end(None)
            elif engine.wants_tls:
                self._start_tls()
                return
            elif engine.work is not None and not self._working:
                self._do(engine.work)
                break
            else:
                break
        if not self.closed:
            if self._unsent:
                if sent:
                    # For the block as a whole: a peer that takes it in sips gains nothing.
                    wait = SEND_TIMEOUT + len(self._unsent) / SLOWEST
                    self.deadline = time.monotonic() + wait
            elif sent or self._steps != engine.steps:
                # A peer that drips has the time of one reply for all of it.
                self._steps = engine.steps
                self.deadline = time.monotonic() + engine.timeout
            self._watch(READ | WRITE if self._unsent else READ)
            self._progress()

    def _do(self, work: Callable[[], object]) -> None:
        """Do in a thread what would hold up everybody."""
        self._working = True
        later = self._loop.in_thread(work)

        def done() -> None:
            self._working = False
            if later.error is not None:
                self._end(SystemTrouble(detail=repr(later.error)))
            elif not self.closed:
                self._steps = None
                self._engine.worked()
                self._pump()

        later.then(done)

    # -- sending ----------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if data and self._pipe is not None:
            try:
                data = self._pipe.encrypt(data)
            except Failure as failure:
                self._end(failure)
                return
        self._send_raw(data)

    def _send_raw(self, data: bytes) -> None:
        if self.closed or self._socket is None:
            return
        if self._unsent:
            self._unsent = memoryview(bytes(self._unsent) + data) if data else self._unsent
        elif not data:
            return
        else:
            self._unsent = memoryview(data)
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            self._hear_last_words()
            self._end(ConnectionDied(error.strerror or "Connection lost"))
            return
        self._unsent = self._unsent[sent:]

    def _hear_last_words(self) -> None:
        """Read what a peer said before it closed: often a 421 or 552 that explains it."""
        assert self._socket
        try:
            while data := self._socket.recv(RECEIVE):
                self._engine.receive(self._pipe.decrypt(data) if self._pipe else data)
        except (OSError, Failure):
            pass

    # -- TLS --------------------------------------------------------------------------------------

    def _start_tls(self) -> None:
        from mailtools.net.tls_pipe import TlsPipe  # with it comes ssl: many peers have no TLS

        assert self._context is not None, "an engine asks for TLS only where there is a context"
        self._handshaking = True
        self.deadline = time.monotonic() + HANDSHAKE_TIMEOUT
        try:
            self._pipe = TlsPipe(self._context(), self._host)
            self._handshake(b"")
        except Failure as failure:
            self._end(failure)

    def _handshake(self, data: bytes) -> None:
        pipe = self._pipe
        assert pipe is not None
        try:
            done = pipe.handshake(data)
        finally:
            self._send_raw(pipe.to_send())  # the alert too
        if self.closed:
            return
        if not done:
            self._watch(READ | WRITE if self._unsent else READ)
            return
        if self._check is not None:
            self._check(pipe.session)
        self._handshaking, self._steps = False, None
        if not self._implicit:
            self._engine.tls_started()
        early = pipe.decrypt(b"")
        if early:
            self._engine.receive(early)
        self._pump()

    # -- the end ----------------------------------------------------------------------------------

    def _watch(self, events: int) -> None:
        assert self._socket
        if events == self._events:
            return
        if self._events:
            self._loop.change(self._socket.fileno(), events, self._ready)
        else:
            self._loop.watch(self._socket.fileno(), events, self._ready)
        self._events = events

    def _end(self, failure: Failure | None) -> None:
        if self.closed:
            return
        self.closed = True
        self.failure = failure
        self._loop.untime(self)
        if self._socket is not None:
            if failure is None and self._pipe is not None:
                self._say_goodbye(self._socket, self._pipe)
            if self._events:
                self._loop.unwatch(self._socket.fileno())
            self._socket.close()
        if isinstance(failure, ConnectionDied):
            self._engine.abort()
        elif failure is not None:
            self._engine.fail(failure)
        self._progress()

    @staticmethod
    def _say_goodbye(sock: socket.socket, pipe: TlsPipe) -> None:
        try:
            sock.send(pipe.goodbye())
        except OSError:
            pass  # whoever left first needs none

    def close(self) -> None:
        """Cut the connection."""
        self._end(ConnectionDied())
