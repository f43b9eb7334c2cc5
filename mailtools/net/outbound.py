"""A socket that sets out to a peer, and why it did not get there."""

from __future__ import annotations

import errno
import os
import socket

from mailtools.errors import Failure, NoAnswer, SystemTrouble

NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BIND_NO_PORT = 24  # IP_BIND_ADDRESS_NO_PORT of Linux's ip(7)


def socket_for(address: str) -> socket.socket:
    """Make a socket that never blocks, for an IP address or a path (an `/` in it)."""
    if "/" in address:
        made = socket.socket(socket.AF_UNIX)
    else:
        made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setblocking(False)
    return made


def set_out(sock: socket.socket, address: str, port: int, source: str) -> int:
    """Begin to connect, from `source` where it is given; give the error number, 0 for none.

    Raises SystemTrouble where this host has no such source.
    """
    if source:
        try:
            # The port is chosen with the peer's: else those of an address would soon be used up.
            sock.setsockopt(socket.IPPROTO_IP, _BIND_NO_PORT, 1)
            sock.bind((source, 0))
        except OSError as error:
            text = "This host cannot use the address it is to send from"
            detail = f"cannot send from {source}: {error.strerror}"
            raise SystemTrouble(text, detail=detail) from error
    return sock.connect_ex(address if "/" in address else (address, port))


def failure_of(error: int) -> Failure:
    """Say an error number of a connection that was not made as a failure."""
    if error in _NO_ROOM:  # nothing that the peer could help
        return SystemTrouble(f"This host can open no more connections: {os.strerror(error)}")
    return NoAnswer(os.strerror(error))
