"""An entry of the queue: where its file lies, and what it says when it is opened (queue.py)."""

from enum import StrEnum
from typing import NamedTuple

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.store.entry_file import read_from
from mailtools.store.journal import Journal


class State(StrEnum):
    """Where an entry's file lies."""

    NEW = "new"
    WAIT = "wait"
    HOLD = "hold"
    BAD = "bad"
    DONE = "done"


class Place(NamedTuple):
    """An entry's file: its ID, its state, and when it is due (0: now)."""

    id: str
    path: str
    state: State
    due: float = 0.0


class Entry:
    """A message with its envelope in the queue, as `Queue.open` found it."""

    __slots__ = (
        "arrival",
        "due",
        "envelope",
        "id",
        "journal",
        "message_id",
        "offset",
        "path",
        "size",
        "state",
    )

    def __init__(
        self,
        place: Place,
        arrival: float,
        envelope: Envelope,
        offset: int,
        size: int,
        *,
        message_id: str,
        journal: Journal,
    ) -> None:
        self.id, self.path, self.state, self.due = place
        self.arrival = arrival
        """In seconds since 1970: its ID says so."""
        self.envelope = envelope
        self.offset = offset
        """Where the message begins in the file."""
        self.size = size
        """Octets of the message as it lies on disk."""
        self.message_id = message_id
        """The Message-ID field, when it stands in the first octets of the message."""
        self.journal = journal

    @property
    def pending(self) -> list[ForwardPath]:
        """The forward-paths that still want an attempt."""
        if not self.journal.last:
            return list(self.envelope.forward_paths)
        return [p for p in self.envelope.forward_paths if self.journal.pending(p.address)]

    def message(self) -> bytes:
        """Read the message; raise NoSuchEntry when it is gone."""
        return read_from(self.path, self.offset)
