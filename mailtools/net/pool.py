"""A listener's pool: processes forked ready-made, each accepting, serving, and accepting again.

What the processes share is a board, a byte a slot: free, idle or busy. A process that takes a
connection and leaves nobody idle wakes the master, which forks more, up to the limit; past it, and
only when that lasts, the master itself accepts and refuses. A process that was idle long, while
others are too, ends. All of a generation end when its pipe is closed: on SIGTERM, on SIGHUP (after
`setup` gave new sessions), or because the master died; sessions in hand finish first, but let go of
the listening sockets at once, so that the next master has the port for itself.
"""

import errno
import fcntl
import gc
import mmap
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

from mailtools.errors import Failure, TooBusy
from mailtools.net.session import Note, Session, Setup, peer_of, run_session
from mailtools.net.stream import Stream, set_patience

FREE, IDLE, BUSY = 0, 1, 2
SPARE = 2  # idle processes kept for the next connections
SESSIONS = 2000  # that a process serves before a fresh one takes its place
RETIRE = 20.0  # seconds a process stays idle while more than SPARE are
PATIENCE = 1.0  # seconds all must be busy before a connection is refused
WAIT = 300.0  # seconds that a connection begins with, as its engine does
GRACE = 30.0  # seconds that sessions have to finish after SIGTERM


class Pool:
    """Processes that serve the sessions of some listening sockets."""

    def __init__(
        self,
        setup: Setup,
        sockets: Sequence[socket.socket],
        limit: int,
        refuse: Callable[[Failure], bytes],
        note: Note,
        *,
        settle: Callable[[], None],
        ours: bool,
    ) -> None:
        """Take what `serve` was given; the sockets listen already, and are `ours` to shut down."""
        self._ours = ours
        self._setup = setup
        self._sockets = sockets
        self._limit = limit
        self._refuse = refuse
        self._note = note
        self._settle = settle
        self._board = mmap.mmap(-1, limit)
        self._served = mmap.mmap(-1, limit)  # a count for each slot, modulo 256
        self._seen = bytes(limit)
        self._slots: dict[int, int] = {}  # process → slot
        self._old: set[int] = set()  # processes of a generation that was told to end
        self._wake_in, self._wake_out = os.pipe()
        self._stop_in, self._stop_out = -1, -1
        self._ended = False  # in a process of the pool: its generation was told to end
        self._signals: set[int] = set()
        self._all_busy_since = 0.0

    # -- the master -------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raise what the first `setup` raises."""
        session = self._setup()
        for sock in self._sockets:
            sock.setblocking(False)
            if self._ours:
                set_patience(sock, WAIT)  # and so each connection's: system calls that are saved
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._note("listening", address=_name(sock), limit=self._limit)
        for fd in (self._wake_in, self._wake_out):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda got, _frame: self._signals.add(got))
        self._begin_generation()
        _notify("READY=1")
        while not self._signals & {signal.SIGTERM, signal.SIGINT}:
            if signal.SIGHUP in self._signals:
                self._signals.discard(signal.SIGHUP)
                session = self._reload(session)
            self._reap()
            self._grow(session)
            self._wait()
        self._finish()

    def _begin_generation(self) -> None:
        self._stop_in, self._stop_out = os.pipe()
        gc.collect()
        gc.freeze()  # what is shared stays shared

    def _end_generation(self) -> None:
        os.close(self._stop_out)
        os.close(self._stop_in)
        self._old.update(self._slots)
        self._slots.clear()
        self._board = mmap.mmap(-1, self._limit)  # the old generation keeps the old board

    def _reload(self, session: Session) -> Session:
        try:
            session = self._setup()
        except Failure as failure:
            self._note("reload-failed", reason=failure.detail or failure.text)
            return session
        self._end_generation()
        self._begin_generation()
        self._note("reloaded")
        return session

    def _reap(self) -> None:
        self._signals.discard(signal.SIGCHLD)
        while self._slots or self._old:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._old.discard(pid)
            slot = self._slots.pop(pid, None)
            if slot is not None:
                self._board[slot] = FREE
            if status:
                code = os.waitstatus_to_exitcode(status)
                self._note("session-died", pid=pid, exit=code)

    def _grow(self, session: Session) -> None:
        idle = self._board[:].count(IDLE)
        running = len(self._slots)
        if idle >= SPARE or running >= self._limit:
            return
        # Doubling meets a burst in a few rounds.
        wanted = SPARE - idle if idle else max(SPARE, running)
        for _ in range(min(wanted, self._limit - running)):
            slot = self._board.find(bytes((FREE,)))
            if slot < 0:
                return
            self._board[slot] = IDLE
            pid = os.fork()
            if not pid:
                self._child(session, slot)
            self._slots[pid] = slot

    def _wait(self) -> None:
        full = len(self._slots) >= self._limit and self._board.find(bytes((IDLE,))) < 0
        now = time.monotonic()
        served = self._served[:]
        if not full or served != self._seen:
            # Short sessions end, and who waits is served soon: only a standstill is refused.
            self._seen = served
            self._all_busy_since = 0.0
        elif not self._all_busy_since:
            self._all_busy_since = now
        elif now - self._all_busy_since >= PATIENCE:
            self._turn_away()
        timeout = PATIENCE if full else None
        if select.select([self._wake_in], [], [], timeout)[0]:
            try:
                os.read(self._wake_in, 4096)
            except BlockingIOError:
                pass

    def _turn_away(self) -> None:
        for sock in self._sockets:
            while True:
                try:
                    connection, _ = sock.accept()
                except OSError:
                    break
                with connection:
                    connection.settimeout(0)
                    self._note("turned-away", client=peer_of(connection, {}), limit=self._limit)
                    try:
                        connection.send(self._refuse(TooBusy()))
                    except OSError:
                        pass

    def _finish(self) -> None:
        for sock in self._sockets:
            if self._ours:
                sock.shutdown(socket.SHUT_RDWR)  # for the processes that still hold it too
            sock.close()
        _notify("STOPPING=1")
        self._end_generation()
        deadline = time.monotonic() + GRACE
        while self._old:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._reap()
            if self._old and select.select([self._wake_in], [], [], left)[0]:
                os.read(self._wake_in, 4096)
        for pid in self._old:
            os.kill(pid, signal.SIGKILL)  # loses nothing: what was acknowledged is on disk
        self._note("stopped")

    # -- a process of the pool --------------------------------------------------------------------

    def _child(self, session: Session, slot: int) -> None:
        code = os.EX_TEMPFAIL
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # the master's pipe says when to end
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(self._stop_out)
            self._hear_of_the_end()
            self._settle()
            self._serve(session, slot)
            code = os.EX_OK
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _hear_of_the_end(self) -> None:
        """Let the kernel interrupt a session when the pipe is closed, also by the master's death.

        Before `settle`: a signal that root asked for finds the process whoever it becomes.
        """
        # By a way of its own to the pipe: whom to tell is kept with that, and each is to be told.
        fd = os.open(f"/proc/self/fd/{self._stop_in}", os.O_RDONLY | os.O_NONBLOCK)
        signal.signal(signal.SIGIO, self._let_go)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)

    def _let_go(self, _number: int, _frame: object) -> None:
        self._ended = True
        for sock in self._sockets:
            sock.close()

    def _serve(self, session: Session, slot: int) -> None:
        waiting = select.epoll()
        waiting.register(self._stop_in, select.EPOLLIN)
        try:
            for sock in self._sockets:
                # Exclusive: a connection wakes one process, not all of them.
                waiting.register(sock, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        except ValueError:
            return  # it ended before it began: the sockets are let go
        by_fd = {sock.fileno(): sock for sock in self._sockets}
        user = os.geteuid()
        served = 0
        while served < SESSIONS and not self._ended:
            ready = waiting.poll(RETIRE)
            if not ready and self._board[:].count(IDLE) > SPARE:
                return
            for fd, _ in ready:
                if fd == self._stop_in or self._ended:
                    return
                try:
                    connection, accepted = by_fd[fd].accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue  # another process was faster, or the peer gave up
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.EBADF):
                        raise
                    return  # the master has shut the socket down (_finish), or it is let go
                self._one(session, slot, connection, accepted)
                served += 1
                if os.geteuid() != user:
                    return  # it became a mailbox's owner, and serves nobody else

    def _one(
        self, session: Session, slot: int, connection: socket.socket, accepted: tuple[str, int]
    ) -> None:
        board = self._board
        board[slot] = BUSY
        if board.find(bytes((IDLE,))) < 0:
            try:
                os.write(self._wake_out, b"+")
            except BlockingIOError:
                pass  # the master has enough to wake up to
        peer = peer_of(connection, {}, accepted)
        stream = Stream(connection, patience=WAIT if self._ours else None)
        stream.pressed = lambda: board[:].count(BUSY) >= self._limit
        try:
            run_session(session, stream, peer, self._note)
        finally:
            stream.close()
            self._served[slot] = (self._served[slot] + 1) & 255
            board[slot] = IDLE


def _name(sock: socket.socket) -> str:
    address = sock.getsockname()
    if isinstance(address, str):
        return address
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _notify(state: str) -> None:
    """Tell systemd, where it asked to be told (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        try:
            sock.sendto(state.encode(), "\0" + path[1:] if path[0] == "@" else path)
        except OSError:
            pass
