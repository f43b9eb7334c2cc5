"""TLS as a pipe of bytes: what the peer sent goes in, what to send comes out; no socket.

`net/channel.py` uses it where nothing may block, `net/stream.py` has its own for what may.
"""

from __future__ import annotations

import ssl

from mailtools.errors import ConnectionDied, TlsTrouble

_READ = 65536


class TlsPipe:
    """A TLS session over memory."""

    def __init__(self, context: ssl.SSLContext, host: str | None) -> None:
        """Begin as the client of `host` (for SNI, and to be verified where the context does).

        Raises TlsTrouble for a host that cannot be one.
        """
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            self.session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        except (ssl.SSLError, ValueError) as error:
            raise TlsTrouble(f"TLS cannot ask for {host}: {reason(error)}") from error
        self.ended = False
        """The peer has closed its side."""

    def handshake(self, data: bytes = b"") -> bool:
        """Take what the peer sent; tell whether the handshake is done; raise TlsTrouble."""
        self._incoming.write(data)
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except (ssl.SSLError, ValueError) as error:
            raise TlsTrouble(f"TLS handshake failed: {reason(error)}") from error
        return True

    def to_send(self) -> bytes:
        """Give what has to be sent now."""
        return self._outgoing.read()

    def encrypt(self, data: bytes) -> bytes:
        """Give `data` as it goes over the wire; raise ConnectionDied."""
        try:
            self.session.write(data)  # a memory buffer takes all of it
        except ssl.SSLError as error:
            raise ConnectionDied(f"TLS failed: {reason(error)}") from error
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        """Give what the peer said in `data`; raise ConnectionDied."""
        self._incoming.write(data)
        parts: list[bytes] = []
        while True:
            try:
                part = self.session.read(_READ)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                part = b""
            except ssl.SSLError as error:
                raise ConnectionDied(f"TLS failed: {reason(error)}") from error
            if not part:
                self.ended = True
                break
            parts.append(part)
        return b"".join(parts)

    def goodbye(self) -> bytes:
        """Give our close_notify; the peer's is not waited for."""
        try:
            self.session.unwrap()
        except (ssl.SSLError, ValueError):
            pass
        return self._outgoing.read()


def chain_of(session: ssl.SSLObject) -> list[bytes]:
    """Give the certificates the peer sent, DER, its own first; nobody has checked them yet."""
    if hasattr(session, "get_unverified_chain"):
        return list(session.get_unverified_chain())
    # Before Python 3.13 only the object within has it.
    found = session._sslobj.get_unverified_chain() or []  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in found]


def reason(error: Exception) -> str:
    """Say what OpenSSL minds, in words."""
    text = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return str(text).replace("_", " ").lower()
