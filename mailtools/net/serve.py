"""Who accepts, and who forks: the same session under inetd, systemd, UCSPI, by hand, as a listener.

| fd 0 is            | $LISTEN_FDS | --listen | what happens                                   |
|--------------------|-------------|----------|------------------------------------------------|
| a connected socket | -           | -        | inetd nowait, tcpserver: one session, then end |
| a listening socket | -           | -        | inetd wait: a pool of processes accepts on it  |
| a pipe, a terminal | -           | -        | a session by hand on descriptors 0 and 1       |
| anything           | set         | -        | systemd: those sockets, connected or listening |
| anything           | -           | given    | a pool on sockets of our own                   |

A protocol says how to set a session up; nothing below knows which protocol it is.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence
from typing import Any

from mailtools.errors import Failure, SystemTrouble, Usage
from mailtools.net.session import Note, Setup, peer_of, run_session
from mailtools.net.stream import Stream

FIRST_PASSED = 3  # sd_listen_fds(3)
BACKLOG = 512
WAIT = 300.0  # seconds that a listener's connection begins with, as its engine does
PORT_MOST = 65535


_HINTS = {
    errno.EADDRINUSE: "; `ss -ltnp` shows who has it",
    errno.EACCES: "; ports below 1024 are for root to open, or for a socket unit",
    errno.EADDRNOTAVAIL: "; this host has no such address",
}


def serve(
    setup: Setup,
    *,
    listen: Sequence[str] = (),
    limit: int = 100,
    refuse: Callable[[Failure], bytes],
    note: Note,
    preload: Callable[[], None] = lambda: None,
    settle: Callable[[], None] = lambda: None,
    warm: bytes = b"",
    stamp: Callable[[], object] = lambda: None,
) -> None:
    """Serve sessions in the way this process was launched; return when there are no more.

    `setup` reads settings and gives the session function; a listener calls it again on SIGHUP.
    `refuse` says in the protocol's words that there can be no session now. `note` logs an event.
    `preload` loads what sessions need later than their banner: a listener does it before it forks.
    `settle` is called between `setup` and the first session: there who serves gives up root.
    `warm` is what a listener then says to a session of its own, so that its processes share what
    that made of the code. `stamp` is asked once a minute by a listener, which calls `setup` again
    when it gives something new: for files that its processes may not be allowed to read. Raises
    what `setup` raises, after the peer was refused.
    """
    handed = [] if listen else _passed_sockets() or _standard_input()
    listening = [sock for where in listen for sock in open_listeners(where)]
    listening += [sock for sock in handed if _accepts(sock)]
    if listening:
        from mailtools.net.listener import Listener  # only listeners pay for them
        from mailtools.net.pool import Pool

        patience = WAIT if listen else None

        def pool() -> Pool:
            session = setup()
            return Pool(
                session, listening, limit, refuse, note, settle=settle, warm=warm, patience=patience
            )

        preload()
        Listener(pool, listening, note, limit=limit, patience=patience, stamp=stamp).run()
        return
    _serve_one(setup, handed[0] if handed else None, refuse, note, settle)


def is_listener(listen: Sequence[str]) -> bool:
    """Whether `serve` will be a listener."""
    if listen:
        return True
    passed = os.environ.get("LISTEN_PID") == str(os.getpid())
    sock = _socket_of(FIRST_PASSED if passed else 0)
    if sock is None:
        return False
    with sock:
        return _accepts(sock)


def _serve_one(
    setup: Setup,
    sock: socket.socket | None,
    refuse: Callable[[Failure], bytes],
    note: Note,
    settle: Callable[[], None],
) -> None:
    stream = Stream(sock)
    try:
        try:
            session = setup()
            settle()
        except Failure as failure:
            stream.write(refuse(failure))
            raise
        run_session(session, stream, peer_of(sock, os.environ), note)
    finally:
        stream.close()


# -- sockets --------------------------------------------------------------------------------------


def open_listeners(where: str) -> list[socket.socket]:
    """Bind and listen on `HOST:PORT`, `[ADDRESS]:PORT`, `:PORT` or `/path`; raise a Failure.

    On all addresses of a host: `localhost` may be two. `:PORT` is every address there is.
    """
    if where.startswith("/"):
        return [_open_unix(where)]
    host, colon, port = where.rpartition(":")
    if not colon or not port:
        raise Usage(detail=f"--listen {where}: HOST:PORT expected, as in 127.0.0.1:25 or [::1]:25")
    if port.isdigit() and int(port) > PORT_MOST:  # getaddrinfo takes it modulo 65536
        raise Usage(detail=f"--listen {where}: {PORT_MOST} is the highest port")
    host = host.removeprefix("[").removesuffix("]")
    opened: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            # With port 0 the first address chooses for all.
            chosen = opened[0].getsockname()[1] if opened else address[1]
            opened.append(_open_tcp(family, (address[0], chosen, *address[2:]), both=not host))
    except OSError as error:
        for sock in opened:
            sock.close()
        hint = _HINTS.get(error.errno or 0, "")
        detail = f"cannot listen on {where}: {error.strerror}{hint}"
        raise SystemTrouble(detail=detail) from error
    return opened


def _addresses(host: str, port: str) -> list[tuple[int, tuple[Any, ...]]]:
    """Give families and addresses to bind, each once; raise OSError."""
    stream, passive = socket.SOCK_STREAM, socket.AI_PASSIVE
    found = socket.getaddrinfo(host or "::", port, type=stream, flags=passive)
    if not host and not _has_ipv6():
        found = socket.getaddrinfo("0.0.0.0", port, type=stream, flags=passive)
    return list(dict.fromkeys((int(family), address) for family, _, _, _, address in found))


def _has_ipv6() -> bool:
    """Whether the kernel knows it: a host may be booted without."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError:
        return False
    return True


def _open_tcp(family: int, address: tuple[Any, ...], *, both: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _open_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(path)
        except OSError:
            # Left by a process that is gone? Only then may it be taken over; nothing else may.
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(path) == 0:
                    raise
            os.unlink(path)
            sock.bind(path)
        sock.listen(BACKLOG)
    except OSError as error:
        raise SystemTrouble(detail=f"cannot listen on {path}: {error.strerror}") from error
    return sock


def _passed_sockets() -> list[socket.socket]:
    """The sockets that systemd handed over (sd_listen_fds(3)); the variables are used up."""
    count = os.environ.pop("LISTEN_FDS", "")
    pid = os.environ.pop("LISTEN_PID", "")
    for name in ("LISTEN_FDNAMES", "LISTEN_PIDFDID"):
        os.environ.pop(name, None)
    if not count.isdigit() or pid != str(os.getpid()):
        return []
    found = []
    for fd in range(FIRST_PASSED, FIRST_PASSED + int(count)):
        os.set_inheritable(fd, False)
        sock = _socket_of(fd)
        if sock is None:
            raise SystemTrouble(detail=f"file descriptor {fd}, handed over, is not a socket")
        found.append(sock)
    return found


def _standard_input() -> list[socket.socket]:
    sock = _socket_of(0)
    return [sock] if sock else []


def _socket_of(fd: int) -> socket.socket | None:
    """The stream socket on a descriptor, under a descriptor of its own; None where it is none."""
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError:
        return None
    sock.settimeout(None)
    return sock


def _accepts(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
