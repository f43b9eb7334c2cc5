"""What is said between an IMAP engine and its session: mailboxes, counts, changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

SYSTEM_FLAGS = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")


class Folder(NamedTuple):
    """A mailbox as LIST shows it: there is none called so where `exists` is false."""

    name: str
    exists: bool = True
    subscribed: bool = False
    use: str = ""
    """A special use (RFC 6154): `\\Sent`."""


class Status(NamedTuple):
    """What STATUS tells (RFC 3501 6.3.10, RFC 8438, RFC 9051 6.3.11)."""

    messages: int
    recent: int
    unseen: int
    deleted: int
    size: int
    uidnext: int
    uidvalidity: int


class Copied(NamedTuple):
    """Where copies went: COPYUID's facts (RFC 4315 3); UIDs pairwise, in order of the sources."""

    uidvalidity: int
    sources: Sequence[int]
    targets: Sequence[int]
    missing: bool = False
    """Whether some of the messages asked for are gone."""


class Expunged(NamedTuple):
    """Message `number` is gone; those behind it move up by one."""

    number: int


class Changed(NamedTuple):
    """The flags of a message changed."""

    number: int
    uid: int
    flags: Collection[str]


class Counted(NamedTuple):
    """How many messages there are, and how many of them are recent."""

    exists: int
    recent: int


class Keywords(NamedTuple):
    """The keywords that can stand at messages of this mailbox, and whether more can be made."""

    names: Sequence[str]
    more: bool


Change = Expunged | Changed | Counted | Keywords
