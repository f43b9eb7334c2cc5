"""One small file by HTTPS from a named host (MTA-STS, RFC 8461 3.3), or to it (RFC 8460 5.4)."""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

from mailtools.errors import ConnectionDied, NoAnswer, TlsTrouble

ANSWER_MOST = 1024 * 1024  # octets of an answer that nobody reads
TIMEOUT = 30.0  # seconds to connect, whatever the number of addresses; as many to agree on TLS
SLOWEST = 10_000  # octets a second of a report that is posted
_PIECE = 16384  # octets sent at a time
ANSWER_TIME = 60.0  # seconds for the whole answer: a host that drips it must hold up nobody


def fetch(
    host: str,
    path: str,
    addresses: Iterable[str],
    context: ssl.SSLContext,
    *,
    port: int = 443,
    most: int = 65536,
    timeout: float = TIMEOUT,
) -> bytes:
    """Get `https://host/path` from the first of its addresses that answers.

    The certificate must be valid for `host`; redirects are not followed (RFC 8461 3.3); more than
    `most` octets are refused. Raises NoAnswer, TlsTrouble, ConnectionDied.
    """
    with _connected(host, addresses, port, timeout) as sock:
        head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        return _ask(
            sock, host, path, context, request=head.encode("ascii"), most=most, timeout=timeout
        )


def post(
    host: str,
    path: str,
    addresses: Iterable[str],
    context: ssl.SSLContext,
    *,
    body: bytes,
    kind: str,
    port: int = 443,
    timeout: float = TIMEOUT,
) -> None:
    """Post `body`, of the media type `kind`, to `https://host/path`, as `fetch` gets.

    Any answer of 200 to 299 is well. Raises NoAnswer, TlsTrouble, ConnectionDied.
    """
    named = host if port == 443 else f"{host}:{port}"
    with _connected(host, addresses, port, timeout) as sock:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        request = head.encode("ascii") + body
        _ask(sock, host, path, context, request=request, most=ANSWER_MOST, timeout=timeout)


def _connected(host: str, addresses: Iterable[str], port: int, timeout: float) -> socket.socket:
    failure: Exception | None = None
    end = time.monotonic() + timeout
    for address in addresses:
        try:
            return socket.create_connection((address, port), max(0.1, end - time.monotonic()))
        except OSError as error:
            failure = error
            if time.monotonic() >= end:
                break
    raise NoAnswer(f"https://{host} does not answer: {failure or 'it has no address'}")


def _ask(
    sock: socket.socket,
    host: str,
    path: str,
    context: ssl.SSLContext,
    *,
    request: bytes,
    most: int,
    timeout: float,
) -> bytes:
    try:
        with context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False) as tls:
            _shake_hands(tls, timeout)
            _send(tls, request)
            response = http.client.HTTPResponse(_Hearing(tls, ANSWER_TIME))  # type: ignore[arg-type]
            response.begin()
            if not _is_well(request, response.status):
                raise NoAnswer(f"https://{host}{path} said {response.status} {response.reason}")
            data = response.read(most + 1)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        raise TlsTrouble(f"https://{host}: {reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionDied(f"https://{host}: {error}") from error
    if len(data) > most:
        raise ConnectionDied(f"https://{host}{path} has more than {most} octets")
    return data


def _shake_hands(tls: ssl.SSLSocket, timeout: float) -> None:
    """Agree on TLS within that time, however slowly the other side goes about it."""
    end = time.monotonic() + timeout
    tls.settimeout(0)
    while True:
        wanted = select.POLLIN
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            wanted = select.POLLOUT
        else:
            tls.settimeout(timeout)
            return
        poll = select.poll()
        poll.register(tls, wanted)
        if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
            raise TimeoutError("the TLS handshake took too long")


def _send(tls: ssl.SSLSocket, data: bytes) -> None:
    """Send a request; a host that takes it in sips gains nothing."""
    end = time.monotonic() + ANSWER_TIME + len(data) / SLOWEST
    left = memoryview(data)
    while left:
        tls.settimeout(max(0.001, end - time.monotonic()))
        left = left[tls.send(left[:_PIECE]) :]


class _Hearing(io.RawIOBase):
    """What comes on a connection until its time is over; then each reading raises TimeoutError."""

    def __init__(self, tls: ssl.SSLSocket, seconds: float) -> None:
        self._tls, self._end = tls, time.monotonic() + seconds

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Give what HTTPResponse reads."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._tls.settimeout(left)
        return self._tls.recv_into(buffer)


def _is_well(request: bytes, status: int) -> bool:
    return status == 200 or (request.startswith(b"POST") and 200 <= status < 300)
