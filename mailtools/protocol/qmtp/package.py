"""What a package of QMTP or QMQP is made of: a message in two encodings, and addresses.

Nothing quotes an address here, and a message that another host could read in two ways is no message
(protocol/dotted.py says why).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

from mailtools.errors import BadAddress, BadReversePath
from mailtools.mail.address import Address, parse_address
from mailtools.protocol.dotted import ChunkReader


class Held(Protocol):
    """Where a message waits for its envelope (store/scratch.py)."""

    def write(self, data: bytes) -> None:
        """Add a piece."""

    def read(self) -> Iterator[bytes]:
        """Give all that was written, once."""

    def close(self) -> None:
        """Forget it; never raises."""


class Settings(NamedTuple):
    """What is the same for all sessions of a server."""

    size: int = 26214400
    """The largest message in octets, as they come on the wire; 0 for any."""
    recipients: int = 1000
    """The most forward-paths of a QMTP package; a QMQP peer could not send the rest again."""
    qmqp: bool = False
    """Speak QMQP: one package for the whole session, and one answer."""
    qualify: str = ""
    """The domain of addresses that come without one; "" refuses them."""
    patience: float = 300.0
    """Seconds to wait for the peer."""
    errors: int = 20
    """Refused forward-paths since the last accepted package: beyond, nobody is looked up."""


class TextReader:
    """Reads a message, which is LF text or CRLF text, in pieces: gives LF text."""

    def __init__(self, *, crlf: bool) -> None:
        """Say which of the two encodings of qmtp.txt 4 it is."""
        self.fault = ""
        """What is wrong with the text ("" for nothing)."""
        self._chunks = ChunkReader() if crlf else None

    def feed(self, data: bytes, *, last: bool) -> bytes:
        """Take octets of the wire, give LF text."""
        if self._chunks is not None:
            text = self._chunks.feed(data, last=last)
            self.fault = self._chunks.fault
            return text
        if b"\r" in data:
            # A CR that the next host would take for the end of a line cannot be kept as it is.
            self.fault = "CR in the message: its lines end in LF"
        elif b"\0" in data:
            self.fault = "NUL in the message"
        return data


# -- addresses ------------------------------------------------------------------------------------


def wire_address(text: str) -> bytes:
    """Write an address as these protocols have it: nothing quoted; "" is the null reverse-path."""
    if not text:
        return b""
    if text.lower() == "postmaster":
        return text.encode()
    local, domain = parse_address(text)
    return f"{local}@{domain}".encode()


def read_address(data: bytes, *, qualify: str = "") -> Address:
    """Read an address that nothing quotes; raise BadAddress.

    `qualify` is the domain for one that has none; without it only `postmaster` may lack one.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadAddress("An address beyond ASCII is UTF-8 (RFC 6531 3.3)") from None
    local, at, domain = text.rpartition("@")
    if not at:
        if text.lower() == "postmaster":  # RFC 5321 4.1.1.3
            return Address(text, "")
        local, domain = text, qualify
    if not local:
        raise BadAddress("The local-part is missing")
    return parse_address(str(Address(local, domain)))


def read_reverse_path(
    data: bytes, *, qualify: str = "", verp: bool = False
) -> tuple[Address | None, dict[str, str]]:
    """Read a reverse-path, and with `verp` what it asks for; raise BadReversePath.

    qmail writes `#@[]` for a null one that fails again, and `list-@host-@[]` where each recipient
    is to have a reverse-path of its own (qmail-send(8)): `list-bob=example.net@host`.
    """
    if data in (b"", b"#@[]"):
        return None, {}
    try:
        if verp and data.endswith(b"-@[]"):
            local, domain = read_address(data[:-4])
            if not local.endswith("-") or len(local) < 2:
                raise BadAddress("Variable envelope return paths begin with local-@domain")
            return Address(local[:-1], domain), {"XVERP": "-="}
        return read_address(data, qualify=qualify), {}
    except BadAddress as failure:
        raise BadReversePath(failure.text) from None
