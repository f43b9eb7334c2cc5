"""A generation of a listener: processes forked ready-made, each accepting, serving, again.

What the processes share is a board, a byte a slot: free, idle or busy. A process that takes a
connection and leaves nobody idle wakes the pool's own, which forks more, up to the limit; past
it, and only when that lasts, the pool itself accepts and refuses. A process that was idle long,
while others are too, ends. All end when the generation's pipe is closed (`net/listener.py`):
sessions in hand finish first, but let go of the listening sockets at once, so that whoever is next
has the port for itself.
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
from typing import NoReturn

from mailtools.errors import Failure, TooBusy
from mailtools.net.session import Note, Peer, Session, peer_of, run_session
from mailtools.net.stream import Stream

FREE, IDLE, BUSY = 0, 1, 2
SPARE = 2  # idle processes kept for the next connections
GROWTH = 8  # where nobody is idle, a process more for each so many that run
SESSIONS = 2000  # that a process serves before a fresh one takes its place
RETIRE = 20.0  # seconds a process stays idle while more than SPARE are
PATIENCE = 1.0  # seconds all must be busy before a connection is refused
REHEARSALS = 16  # sessions played ahead: the interpreter rewrites code it meets less often
PLUGS = 200  # blocks of each size that fill the holes of the shared memory


class Pool:
    """Processes that serve the sessions of some listening sockets."""

    def __init__(
        self,
        session: Session,
        sockets: Sequence[socket.socket],
        limit: int,
        refuse: Callable[[Failure], bytes],
        note: Note,
        *,
        settle: Callable[[], None],
        warm: bytes,
        patience: float | None,
    ) -> None:
        """Take what `serve` was given; connections begin with `patience` as their timeout.
        `warm` is what a peer says in a first session that is only played."""
        self._session, self._sockets, self._limit = session, sockets, limit
        self._refuse, self._note = refuse, note
        self._settle, self._warm, self._patience = settle, warm, patience
        self._board: mmap.mmap
        self._served: mmap.mmap
        self._seen = bytes(limit)
        self._slots: dict[int, int] = {}  # process → slot
        self._plugs: list[bytes] = []
        self._wake_in, self._wake_out = os.pipe()
        self._stop = -1
        # In a process of the pool: whether its generation was told to end, and whom it serves.
        self._ended = False
        self._stream: Stream | None = None
        self._all_busy_since = 0.0

    # -- the pool's own process -------------------------------------------------------------------

    def run(self, stop: int, ready: int) -> None:
        """Serve until the pipe `stop` ends, and its sessions; say on `ready` that it begins.

        Raises what `settle` raises.
        """
        self._stop = stop
        self._board = mmap.mmap(-1, self._limit)
        self._served = mmap.mmap(-1, self._limit)  # a count for each slot, modulo 256
        self._settle()
        for _ in range(REHEARSALS):
            self._play(self._warm)
        gc.collect()
        self._plugs = _plugs()
        gc.freeze()  # what the sessions made of the code is shared from now on
        for fd in (self._wake_in, self._wake_out):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)  # to wake up
        signal.signal(signal.SIGUSR1, lambda _number, _frame: self._tell(signal.SIGKILL))
        signal.signal(signal.SIGUSR2, self._say_so)
        signal.signal(signal.SIGIO, self._let_go)  # the processes', who ask for it
        os.write(ready, b"+")
        os.close(ready)
        while True:
            self._reap()
            self._grow()
            if self._wait():
                break
        for sock in self._sockets:
            sock.close()
        self._reap()
        while self._slots:
            select.select([self._wake_in], [], [])
            os.read(self._wake_in, 4096)
            self._reap()

    def _play(self, said: bytes) -> None:
        """Have a session with a peer that says this and hangs up; nothing is told of it."""
        here, there = socket.socketpair()
        with there:
            there.sendall(said)
            there.shutdown(socket.SHUT_WR)
            stream = Stream(here)
            run_session(self._session, stream, Peer(probe=True), lambda *_, **__: None)
            stream.close()

    def _tell(self, number: int) -> None:
        """Send the processes a signal; SIGKILL loses nothing: what was acknowledged is on disk."""
        for pid in self._slots:
            os.kill(pid, number)

    def _say_so(self, number: int, _frame: object) -> None:
        """The service ends, not a generation alone: peers are told once nothing is begun."""
        self._tell(number)  # a process of the pool has none to tell
        self._ended = True
        if self._stream is not None:
            self._stream.interrupt()

    def _reap(self) -> None:
        while self._slots:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._board[self._slots.pop(pid)] = FREE
            if status:
                code = os.waitstatus_to_exitcode(status)
                self._note("session-died", pid=pid, exit=code)

    def _grow(self) -> None:
        idle = self._board[:].count(IDLE)
        running = len(self._slots)
        if idle >= SPARE or running >= self._limit:
            return
        wanted = SPARE - idle if idle else max(SPARE, running // GROWTH)
        for _ in range(min(wanted, self._limit - running)):
            slot = self._board.find(bytes((FREE,)))
            if slot < 0:
                return
            self._board[slot] = IDLE
            pid = os.fork()
            if not pid:
                self._process(slot)
            self._slots[pid] = slot

    def _wait(self) -> bool:
        """Wait for something to do; say whether that is to end."""
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
        ready = select.select([self._wake_in, self._stop], [], [], PATIENCE if full else None)[0]
        if self._wake_in in ready:
            os.read(self._wake_in, 4096)
        return self._stop in ready

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

    # -- a process of the pool --------------------------------------------------------------------

    def _process(self, slot: int) -> NoReturn:
        code = os.EX_TEMPFAIL
        try:
            signal.set_wakeup_fd(-1)
            self._slots = {}  # what the inherited handlers see: it has none to kill
            self._hear_of_the_end()
            self._serve(slot)
            code = os.EX_OK
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _hear_of_the_end(self) -> None:
        """Let the kernel interrupt a session when the pipe is closed, also by the master's death.

        Before a login: a signal that root asked for finds the process whoever it becomes.
        """
        # By a way of its own to the pipe: whom to tell is kept with that, and each is to be told.
        fd = os.open(f"/proc/self/fd/{self._stop}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)

    def _let_go(self, _number: int, _frame: object) -> None:
        self._ended = True
        for sock in self._sockets:
            sock.close()

    def _serve(self, slot: int) -> None:
        waiting = select.epoll()
        waiting.register(self._stop, select.EPOLLIN)
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
                if fd == self._stop or self._ended:
                    return
                try:
                    connection, accepted = by_fd[fd].accept()
                except (BlockingIOError, ConnectionAbortedError):
                    continue  # another process was faster, or the peer gave up
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.EBADF):
                        raise
                    return  # the master has shut the socket down (_finish), or it is let go
                self._one(slot, connection, accepted)
                served += 1
                if os.geteuid() != user:
                    return  # it became a mailbox's owner, and serves nobody else

    def _one(self, slot: int, connection: socket.socket, accepted: tuple[str, int]) -> None:
        board = self._board
        board[slot] = BUSY
        if board.find(bytes((IDLE,))) < 0:
            try:
                os.write(self._wake_out, b"+")
            except BlockingIOError:
                pass  # there is enough to wake up to
        peer = peer_of(connection, {}, accepted)
        stream = Stream(connection, patience=self._patience)
        stream.pressed = lambda: board[:].count(BUSY) >= self._limit
        self._stream = stream
        if self._ended:
            stream.interrupt()
        try:
            run_session(self._session, stream, peer, self._note)
        finally:
            self._stream = None
            # First, so that who comes when this peer is gone does not meet a standstill.
            self._served[slot] = (self._served[slot] + 1) & 255
            stream.close()
            board[slot] = IDLE


def _plugs() -> list[bytes]:
    """Fill what is free between older blocks: each process then makes its own on pages of its own,
    a few, where it would have copied every page that had a hole. Kept for ever, never written to.
    """
    small = range(48, 513, 16)  # what Python's allocator cuts from pages, in its steps
    return [bytes(size - b"".__sizeof__()) for size in small for _ in range(PLUGS)]
