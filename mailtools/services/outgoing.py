"""A job's message as the SMTP client wants it: envelope, size, kind, and chunks to read again."""

import os
from collections.abc import Iterator

from mailtools.errors import BadEntry, SystemTrouble
from mailtools.mail.envelope import Envelope, ForwardPath, decode
from mailtools.mail.fields import header_end
from mailtools.protocol.smtp_transaction import Message, Transaction, message_of
from mailtools.services.agent import Job

WHOLE_MOST = 1024 * 1024  # octets of an entry that is kept in memory while it is relayed
_CHUNK = 262144
_HEADER_MOST = 65536  # octets of header looked at for letters beyond ASCII


def load(job: Job) -> tuple[Envelope, Message]:
    """Read a job's entry: a small one whole, of a large one what has to be known.

    Raises SystemTrouble when it cannot be read, BadEntry when it is none.
    """
    if not job.path:
        return job.envelope, message_of(job.message())
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
        return job.envelope, _large(job)
    end = data.find(b"\n\n")
    if end < 0:
        raise BadEntry("The envelope has no end")
    return decode(data[:end]), message_of(data[end + 2 :])


def transaction(
    job: Job, paths: tuple[str, ...], envelope: Envelope, message: Message
) -> Transaction:
    """Make the transaction for some of a job's forward-paths."""
    known = {path.address: path for path in envelope.forward_paths}
    chosen = tuple(known.get(path) or ForwardPath(path) for path in paths)
    return Transaction(job.reverse_path, chosen, message, envelope.parameters)


def _large(job: Job) -> Message:
    def chunks() -> Iterator[bytes]:
        with job.open() as file:
            while data := file.read(_CHUNK):
                yield data

    size, eight_bit, head = 0, False, b""
    for chunk in chunks():
        size += len(chunk) + chunk.count(b"\n")
        eight_bit = eight_bit or not chunk.isascii()
        head = head or chunk[:_HEADER_MOST]
    return Message(chunks, size, eight_bit, not head[: header_end(head)].isascii())
