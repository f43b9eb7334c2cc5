"""A message on its way into the queue: its header looked at, a Received field put on top.

Nothing touches the disk before the header is whole and accepted; then it flows through.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from mailtools import log
from mailtools.errors import BadMessage, Failure, MailLoop
from mailtools.mail.binary_mime import text_form
from mailtools.mail.envelope import Envelope
from mailtools.services.reception.received import Hop, received_field

HEADER_MOST = 1024 * 1024  # octets

_message_id = re.compile(rb"\nmessage-id:[ \t]*(?:\n[ \t]+)?(\S{1,250})", re.IGNORECASE)


def message_id(header: bytes) -> str:
    """Give the Message-ID of a header (LF text) as it is written, "" where there is none."""
    found = _message_id.search(b"\n" + header)
    return found[1].decode("utf-8", "replace") if found else ""


HeaderWork = Callable[[bytes, str], bytes]
"""Takes a header (LF text, without the empty line) and the entry's ID; gives the one to keep."""


def without_forged(authserv_id: str) -> HeaderWork:
    """Give the work that removes Authentication-Results which claim to be ours (RFC 8601 5)."""

    def work(header: bytes, _: str) -> bytes:
        if b"authentication-results" not in header.lower():
            return header
        from mailtools.trust.authres import remove_forged  # where there is such a field

        return remove_forged(header, (authserv_id,))

    return work


def one_after_other(first: HeaderWork, then: HeaderWork) -> HeaderWork:
    """Give the work that is both."""
    return lambda header, id_: then(first(header, id_), id_)


class NewEntry(Protocol):
    """A message on its way into the queue (store/queue.py, content.py)."""

    id: str

    @property
    def size(self) -> int:
        """Octets of message so far."""

    def write(self, data: bytes) -> None:
        """Add a piece."""

    def commit(self, *, held: str = "") -> str:
        """Put it into the queue, durably; give its ID, "" where a milter lets it vanish."""

    def abort(self) -> None:
        """Throw it away; never raises."""


class Entries(Protocol):
    """Where messages go."""

    def begin(self, envelope: Envelope, id_: str = "") -> NewEntry:
        """Begin an entry; `id_` is a fresh ID, where it has one by now."""


class Intake:
    """The sink of one message (protocol/smtp/session.py)."""

    def __init__(
        self,
        queue: Entries,
        envelope: Envelope,
        hop: Hop,
        *,
        hops: int,
        facts: dict[str, object],
        work: HeaderWork | None = None,
        binary: bool = False,
        hold: Callable[[Envelope, str], str] | None = None,
    ) -> None:
        """Take where it goes and how it came.

        `hops` is the most Received fields it may have; `work` checks and mends the header;
        `facts` are said in the log when it is queued. A `binary` message is gathered as it comes,
        and becomes text at its end (RFC 3030 3). `hold` is asked at the end, with envelope and ID,
        why the message is held ("": it is not); it may refuse it.
        """
        self._queue, self._envelope, self._hop = queue, envelope, hop
        self._hops, self._work, self._facts = hops, work, facts
        # Octets, not pieces: a peer that sips makes very small ones.
        self._header = bytearray()
        self._binary: bytearray | None = bytearray() if binary else None
        self._writer: NewEntry | None = None
        self._hold = hold
        self._message_id = ""
        self._top = b""
        self.id = ""
        """The entry's, once the header is whole."""

    def amend(self, top: bytes, work: HeaderWork, parameters: dict[str, str]) -> None:
        """Before anything is written: fields to stand on top, header work, MAIL parameters."""
        self._top, self._work = top, work
        if parameters:
            merged = {**self._envelope.parameters, **parameters}
            self._envelope = self._envelope._replace(parameters=merged)

    def write(self, text: bytes) -> None:
        """Take a piece of the message; raise what refuses it."""
        if self._binary is not None:
            self._binary += text
            return
        if self._writer is not None:
            self._writer.write(text)
            return
        start, seen = self._header, max(len(self._header) - 1, 0)
        start += text
        if start.startswith(b"\n"):
            self._begin(b"", bytes(start))
        elif (end := start.find(b"\n\n", seen)) >= 0:
            self._begin(bytes(start[: end + 1]), bytes(start[end + 1 :]))
        elif len(start) > HEADER_MOST:
            raise BadMessage(f"The header is larger than {HEADER_MOST} octets")

    def commit(self) -> str:
        """Put the message into the queue: on disk, and synced, when this returns."""
        if self._binary is not None:
            gathered, self._binary = bytes(self._binary), None
            self.write(text_form(gathered))
        if self._writer is None:
            self._begin(bytes(self._header), b"")
        assert self._writer is not None
        size = self._writer.size
        id_ = self._commit(self._writer)
        if not id_:
            return f"Ok: queued as {self.id}"  # the peer is not to know
        log.event(
            "queued",
            id=id_,
            from_=f"<{self._envelope.reverse_path}>",
            to=len(self._envelope.forward_paths),
            size=size,
            **self._facts,
            message_id=self._message_id or None,
        )
        return f"Ok: queued as {id_}"

    def _commit(self, writer: NewEntry) -> str:
        try:
            held = self._hold(self._envelope, writer.id) if self._hold is not None else ""
        except Failure:
            writer.abort()
            raise
        return writer.commit(held=held)

    @property
    def junk(self) -> bool:
        """Whether a program found that it is junk; known after `commit`."""
        return bool(getattr(self._writer, "junk", False))

    def abort(self) -> None:
        """Forget the message."""
        if self._writer is not None:
            self._writer.abort()

    def _begin(self, header: bytes, rest: bytes) -> None:
        folded = b"\n" + header.lower()
        if folded.count(b"\nreceived:") > self._hops:
            raise MailLoop(f"Too many hops: more than {self._hops} Received fields")
        self._writer = writer = self._queue.begin(self._envelope)
        self.id = writer.id
        if self._work is not None:
            header = self._work(header, writer.id)
        self._message_id = message_id(header)
        paths = self._envelope.forward_paths
        only = paths[0].address if len(paths) == 1 else ""
        writer.write(self._top + received_field(self._hop, writer.id, only))
        if header:
            writer.write(header)
        if rest:
            writer.write(rest)
