"""What a peer of QMTP and QMQP says, written from their specification (cr.yp.to/proto)."""

from collections.abc import Iterator


def netstring(data: bytes) -> bytes:
    return str(len(data)).encode() + b":" + data + b","


def qmtp(text: bytes, sender: bytes, *paths: bytes) -> bytes:
    """A package; `text` begins with the octet that tells its encoding."""
    return netstring(text) + netstring(sender) + netstring(b"".join(map(netstring, paths)))


def qmqp(text: bytes, sender: bytes, *paths: bytes) -> bytes:
    return netstring(b"".join(map(netstring, (text, sender, *paths))))


def strings(data: bytes) -> Iterator[bytes]:
    """Read netstrings."""
    while data:
        digits, _, rest = data.partition(b":")
        size = int(digits)
        assert digits == str(size).encode()
        assert rest[size : size + 1] == b","
        yield rest[:size]
        data = rest[size + 1 :]
