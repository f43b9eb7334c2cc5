"""What an IMAP engine asks of the site, sorted by state; the engine itself does no I/O.

Refusal is an exception. Flags are text as IMAP writes them: `\\Seen`, `$Forwarded`. A view numbers
its messages as the client knows them: message n is `uids[n - 1]`, until `news` says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from mailtools.mail.mime import Part
    from mailtools.protocol.imap.search_keys import Key
    from mailtools.protocol.imap.values import Change, Copied, Folder, Keywords, Status
    from mailtools.protocol.sasl import server as sasl


class Message(Protocol):
    """A message of a view. Offsets are those of the text on disk, as `Part` has them.

    What needs the file raises NoSuchMessage when it has gone.
    """

    uid: int

    @property
    def flags(self) -> Collection[str]:
        """Its flags, with `\\Recent` where this session is told so."""

    @property
    def size(self) -> int:
        """Octets with CRLF."""

    @property
    def internal_date(self) -> float:
        """When it arrived, in seconds since 1970."""

    @property
    def save_date(self) -> float:
        """When it came into this mailbox."""

    @property
    def length(self) -> int:
        """Octets on disk."""

    def header(self) -> bytes:
        """Its header, with the empty line."""

    def structure(self) -> Part:
        """Its MIME structure."""

    def octets(self, start: int, end: int) -> bytes:
        """A stretch of it."""

    def release(self) -> None:
        """Let the file go; it is opened again when it is needed."""


class View(Protocol):
    """A selected mailbox, as this client knows it."""

    read_only: bool
    uidvalidity: int

    @property
    def uids(self) -> Sequence[int]:
        """UIDs of the messages the client knows, in order."""

    @property
    def uidnext(self) -> int:
        """The UID that the next message gets at least."""

    @property
    def recent(self) -> int:
        """How many messages are recent."""

    @property
    def keywords(self) -> Keywords:
        """The keywords of this mailbox."""

    def first_unseen(self) -> int:
        """The number of the first message without `\\Seen`; 0 where there is none."""

    def news(self, *, expunges: bool) -> Iterable[Change]:
        """Look what others did, and say it; removals only where they may be told now."""

    def message(self, uid: int) -> Message:
        """Give a message that the client knows."""

    def store(
        self,
        uids: Sequence[int],
        how: Literal["+", "-", "="],
        flags: Collection[str],
        *,
        durable: bool = True,
    ) -> Sequence[int]:
        """Change flags; give the UIDs of messages that are gone. The changes are not news."""

    def search(self, key: Key) -> list[int]:
        """Give the UIDs of the messages that match, in order."""

    def copy(self, uids: Sequence[int], name: str) -> Copied:
        """Copy to another mailbox, all or none; durable when it returns."""

    def move(self, uids: Sequence[int], name: str) -> Copied:
        """Move to another mailbox; the removals are news."""

    def expunge(self, uids: Collection[int] | None) -> None:
        """Remove what is `\\Deleted`, of these or of all; the removals are news."""

    def close(self) -> None:
        """Leave the mailbox."""


class Appending(Protocol):
    """Messages on their way into a mailbox: all appear with `commit`, or none."""

    def begin(self, flags: Collection[str], internal_date: float | None) -> None:
        """Start the next message."""

    def write(self, data: bytes) -> None:
        """Add disk text to it."""

    def commit(self) -> tuple[int, Sequence[int]]:
        """Put all in the mailbox, durably; give UIDVALIDITY and their UIDs."""

    def abort(self) -> None:
        """Throw all away."""


class Session(Protocol):
    """A mailbox owner who is logged in."""

    append_limit: int
    """Octets of a message at most (RFC 7889)."""

    def folders(self) -> Sequence[Folder]:
        """All mailboxes, and names that are subscribed to only."""

    def create(self, name: str) -> None:
        """Make a mailbox; raise FolderExists or BadFolderName."""

    def delete(self, name: str) -> None:
        """Remove a mailbox with its messages; raise NoSuchFolder or BadFolderName."""

    def rename(self, name: str, target: str) -> None:
        """Rename a mailbox and what is below; of INBOX, move the messages (RFC 3501 6.3.5)."""

    def subscribe(self, name: str, *, on: bool) -> None:
        """Subscribe to a name, or no longer."""

    def status(self, name: str, *, size: bool) -> Status:
        """Count, and with `size` add the sizes up; raise NoSuchFolder."""

    def append(self, name: str) -> Appending:
        """Begin to append; raise NoSuchFolder."""

    def select(self, name: str, *, read_only: bool) -> View:
        """Open a mailbox; raise NoSuchFolder."""

    def close(self) -> None:
        """The session is over."""


class Site(Protocol):
    """Who lets people in."""

    @property
    def authority(self) -> sasl.Authority[Any]:
        """Who knows the accounts."""

    @property
    def mechanisms(self) -> Sequence[str]:
        """SASL mechanisms to offer; the engine leaves out those that would show a secret."""

    def open(self, identity: Any, /) -> Session:
        """Begin the session of whom the authority has let in; raise a Failure."""
