"""Whether this host's mail server answers where mail for its domains comes."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from mailtools.services.check.finding import Finding, warning

PATIENCE = 5.0  # seconds for a greeting; a site with a greet-delay beyond is not judged
OURS = b"mailtools"  # as our greetings end


def door(address: str, port: int = 25) -> Iterator[Finding]:
    """Call an address of this host: does anybody answer there, and is it smtpd-accept?"""
    where = f"[{address}]:{port}"
    try:
        with socket.create_connection((address, port), timeout=PATIENCE) as peer:
            greeting = _line(peer)
            peer.sendall(b"QUIT\r\n")
    except TimeoutError:
        return
    except OSError as error:
        yield warning(
            where, f"mail for local domains comes there, and nobody answers: {error.strerror}",
            "start smtpd-accept: examples/systemd, inetd, or --listen :25",
        )  # fmt: skip
        return
    if greeting[:3] == b"220" and OURS not in greeting:
        said = greeting.decode("ascii", "replace").strip()
        yield warning(where, f"another mail server answers there: {said}", "stop it, or see whose")


def _line(peer: socket.socket) -> bytes:
    found = b""
    while b"\n" not in found and len(found) < 1000:
        piece = peer.recv(1000)
        if not piece:
            break
        found += piece
    return found
