"""A selected mailbox as one client knows it (RFC 3501 2.3.1.2, 5.2, 7.4.1).

The folder is the truth and changes at any time; the view is what the client was told. `news` is
the only place where the one becomes the other, so numbers never change behind a client's back.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal

from mailtools.errors import NoSuchMessage, QueueFull
from mailtools.protocol.imap.search_keys import Key
from mailtools.protocol.imap.values import Change, Changed, Copied, Counted, Expunged, Keywords
from mailtools.services.imap.folder import KEYWORD_LETTERS, SYSTEM_LETTERS, Folder
from mailtools.services.imap.message import ImapMessage, RecentStructures
from mailtools.services.imap.room import ANY_ROOM, Room
from mailtools.services.imap.search import Search
from mailtools.store.maildir_names import Message

KEYWORDS_MOST = len(KEYWORD_LETTERS)

OpenFolder = Callable[[str], Folder]


class ImapView:
    """A mailbox that a client has selected."""

    def __init__(
        self, folder: Folder, open_target: OpenFolder, *, read_only: bool, room: Room = ANY_ROOM
    ) -> None:
        """Open it; `open_target` gives the folder a message is to be copied to, by its name."""
        self.read_only, self._room = read_only, room
        self._folder = folder
        self._open_target = open_target
        self._structures = RecentStructures()
        self._listed: list[tuple[int, Message]] = []
        self._messages: dict[int, Message] = {}  # as the folder has them; those gone, as they were
        self._told: dict[int, str] = {}  # letters the client knows
        self._gone: set[int] = set()  # UIDs the client still counts
        self._recent: set[int] = set()
        self._told_counts = (0, 0)
        self.uids: list[int] = []
        """What the client counts."""
        self._told_keywords = folder.keywords()
        self._look()
        self._take_in_new()
        self.uidvalidity = folder.uidlist.uidvalidity

    # -- counting ---------------------------------------------------------------------------------

    @property
    def uidnext(self) -> int:
        """The UID that the next message gets at least."""
        return self._folder.uidlist.next_uid

    @property
    def recent(self) -> int:
        """How many messages are recent."""
        return len(self._recent)

    @property
    def keywords(self) -> Keywords:
        """The keywords of this mailbox."""
        names = tuple(self._folder.keywords())
        return Keywords(names, len(names) < KEYWORDS_MOST)

    def first_unseen(self) -> int:
        """The number of the first message without `\\Seen`."""
        for number, uid in enumerate(self.uids, 1):
            if "S" not in self._told[uid]:
                return number
        return 0

    # -- news -------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """See what the folder holds now; tell whether that is something else than before."""
        listed = self._folder.messages()
        if listed is self._listed:
            return False
        self._listed = listed
        found = dict(listed)
        self._gone = {uid for uid in self.uids if uid not in found}
        for uid in self._gone:
            found[uid] = self._messages[uid]
        self._messages = found
        return True

    def _take_in_new(self) -> None:
        """Count messages the client does not know; those that nobody took yet are recent."""
        last = self.uids[-1] if self.uids else 0
        place = bisect_left(self._listed, last + 1, key=_uid)
        for uid, listed in self._listed[place:]:
            message = listed
            if message.new:
                try:
                    if not self.read_only:
                        message = self._folder.maildir.take(message)
                    self._recent.add(uid)
                except NoSuchMessage:
                    self._gone.add(uid)
                except QueueFull:
                    pass  # no room for the name: it stays new, and can be read
            self._messages[uid] = message
            self._told[uid] = message.flags
            self.uids.append(uid)
        self._told_counts = (len(self.uids), len(self._recent))

    def news(self, *, expunges: bool) -> Iterator[Change]:
        """Look what others did, and tell it; removals only where they may be told now."""
        changed = self._look()
        if not changed and not (expunges and self._gone):
            return
        if expunges and self._gone:
            yield from self._tell_gone()
        names = self._folder.keywords()
        if names != self._told_keywords:
            self._told_keywords = names
            yield self.keywords
        yield from self._tell_flags()
        before = self._told_counts
        self._take_in_new()
        if self._told_counts != before:
            yield Counted(*self._told_counts)

    def _tell_gone(self) -> Iterator[Change]:
        gone, self._gone = self._gone, set()
        numbers = [number for number, uid in enumerate(self.uids, 1) if uid in gone]
        self.uids = [uid for uid in self.uids if uid not in gone]
        for uid in gone:
            del self._messages[uid], self._told[uid]
        self._recent -= gone
        # The client counts down by itself, except what was recent.
        self._told_counts = (len(self.uids), self._told_counts[1])
        for number in reversed(numbers):  # the last first, so that the others keep their numbers
            yield Expunged(number)

    def _tell_flags(self) -> Iterator[Change]:
        messages, told = self._messages, self._told
        for number, uid in enumerate(self.uids, 1):
            letters = messages[uid].flags
            if letters != told[uid] and uid not in self._gone:
                told[uid] = letters
                yield Changed(number, uid, self.message(uid).flags)

    # -- messages ---------------------------------------------------------------------------------

    def message(self, uid: int) -> ImapMessage:
        """Give a message that the client knows."""
        return ImapMessage(
            self._folder, uid, self._messages[uid], self._structures, uid in self._recent
        )

    def search(self, key: Key) -> list[int]:
        """Give the UIDs of the messages that match, in order."""
        return Search(key).among(self.message(uid) for uid in self.uids)

    def store(
        self,
        uids: Sequence[int],
        how: Literal["+", "-", "="],
        flags: Collection[str],
        *,
        durable: bool = True,
    ) -> list[int]:
        """Change flags; give the UIDs of messages that are gone."""
        letters = self._folder.letters(flags, make=how != "-")
        add = "" if how == "-" else letters
        remove = letters if how == "-" else ""
        if how == "=":
            remove = "".join(set(SYSTEM_LETTERS + KEYWORD_LETTERS) - set(letters))
        gone: list[int] = []
        for uid in uids:
            try:
                message = self._folder.maildir.change_flags(self._messages[uid], add, remove)
            except NoSuchMessage:
                gone.append(uid)
                continue
            self._messages[uid] = message
            # What others did to the flags meanwhile is still to be told.
            self._told[uid] = _changed(self._told[uid], add, remove)
        if durable and len(gone) < len(uids):
            self._folder.maildir.sync()
        return gone

    # -- copying, moving, removing ----------------------------------------------------------------

    def copy(self, uids: Sequence[int], name: str) -> Copied:
        """Copy to another mailbox, all or none."""
        target = self._open_target(name)
        self._room.need_copies(self._messages[uid] for uid in uids)
        made: list[Message] = []
        try:
            for uid in uids:
                message = self._messages[uid]
                letters = self._letters_there(message, target)
                made.append(self._folder.maildir.copy(message, target.maildir, letters, sync=False))
            target.maildir.sync()
            placed = target.uids_of(made)
        except BaseException:
            for copied in made:  # RFC 3501 6.4.7: all or none
                target.maildir.remove(copied)
            raise
        self._room.came(made)
        return Copied(target.uidlist.uidvalidity, list(uids), placed)

    def move(self, uids: Sequence[int], name: str) -> Copied:
        """Move to another mailbox; each message is in one of the two at any time (RFC 6851 3.3)."""
        target = self._open_target(name)
        sources: list[int] = []
        made: list[Message] = []
        try:
            for uid in uids:
                message = self._messages[uid]
                letters = self._letters_there(message, target)
                try:
                    moved = self._folder.maildir.move(message, target.maildir, letters, sync=False)
                except NoSuchMessage:
                    continue
                made.append(moved)
                sources.append(uid)
        finally:
            if made:
                target.maildir.sync()
                self._folder.maildir.sync()
        placed = target.uids_of(made, all_=False)
        return Copied(target.uidlist.uidvalidity, sources, placed, len(sources) < len(uids))

    def _letters_there(self, message: Message, target: Folder) -> str:
        """The letters of the copy: keywords have other letters in another folder."""
        kept = "".join(letter for letter in message.flags if letter not in KEYWORD_LETTERS)
        words = self._folder.words(message.flags)
        return kept + target.letters([word for word in words if word[0] != "\\"])

    def expunge(self, uids: Collection[int] | None) -> None:
        """Remove what is `\\Deleted`, of these or of all that the client knows."""
        self._look()
        wanted = self._messages if uids is None else set(uids)
        chosen = [uid for uid in self.uids if uid in wanted]
        removed = []
        for uid in chosen:
            message = self._messages[uid]
            deleted = "T" in message.flags and uid not in self._gone
            if deleted and self._folder.maildir.remove(message):
                removed.append(message)
        if removed:
            self._folder.maildir.sync()
            self._room.went(removed)

    def close(self) -> None:
        """Leave the mailbox."""
        self._recent.clear()

    def is_of(self, folder: Folder) -> bool:
        """Whether it shows this folder."""
        return self._folder is folder

    @property
    def taken(self) -> int:
        """How many messages were taken from new/ and are recent to this client alone."""
        return 0 if self.read_only else len(self._recent)


def _uid(listed: tuple[int, Message]) -> int:
    return listed[0]


def _changed(letters: str, add: str, remove: str) -> str:
    return "".join(sorted((set(letters) | set(add)) - set(remove)))
