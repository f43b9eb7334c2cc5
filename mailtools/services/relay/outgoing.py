"""A job's message as the SMTP client wants it: envelope, size, kind, and chunks to read again."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from mailtools.errors import BadEntry, SystemTrouble
from mailtools.mail.envelope import SUBMITTED, Envelope, ForwardPath, decode
from mailtools.mail.fields import header_end
from mailtools.protocol.smtp.transaction import (
    DeliverBy,
    Finish,
    Message,
    Transaction,
    has_long_line,
    message_of,
)
from mailtools.services.agent import Job
from mailtools.store.queue_id import arrival, is_id
from mailtools.trust.tls_required import TlsWish, tls_wish

WHOLE_MOST = 256 * 1024  # octets of an entry that is kept in memory while it is relayed
_CHUNK = 262144
_HEADER_MOST = 65536  # octets of header looked at for letters beyond ASCII


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a job brings to its peers."""

    envelope: Envelope
    message: Message
    wish: TlsWish


def is_large(job: Job) -> bool:
    """Whether a job's entry takes long to read."""
    try:
        return bool(job.path) and os.stat(job.path).st_size > WHOLE_MOST
    except OSError:
        return False  # `load` says why


def load(job: Job) -> Outgoing:
    """Read a job's entry: a small one whole, of a large one what has to be known.

    Raises SystemTrouble when it cannot be read, BadEntry when it is none.
    """
    if not job.path:
        return _outgoing(job.envelope, message_of(job.message()), job.message())
    try:
        fd = os.open(job.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            data = os.read(fd, size) if size <= WHOLE_MOST else b""
        finally:
            os.close(fd)
    except FileNotFoundError:
        # Not permanent: an operator may have held or moved it, and will see it again.
        raise SystemTrouble("The queue entry is not there any more") from None
    except OSError as error:
        raise SystemTrouble(detail=f"cannot read {job.path}: {error.strerror}") from error
    if not data:
        message, head = _large(job)
        return _outgoing(job.envelope, message, head)
    end = data.find(b"\n\n")
    if end < 0:
        raise BadEntry("The envelope has no end")
    text = data[end + 2 :]
    return _outgoing(decode(data[:end]), message_of(text), text)


def transaction(
    job: Job,
    reverse_path: str,
    paths: tuple[str, ...],
    outgoing: Outgoing,
    finish: Finish | None = None,
) -> Transaction:
    """Make the transaction for some of a job's forward-paths; `finish` signs the message."""
    known = {path.address: path for path in outgoing.envelope.forward_paths}
    chosen = tuple(known.get(path) or ForwardPath(path) for path in paths)
    parameters = outgoing.envelope.parameters
    by = (
        deliver_by(parameters["BY"], arrival(job.id))
        if "BY" in parameters and is_id(job.id)
        else None
    )
    return Transaction(
        reverse_path,
        chosen,
        outgoing.message,
        parameters,
        finish,
        SUBMITTED in parameters,
        by,
    )


def deliver_by(value: str, arrived: float) -> DeliverBy | None:
    """Read the parameter BY of a message that arrived then; None for what is none (RFC 2852)."""
    seconds, _, mode = value.upper().partition(";")
    try:
        deadline = arrived + int(seconds)
    except ValueError:
        return None
    return DeliverBy(lambda: int(deadline - time.time()), mode[:1] == "R", mode[1:] == "T")


def _outgoing(envelope: Envelope, message: Message, text: bytes) -> Outgoing:
    wish = TlsWish.DEFAULT
    required = "REQUIRETLS" in envelope.parameters
    if required or b"tls-required" in text[:_HEADER_MOST].lower():
        bounce = not envelope.reverse_path
        wish = tls_wish(text[: header_end(text)], requiretls=required, bounce=bounce)
    return Outgoing(envelope, message, wish)


def _large(job: Job) -> tuple[Message, bytes]:
    def chunks() -> Iterator[bytes]:
        with job.open() as file:
            while data := file.read(_CHUNK):
                yield data

    size, eight_bit, head = 0, False, b""
    for chunk in chunks():
        size += len(chunk) + chunk.count(b"\n")
        eight_bit = eight_bit or not chunk.isascii()
        head = head or chunk[:_HEADER_MOST]
    utf8_header = not head[: header_end(head)].isascii()
    return Message(chunks, size, eight_bit, utf8_header, has_long_line(chunks())), head
