"""A queue whose entries pass the milters of a session before they are committed.

A message is kept aside until it is whole: milters may change anything in it, and whom it goes to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import PolicyRefused
from mailtools.services.reception.complaints import is_harmful, is_open
from mailtools.services.reception.milter.changes import Draft
from mailtools.store.scratch import Scratch

if TYPE_CHECKING:
    from mailtools.mail.envelope import Envelope
    from mailtools.services.reception.intake import Entries
    from mailtools.services.reception.milter.session import MilterSession


class Filtered:
    """Where messages go in a session with milters."""

    def __init__(self, session: MilterSession, behind: Entries, id_: str, scratch: str) -> None:
        """Take what is behind the milters, and the ID that they know.

        `scratch` is a folder for what is too large for memory.
        """
        self._session, self._behind = session, behind
        self._id, self._scratch = id_, scratch

    def begin(self, envelope: Envelope, id_: str = "") -> FilteredEntry:
        """Begin an entry: nothing is in the queue before its `commit`."""
        return FilteredEntry(self._session, self._behind, envelope, id_ or self._id, self._scratch)


class FilteredEntry:
    """A message on its way to the milters, and then to what is behind them."""

    def __init__(
        self, session: MilterSession, behind: Entries, envelope: Envelope, id_: str, scratch: str
    ) -> None:
        """Take what `Filtered` was given, and the envelope."""
        self._session, self._behind, self._envelope = session, behind, envelope
        self._kept = Scratch(scratch)
        self.id = id_
        self.size = 0
        """Octets of the message so far."""
        self.junk = False
        """Whether a milter or a program said so."""

    def write(self, data: bytes) -> None:
        """Add a piece of the message."""
        self._kept.write(data)
        self.size += len(data)

    def commit(self, *, held: str = "") -> str:
        """Ask the milters, and pass the message on; raise what refuses it.

        Gives "" for a message that a milter wants to vanish: it is answered as if it were queued.
        """
        session = self._session
        draft = Draft(b"".join(self._kept.read()), self.id, self._envelope)
        self._kept.close()
        try:
            session.examine(draft)
        except PolicyRefused as refusal:
            complaint = is_open(path.address for path in self._envelope.forward_paths)
            if not (complaint and refusal.permanent) or is_harmful(refusal):
                raise  # a complaint may hold what it is about
        if session.discarded or not draft.envelope.forward_paths:
            self._log_discard()
            return ""
        writer = self._behind.begin(draft.envelope, self.id)
        try:
            writer.write(draft.text)
        except BaseException:
            writer.abort()
            raise
        id_ = writer.commit(held=held or session.reason)
        self.junk = draft.junk or bool(getattr(writer, "junk", False))
        return id_

    def abort(self) -> None:
        """Throw it away."""
        self._kept.close()

    def _log_discard(self) -> None:
        envelope = self._envelope
        log.event(
            "discarded",
            id=self.id,
            milter=self._session.discarded or None,
            client=envelope.client,
            from_=f"<{envelope.reverse_path}>",
            to=len(envelope.forward_paths),
            size=self.size,
            why=None if self._session.discarded else "no recipient is left",
        )
