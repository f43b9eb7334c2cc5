"""A session: who the peer is, and what runs over its stream; whoever launched it."""

import socket
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mailtools.errors import ConnectionDied, TlsTrouble
from mailtools.net.stream import Stream


class Peer(NamedTuple):
    """Who is at the other end: IP address ("" for a local pipe or Unix socket), port, DNS name.

    `local` is our own address and port of the connection, where there is one. `tls` says of the
    TLS that a proxy in front of us ended what a log or a trace field may say, "" for none. `probe`
    is a proxy that speaks for itself, or a listener that plays a session: third parties do not hear
    of it. `user` is the user of this host at the other end of a Unix socket, as the kernel has it.
    """

    address: str = ""
    port: int = 0
    name: str = ""
    local: str = ""
    local_port: int = 0
    tls: str = ""
    probe: bool = False
    user: str = ""

    def __str__(self) -> str:
        """The address for logs."""
        return self.address or "local"


Session = Callable[[Stream, Peer], None]
Setup = Callable[[], Session]
Note = Callable[..., None]


def run_session(session: Session, stream: Stream, peer: Peer, note: Note) -> None:
    """Run a session; a connection that breaks ends it, and that is no fault of ours."""
    try:
        session(stream, peer)
    except (ConnectionDied, TlsTrouble) as failure:
        note("lost", client=peer, port=peer.port or None, reason=failure.text)


def peer_of(
    sock: socket.socket | None, environ: Mapping[str, str], accepted: tuple[str, int] | None = None
) -> Peer:
    """Say who the peer is: the socket's own word, else UCSPI's or systemd's variables.

    `accepted` is what accept(2) said of an Internet peer; it stays known when that is gone again.
    """
    here = sock.getsockname() if sock is not None else ""
    if sock is not None and isinstance(here, tuple):  # an Internet socket's
        try:
            there = accepted or sock.getpeername()
        except OSError:  # already gone
            return Peer()
        name = environ.get("TCPREMOTEHOST", "")
        return Peer(_plain(there[0]), there[1], name, _plain(here[0]), here[1])
    address = environ.get("TCPREMOTEIP") or environ.get("REMOTE_ADDR") or ""
    port = environ.get("TCPREMOTEPORT") or environ.get("REMOTE_PORT") or ""
    return Peer(
        _plain(address),
        int(port) if port.isdigit() else 0,
        environ.get("TCPREMOTEHOST", ""),
        user="" if address or sock is None else _user_of(sock),
    )


def _user_of(sock: socket.socket) -> str:
    import pwd  # only for Unix sockets

    try:
        told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", told)
    except OSError:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def _plain(address: str) -> str:
    """An IPv4 address that came over an IPv6 socket is an IPv4 address (RFC 4291 2.5.5.2)."""
    if address.lower().startswith("::ffff:") and "." in address:
        return address[7:]
    return address.partition("%")[0]
