"""Which protocols a TLS client says it speaks (ALPN, RFC 7301): read from its first words.

A client of another protocol, a browser that was led to a mail server, is sent away before it says
anything (RFC 9325 3.8). OpenSSL could do that, Python's ssl does not let it: there a handshake
without a common protocol goes on.
"""

from __future__ import annotations

HELLO_MOST = 65536  # octets
NO_COMMON_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"  # a fatal alert 120, RFC 7301 3.2

_HANDSHAKE, _CLIENT_HELLO, _ALPN = 22, 1, 16


def offered(data: bytes) -> tuple[str, ...] | None:
    """Read what a ClientHello names, () where that is nothing; None: its end has not come yet.

    What is no ClientHello names nothing, and is TLS's own to refuse.
    """
    hello = _Octets(_fragments(data))
    try:
        if hello.take(1)[0] != _CLIENT_HELLO:
            return ()
        return _read(_Octets(hello.counted(3)))
    except ValueError:
        return None if len(data) < HELLO_MOST and data[:1] in (b"", b"\x16") else ()


def _fragments(data: bytes) -> bytes:
    """Give what the handshake records carry (RFC 8446 5.1)."""
    found, at = b"", 0
    while data[at : at + 1] == bytes((_HANDSHAKE,)):
        end = at + 5 + int.from_bytes(data[at + 3 : at + 5])
        found += data[at + 5 : end]
        at = end
    return found


def _read(hello: _Octets) -> tuple[str, ...]:
    """Find the extension in a ClientHello (RFC 8446 4.1.2)."""
    try:
        hello.take(2 + 32)  # version, random
        for size in (1, 2, 1):  # session, ciphers, compression
            hello.counted(size)
        extensions = _Octets(hello.counted(2))
        while extensions.left:
            kind, content = int.from_bytes(extensions.take(2)), extensions.counted(2)
            if kind == _ALPN:
                return tuple(_names(_Octets(_Octets(content).counted(2))))
    except ValueError:
        pass  # it ends too early
    return ()


def _names(names: _Octets) -> list[str]:
    found = []
    while names.left:
        found.append(names.counted(1).decode("ascii", "replace"))
    return found


class _Octets:
    """Octets that are taken one behind the other; ValueError: there are not so many."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise ValueError("too short")
        found, self._at = self._data[self._at : end], end
        return found

    def counted(self, size: int) -> bytes:
        """Take a number of `size` octets, and as many octets as it says."""
        return self.take(int.from_bytes(self.take(size)))
