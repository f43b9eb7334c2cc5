"""One small file by HTTPS from a named host: what MTA-STS needs of the web (RFC 8461 3.3)."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterable

from mailtools.errors import ConnectionDied, NoAnswer, TlsTrouble

TIMEOUT = 30.0  # seconds for each step; the RFC suggests a minute in all


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
    failure: Exception | None = None
    for address in addresses:
        try:
            sock = socket.create_connection((address, port), timeout)
        except OSError as error:
            failure = error
            continue
        with sock:
            return _get(sock, host, path, context, most)
    raise NoAnswer(f"https://{host} does not answer: {failure or 'it has no address'}")


def _get(sock: socket.socket, host: str, path: str, context: ssl.SSLContext, most: int) -> bytes:
    try:
        with context.wrap_socket(sock, server_hostname=host) as tls:
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            tls.sendall(request.encode("ascii"))
            response = http.client.HTTPResponse(tls)
            response.begin()
            if response.status != 200:
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
