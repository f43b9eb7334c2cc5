"""A listener's master: sockets, signals, and generations of processes that serve.

Each generation is a process that keeps a pool (`net/pool.py`): forked by the master, so that it may
give up root while the master goes on reading keys and settings. On SIGHUP `setup` gives new
sessions, and a new generation takes over once it is ready. A generation ends when its pipe is
closed: by the master, or by the master's death; sessions in hand finish first.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from mailtools.errors import Failure
from mailtools.net.pool import Pool
from mailtools.net.session import Note
from mailtools.net.stream import set_patience

GRACE = 30.0  # seconds that sessions have to finish after SIGTERM
PAUSE = 1.0  # seconds before a generation that died has its successor
LOOK = 60.0  # seconds between two looks whether what was read has changed


class Listener:
    """Serves the sessions of some listening sockets until it is told to end."""

    def __init__(
        self,
        setup: Callable[[], Pool],
        sockets: Sequence[socket.socket],
        note: Note,
        *,
        limit: int,
        patience: float | None,
        stamp: Callable[[], object] = lambda: None,
    ) -> None:
        """Take what makes the pool of a generation, and sockets that listen already.

        `patience` is the timeout that connections inherit, None where the sockets are not ours to
        shut down. When `stamp` gives another value than before, there is a new generation.
        """
        self._setup, self._sockets, self._note = setup, sockets, note
        self._limit, self._patience = limit, patience
        self._stamp = stamp
        self._signals: set[int] = set()
        self._wake_in, self._wake_out = os.pipe()
        self._pipes: dict[int, int] = {}  # generation → the pipe whose end is its end
        self._old: set[int] = set()  # generations that were told to end
        self._current = 0

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raise what the first `setup` raises."""
        seen = self._stamp()
        pool = self._setup()
        for sock in self._sockets:
            self._take(sock)
        for fd in (self._wake_in, self._wake_out):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda got, _frame: self._signals.add(got))
        code = self._begin(pool)
        if code:
            sys.exit(code)
        for sock in self._sockets:
            self._note("listening", address=_name(sock), limit=self._limit)
        _notify("READY=1")
        while not self._signals & {signal.SIGTERM, signal.SIGINT}:
            before, seen = seen, self._stamp()
            if signal.SIGHUP in self._signals or seen != before:
                self._signals.discard(signal.SIGHUP)
                pool = self._reload(pool)
            if self._reap():
                self._wait(LOOK)
            else:
                self._begin(pool)
        self._finish()

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if self._patience is not None:
            set_patience(sock, self._patience)  # and so each connection's: calls that are saved
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _wait(self, seconds: float | None) -> None:
        if select.select([self._wake_in], [], [], seconds)[0]:
            os.read(self._wake_in, 4096)

    # -- generations ------------------------------------------------------------------------------

    def _begin(self, pool: Pool) -> int:
        """Fork a generation, and wait until it serves; give its exit code when it ended instead."""
        stop_in, stop_out = os.pipe()
        os.fchmod(stop_in, 0o444)  # its processes open it again, whoever they became
        ready_in, ready_out = os.pipe()
        gc.collect()
        gc.freeze()  # what is shared stays shared
        pid = os.fork()
        if not pid:
            self._generation(pool, (ready_in, stop_out), stop_in, ready_out)
        os.close(stop_in)
        os.close(ready_out)
        ready = os.read(ready_in, 1)
        os.close(ready_in)
        if not ready:
            os.close(stop_out)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) or os.EX_TEMPFAIL
        self._pipes[pid], self._current = stop_out, pid
        return os.EX_OK

    def _generation(self, pool: Pool, masters: Sequence[int], stop: int, ready: int) -> NoReturn:
        code = os.EX_TEMPFAIL
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # the pipe says when to end
            for fd in (*masters, *self._pipes.values(), self._wake_in, self._wake_out):
                os.close(fd)
            pool.run(stop, ready)
            code = os.EX_OK
        except Failure as failure:
            self._note("not-ready", reason=failure.detail or failure.text)
            code = failure.exit
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _reload(self, pool: Pool) -> Pool:
        before = self._current
        try:
            pool = self._setup()
        except Failure as failure:
            self._note("reload-failed", reason=failure.detail or failure.text)
            return pool
        code = self._begin(pool)
        if code:
            self._note("reload-failed", reason=f"the new processes ended, exit code {code}")
            return pool
        self._end(before)
        self._note("reloaded")
        return pool

    def _end(self, generation: int) -> None:
        if generation in self._pipes:
            os.close(self._pipes.pop(generation))
            self._old.add(generation)

    def _reap(self) -> bool:
        """Take leave of generations that ended; say whether there is one that serves."""
        self._signals.discard(signal.SIGCHLD)
        while self._old or self._pipes:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid in self._pipes:
                code = os.waitstatus_to_exitcode(status)
                self._note("generation-died", pid=pid, exit=code)
                os.close(self._pipes.pop(pid))
                self._wait(PAUSE)
            self._old.discard(pid)
        return self._current in self._pipes

    def _finish(self) -> None:
        for sock in self._sockets:
            if self._patience is not None:
                sock.shutdown(socket.SHUT_RDWR)  # for the processes that still hold it too
            sock.close()
        _notify("STOPPING=1")
        for pid in (*self._pipes, *self._old):
            os.kill(pid, signal.SIGUSR2)  # its sessions tell their peers: see Pool
        self._end(self._current)
        deadline = time.monotonic() + GRACE
        while self._old and (left := deadline - time.monotonic()) > 0:
            self._reap()
            if self._old:
                self._wait(left)
        for pid in self._old:
            os.kill(pid, signal.SIGUSR1)  # it ends its sessions: see Pool
        while self._old:
            self._reap()
            if self._old:
                self._wait(None)
        self._note("stopped")


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
