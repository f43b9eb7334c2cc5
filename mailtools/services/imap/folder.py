"""A Maildir folder as IMAP needs it: its messages with UIDs, and flags as letters and as words."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from mailtools import log
from mailtools.errors import NoSuchFolder, NoSuchMessage, QueueFull
from mailtools.store import disk
from mailtools.store.keywords import Keywords
from mailtools.store.maildir import Maildir
from mailtools.store.maildir_names import Message
from mailtools.store.uidlist import UidList

LETTERS = {
    "\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T",
}  # fmt: skip
SYSTEM_LETTERS = "".join(LETTERS.values())
KEYWORD_LETTERS = "abcdefghijklmnopqrstuvwxyz"

# P (passed on) has no word in IMAP: it is kept as it is.
_WORDS = {letter: word for word, letter in LETTERS.items()}


class Folder:
    """A folder, opened: what is read of it is kept, and read again when it changes."""

    def __init__(self, maildir: Maildir) -> None:
        """Take the Maildir; nothing is read yet."""
        self.maildir = maildir
        self.uidlist = UidList(maildir)
        self._keywords = Keywords(self.uidlist)
        self._words: dict[str, tuple[str, ...]] = {}
        self._names: list[str] | None = None
        self._shown: list[tuple[int, Message]] = []  # on a full disk
        self._hidden = 0

    def messages(self) -> list[tuple[int, Message]]:
        """List UIDs and messages, in order; the same list while nothing has changed.

        On a full disk those that have no UID yet are left out: what is there can be read, and
        removed. Raises NoSuchFolder where the folder was removed.
        """
        listed = self._list()
        try:
            found = self.uidlist.sync(listed)
        except QueueFull as failure:
            return self._known(listed, failure)
        self._hidden = 0
        return found

    def _known(self, listed: list[Message], failure: QueueFull) -> list[tuple[int, Message]]:
        found = self.uidlist.known(listed)
        hidden = len(listed) - len(found)
        if hidden != self._hidden:
            self._hidden = hidden
            path, why = self.maildir.path, failure.detail or failure.text
            log.event("hidden", proto="imap", folder=path, messages=hidden, reason=why)
        if found != self._shown:
            self._shown = found
        return self._shown

    def _list(self) -> list[Message]:
        listed = self.maildir.messages()
        if not listed and not self.maildir.exists:
            raise NoSuchFolder("The mailbox was removed")
        return listed

    def uids_of(self, messages: Iterable[Message], *, all_: bool = True) -> list[int]:
        """Give messages that have just come their UIDs; one that is gone already has 0.

        Raises QueueFull; unless it must be `all_`: then what gets no UID on a full disk has 0 too.
        """
        if all_:
            self.uidlist.sync(self._list())
        else:
            self.messages()
        records = (self.uidlist.record(message.unique) for message in messages)
        return [record.uid if record else 0 for record in records]

    # -- flags ------------------------------------------------------------------------------------

    def keywords(self) -> list[str]:
        """The keywords of the folder, as they are now."""
        names = self._keywords.names()
        if names != self._names:
            self._names = names
            self._words.clear()
        return names

    def words(self, letters: str) -> tuple[str, ...]:
        """Give the flags and keywords for the letters in a name."""
        found = self._words.get(letters)
        if found is None:
            system = [_WORDS[letter] for letter in letters if letter in _WORDS]
            found = self._words[letters] = (*system, *self._keywords.named(letters))
        return found

    def letters(self, words: Collection[str], *, make: bool = True) -> str:
        """Give the letters for flags and keywords; with `make`, new keywords get one, durably."""
        system = "".join(LETTERS[word] for word in words if word in LETTERS)
        others = [word for word in words if word not in LETTERS and word[0] != "\\"]
        if not make and others:
            known = {name.lower() for name in self.keywords()}
            others = [word for word in others if word.lower() in known]
        if not others:
            return system
        found = self._keywords.letters(others)
        self.keywords()
        return system + found

    # -- sizes and times --------------------------------------------------------------------------

    def wire_size(self, message: Message) -> int:
        """Octets with CRLF; raise NoSuchMessage."""
        if ",W=" not in message.name:
            record = self.uidlist.record(message.unique)
            size, wire = (record.field("S"), record.field("W")) if record else (None, None)
            if size and wire and size.isdigit() and wire.isdigit():
                message.know_sizes(int(size), int(wire))
        try:
            return message.wire_size
        except FileNotFoundError:
            return self._again(message).wire_size
        except OSError as error:
            raise disk.trouble(error, "read", message.path) from error

    def status(self, message: Message) -> os.stat_result:
        """Stat a message's file; raise NoSuchMessage."""
        try:
            return os.stat(message.path)
        except FileNotFoundError:
            return os.stat(self._again(message).path)
        except OSError as error:
            raise disk.trouble(error, "read", message.path) from error

    def _again(self, message: Message) -> Message:
        found = self.maildir.find(message.unique)
        if not found:
            raise NoSuchMessage
        return found
