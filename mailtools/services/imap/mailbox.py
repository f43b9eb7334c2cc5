"""The mailboxes of one Maildir as IMAP shows them: list, make, rename, append, select."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from mailtools.errors import BadFolderName, Failure, FolderExists, NoSuchFolder, PolicyRefused
from mailtools.protocol.imap import values
from mailtools.services.imap.folder import Folder
from mailtools.services.imap.room import ANY_ROOM, Room
from mailtools.store.maildir import Maildir
from mailtools.store.maildir_delivery import Delivery
from mailtools.store.maildir_names import Message
from mailtools.store.subscriptions import Subscriptions

if TYPE_CHECKING:
    from mailtools.services.imap.view import ImapView

KEPT = 64  # folders of which what was read is kept
APPENDED_MOST = 200  # messages of one APPEND

# Well-known names, the usual one of each use first (RFC 6154).
_USES = (
    ("\\Drafts", ("drafts", "draft")),
    ("\\Sent", ("sent", "sent messages", "sent items", "sent mail")),
    ("\\Trash", ("trash", "deleted messages", "deleted items")),
    ("\\Junk", ("junk", "spam", "junk e-mail", "junk email", "bulk mail")),
    ("\\Archive", ("archive", "archives")),
)


class ImapSession:
    """One Maildir with its folders, for one session."""

    def __init__(self, path: str, *, append_limit: int, room: Room = ANY_ROOM) -> None:
        """Take the Maildir's root, the octets a message may have that is appended, and its room."""
        self.append_limit, self._room = append_limit, room
        self._root = Maildir(path)
        self._subscriptions = Subscriptions(path)
        self._open: dict[str, Folder] = {}
        self._view: ImapView | None = None  # of the mailbox that is selected

    # -- folders ----------------------------------------------------------------------------------

    def folders(self) -> list[values.Folder]:
        """All folders, and names that are subscribed to only."""
        names = ["INBOX", *self._root.folders()]
        subscribed = set(self._subscriptions.names())
        uses = special_uses(names)
        found = [
            values.Folder(name, subscribed=name in subscribed, use=uses.get(name, ""))
            for name in names
        ]
        missing = sorted(subscribed - set(names))
        return found + [values.Folder(name, exists=False, subscribed=True) for name in missing]

    def _folder(self, name: str) -> Folder:
        """Open a folder; raise NoSuchFolder."""
        folder = self._open.pop(name, None)
        if folder is None:
            try:
                folder = Folder(self._root.folder(name))
            except BadFolderName:
                raise NoSuchFolder from None
        if not folder.maildir.exists:
            raise NoSuchFolder
        self._open[name] = folder  # the last used is the last
        if len(self._open) > KEPT:
            del self._open[next(iter(self._open))]
        return folder

    def create(self, name: str) -> None:
        """Make a folder."""
        self._root.make_folder(name)

    def delete(self, name: str) -> None:
        """Remove a folder with its messages."""
        self._open.pop(name, None)
        if not self._root.folder(name).exists:
            raise NoSuchFolder
        self._root.remove_folder(name)

    def rename(self, name: str, target: str) -> None:
        """Rename a folder and all below it; of INBOX, move the messages (RFC 3501 6.3.5)."""
        if target == "INBOX" or self._root.folder(target).exists:
            raise FolderExists
        if name != "INBOX":
            self._open.clear()
            self._root.rename_folder(name, target)
            return
        self.create(target)
        inbox = self._make_view("INBOX", read_only=True)
        inbox.move(inbox.uids, target)

    def subscribe(self, name: str, *, on: bool) -> None:
        """Subscribe to a name, or no longer."""
        if on:
            self._root.folder(name)  # a name that none can have is refused
            self._subscriptions.add(name)
        else:
            self._subscriptions.remove(name)

    def status(self, name: str, *, size: bool) -> values.Status:
        """Count the messages of a folder; no file is opened."""
        folder = self._folder(name)
        listed = folder.messages()
        recent = sum(message.new for _, message in listed)
        if self._view is not None and self._view.is_of(folder):
            recent += self._view.taken
        total = 0
        if size:
            for _, message in listed:
                try:
                    total += folder.wire_size(message)
                except Failure:
                    continue  # it has just gone
        return values.Status(
            messages=len(listed),
            recent=recent,
            unseen=sum("S" not in message.flags for _, message in listed),
            deleted=sum("T" in message.flags for _, message in listed),
            size=total,
            uidnext=folder.uidlist.next_uid,
            uidvalidity=folder.uidlist.uidvalidity,
        )

    # -- messages ---------------------------------------------------------------------------------

    def select(self, name: str, *, read_only: bool) -> ImapView:
        """Open a folder."""
        self._view = self._make_view(name, read_only=read_only)
        return self._view

    def _make_view(self, name: str, *, read_only: bool) -> ImapView:
        from mailtools.services.imap.view import ImapView  # see session.preload

        folder = self._folder(name)
        return ImapView(folder, self._folder, read_only=read_only, room=self._room)

    def append(self, name: str) -> Appending:
        """Begin to append."""
        return Appending(self._folder(name), self._room)

    def close(self) -> None:
        """The session is over."""
        self._open.clear()
        self._view = None


class Appending:
    """Messages on their way into a folder: all appear with `commit`, or none."""

    def __init__(self, folder: Folder, room: Room) -> None:
        """Take the folder, and the Maildir's room."""
        self._folder, self._room = folder, room
        self._waiting: list[tuple[Delivery, Collection[str], float | None]] = []

    def begin(self, flags: Collection[str], internal_date: float | None) -> None:
        """Start the next message."""
        if len(self._waiting) >= APPENDED_MOST:
            raise PolicyRefused(f"One APPEND takes {APPENDED_MOST} messages")
        self._need()
        self._waiting.append((self._folder.maildir.begin(), flags, internal_date))

    def _need(self) -> None:
        octets = sum(delivery.size for delivery, _, _ in self._waiting)
        self._room.need(octets, len(self._waiting))

    def write(self, data: bytes) -> None:
        """Add disk text to it."""
        self._waiting[-1][0].write(data)

    def commit(self) -> tuple[int, Sequence[int]]:
        """Put all in the folder, durably; give UIDVALIDITY and their UIDs."""
        made: list[Message] = []
        try:
            self._need()
            for delivery, flags, internal_date in self._waiting:
                made.append(delivery.commit(self._folder.letters(flags), internal_date))
            uids = self._folder.uids_of(made)
        except BaseException:
            for message in made:
                self._folder.maildir.remove(message)
            self.abort()
            raise
        self._waiting.clear()
        self._room.came(made)
        return self._folder.uidlist.uidvalidity, uids

    def abort(self) -> None:
        """Throw all away."""
        for delivery, _, _ in self._waiting:
            delivery.abort()
        self._waiting.clear()


def special_uses(names: Sequence[str]) -> dict[str, str]:
    """Give the use of each folder that has one, by its well-known name; each use is given once."""
    by_key = {name.lower(): name for name in names}
    found: dict[str, str] = {}
    for use, usual in _USES:
        name = next((by_key[key] for key in usual if key in by_key), None)
        if name:
            found[name] = use
    return found
