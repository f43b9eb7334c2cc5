"""What a client of SMTP is given to do, and what comes of it: values, no behaviour."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from mailtools.mail.envelope import ForwardPath
from mailtools.mail.fields import header_end
from mailtools.mail.report import Report

LINE_MOST = 998  # octets of a line by DATA, without its CRLF (RFC 5321 4.5.3.1.6)
LARGE = 512 * 1024  # octets of a message
_CHUNK = 262144
_long = re.compile(rb"(?:\A|\n)[^\n]{%d}" % (LINE_MOST + 1))


class Tls(Enum):
    """What the client makes of STARTTLS."""

    NEVER = "never"
    MAY = "may"
    MUST = "must"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it lies on disk: LF text that can be read again, and what a peer must know."""

    chunks: Callable[[], Iterable[bytes]]
    size: int
    """Octets on the wire, without dot-stuffing (RFC 1870 5)."""
    eight_bit: bool = False
    utf8_header: bool = False
    long_lines: bool = False
    """Whether a line is longer than DATA may carry."""

    @property
    def large(self) -> bool:
        """Whether to hash or to encode it takes so long that others would notice."""
        return self.size > LARGE


Finish = Callable[[Message], Message]
"""The last touch to a message in the form a peer takes: signatures, which nothing may follow."""


def message_of(data: bytes) -> Message:
    """Make a Message of LF text in memory."""
    size = len(data) + data.count(b"\n")

    def chunks() -> Iterable[bytes]:
        if len(data) <= _CHUNK:
            return (data,)
        return (data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK))

    long = has_long_line((data,))
    if data.isascii():
        return Message(chunks, size, long_lines=long)
    return Message(chunks, size, True, not data[: header_end(data)].isascii(), long)


def has_long_line(chunks: Iterable[bytes]) -> bool:
    """Whether a line of LF text is longer than DATA may carry."""
    tail = b""
    for chunk in chunks:
        text = tail + chunk if tail else chunk
        if _long.search(text):
            return True
        tail = text[text.rfind(b"\n") + 1 :]
    return False


@dataclass(frozen=True, slots=True)
class DeliverBy:
    """By when a message wants to be delivered (RFC 2852)."""

    left: Callable[[], int]
    """How many seconds are left now; fewer than none in by-mode N."""
    returns: bool
    """By-mode R: it is returned where it cannot be delivered in time."""
    trace: bool = False


@dataclass(frozen=True, slots=True)
class Transaction:
    """One message for some forward-paths that share a destination."""

    reverse_path: str
    forward_paths: tuple[ForwardPath, ...]
    message: Message
    parameters: Mapping[str, str] = field(default_factory=dict)
    """MAIL parameters the message came with: SMTPUTF8, RET, ENVID, REQUIRETLS, MT-PRIORITY."""
    finish: Finish | None = None
    ours: bool = False
    """Whether it was submitted here: nobody's signature is on it yet."""
    deliver_by: DeliverBy | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a forward-path here, and whether another exchanger may be asked."""

    report: Report
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials for a peer: a login with a password, or with a bearer token (RFC 6750)."""

    name: str
    secret: str = field(repr=False)
    token: bool = False
    plaintext: bool = False
    """Whether the secret may be shown without TLS: only on a network nobody else reads."""
    host: str = ""
    port: int = 0
