"""Whether a Maildir has room for what a client puts there: the quota that deliveries ask too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mailtools.errors import MailboxFull
from mailtools.store.maildir_names import Message

if TYPE_CHECKING:
    from mailtools.store.quota import Quota


class Room:
    """The room of one Maildir with its folders."""

    def __init__(self, quota: Quota | None = None) -> None:
        """Take its quota; None: there is room for everything."""
        self._quota = quota

    def need(self, octets: int, messages: int) -> None:
        """Raise MailboxFull where so much more is too much."""
        if self._quota is not None and not self._quota.allows(octets, messages):
            raise MailboxFull("The mailbox would be over its quota")

    def need_copies(self, messages: Iterable[Message]) -> None:
        """Raise MailboxFull where copies of these are too much."""
        if self._quota is not None:
            sizes = [_size(message) for message in messages]
            self.need(sum(sizes), len(sizes))

    def came(self, messages: Iterable[Message]) -> None:
        """Note what was put there."""
        self._note(messages, 1)

    def went(self, messages: Iterable[Message]) -> None:
        """Note what was removed."""
        self._note(messages, -1)

    def _note(self, messages: Iterable[Message], sign: int) -> None:
        if self._quota is not None:
            sizes = [_size(message) for message in messages]
            if sizes:
                self._quota.add(sign * sum(sizes), sign * len(sizes))


def _size(message: Message) -> int:
    try:
        return message.size
    except OSError:  # it has just gone, or only its own name says it is a message
        return 0


ANY_ROOM = Room()
