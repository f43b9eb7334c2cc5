"""A Maildir: deliver, list, take, flag, remove, copy, sweep — by many programs at once, unlocked.

Which races there are, and how each is settled. Readers and deliverers are many, of several kinds
(ours, Dovecot, Courier, mutt), on one host or on several over a network file system, and none of
them holds a lock. What all of them keep: a message is written in tmp/ and appears in new/ or cur/
whole; afterwards it is only ever renamed or unlinked, and both are atomic.

*Two deliveries choose one name.* They cannot: the name has microseconds, process, 48 random bits
and host. A test for the name would help nobody, since in cur/ it carries flags. A delivery whose
name is given (made of a queue entry's ID and a forward-path) is one delivery, perhaps repeated
after a crash: it looks for its own file in new/ and cur/ first, and finding it is success.

*A name changes while we hold it.* Another reader took the message from new/, or changed a flag:
open, rename or unlink says ENOENT. Then the unique part is looked up in one fresh scan, and the
call is made again on the name found; when that fails too, or nothing is found, the message is gone.
Gone is a failure for reading and flagging, and success for removing. Two readers who change
different flags at once both win, as `change_flags` adds and takes letters from the name of the
moment; two who set all letters (`set_flags`) leave the letters of the last.

*A scan is not a moment.* While we read a directory, a message that is renamed may be passed over,
or seen under both names. Seen twice: if one of the names is gone, the other is the message; if both
are there, two programs used rename and link across each other, or a program made a poor unique
part. Neither may be thrown away, as they may differ, so the second gets a new unique part, and its
reader sees a message more. Passed over: what we knew and now miss is looked for in a second scan
before it counts as removed, so no reader hears of an expunge that was a rename. Left: a first look
may miss a message for a moment; the next one has it.

*Changes between two looks.* Any delivery, rename or removal changes the mtime of new/ or cur/;
while both are what they were, a look costs two stats. But an mtime has a grain (4 ms on ext4, a
second on older systems) and hosts have different clocks. So an mtime is believed only when it was
more than SLACK seconds old at the look; until then every look scans.

*Power cuts.* Content, then name, is synced before a delivery is acknowledged. Flags are renames
without a sync: a cut may undo the last ones, and `sync` makes them last where a caller promises so.
What a crash leaves in tmp/ is swept when it is 36 hours old, by which time no deliverer still
writes there (maildir(5)).

Left as they are: clocks that differ by more than SLACK between hosts (a change may be seen late, on
the next one), and file systems whose rename is not atomic (there is no Maildir on them).
"""

import errno
import os
import time
from collections.abc import Callable
from io import FileIO
from typing import TypeVar

from mailtools.errors import Failure, NoSuchFolder, NoSuchMessage, SystemTrouble
from mailtools.store import disk, maildir_folders
from mailtools.store.maildir_delivery import Delivery, create
from mailtools.store.maildir_names import CUR, NEW, Message, info, unique_name
from mailtools.store.plain_file import opener

T = TypeVar("T")
SLACK = 1.0  # seconds: the grain of mtimes and the drift of clocks
SWEEP_AGE = 36 * 3600  # seconds: maildir(5)


class Maildir:
    """A Maildir folder, a root (INBOX) or a Maildir++ subfolder; made without touching the disk."""

    def __init__(self, path: str) -> None:
        """Name the folder; it is created by `create`, or by the first delivery."""
        self.path = path
        self._known: dict[str, Message] = {}
        """By unique part."""
        self._seen: dict[str, dict[str, Message]] = {NEW: {}, CUR: {}}
        """What each directory held at the last scan, by name."""
        self._believed: dict[str, int | None] = {NEW: None, CUR: None}
        """The mtime each had then, where it was old enough."""
        self._listed: list[Message] | None = []
        """What `messages` gave last; None after a change of our own."""
        self._unsynced: set[str] = set()
        """Directories changed by us since the last `sync`."""

    # -- the folder -------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return os.path.isdir(f"{self.path}/cur")

    def create(self) -> None:
        """Make it with tmp/, new/ and cur/, durably; what is there stays."""
        create(self.path)

    def sync(self) -> None:
        """Make what was flagged, taken, removed and copied here survive a power cut."""
        while self._unsynced:
            disk.sync_directory(f"{self.path}/{min(self._unsynced)}")
            self._unsynced.discard(min(self._unsynced))

    def sweep(self, now: float | None = None) -> int:
        """Remove what has lain in tmp/ for 36 hours; give the number of files removed."""
        oldest = (time.time() if now is None else now) - SWEEP_AGE
        swept = 0
        for name in _names(f"{self.path}/tmp"):
            path = f"{self.path}/tmp/{name}"
            try:
                # ctime too: a copy keeps an old mtime.
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            if max(status.st_mtime, status.st_ctime) < oldest:
                swept += disk.remove(path)
        return swept

    # -- deliver ----------------------------------------------------------------------------------

    def begin(self, unique: str = "", *, repeated: bool = True) -> Delivery:
        """Start a delivery; the Maildir is created where it is missing.

        `unique` is the left part of a name (before the host) that stands for this one delivery;
        unless `repeated` is false, the commit looks for it in new/ and cur/ first, and where it
        was committed before, that is success.
        """

        def find(name: str) -> Message | None:
            return self._find_delivered(f"{unique}.", name)

        return Delivery(self.path, unique_name(unique), find if unique and repeated else None)

    def _find_delivered(self, start: str, name: str) -> Message | None:
        # Not by listing new/: a thousand deliveries to one Maildir would list it a thousand times.
        if os.path.lexists(f"{self.path}/{NEW}/{name}"):
            return Message(self.path, NEW, name)
        if self._stale(CUR):
            self._read(CUR)
            self._listed = None
        taken = (m for other, m in self._seen[CUR].items() if other.startswith(start))
        return next(taken, None)

    # -- list -------------------------------------------------------------------------------------

    def messages(self, *, fresh: bool = False) -> list[Message]:
        """List new/ and cur/, in no order; the same list object while nothing has changed.

        Two stats while the directories' mtimes are those of the last look and old enough to be
        believed; `fresh` scans in any case. A Maildir that is not there is empty.
        """
        changed = [self._read(folder) for folder in (NEW, CUR) if fresh or self._stale(folder)]
        if self._listed is not None and not any(changed):
            return self._listed
        known = self._join()
        if not self._known.keys() <= known.keys():  # perhaps renamed while we read: look again
            self._read(NEW)
            self._read(CUR)
            known |= self._join()
        self._known = known
        self._listed = list(known.values())
        return self._listed

    def find(self, unique: str) -> Message | None:
        """Look a message up by its unique part, in a fresh scan; None when it is gone."""
        self.messages(fresh=True)
        return self._known.get(unique)

    def _stale(self, folder: str) -> bool:
        return self._believed[folder] is None or self._believed[folder] != self._mtime(folder)

    def _mtime(self, folder: str) -> int:
        try:
            return os.stat(f"{self.path}/{folder}").st_mtime_ns
        except FileNotFoundError:
            return -1
        except OSError as error:
            raise disk.trouble(error, "read", f"{self.path}/{folder}") from error

    def _read(self, folder: str) -> bool:
        """Scan one directory; tell whether it holds other names than before."""
        now = time.time()
        mtime = self._mtime(folder)
        before = self._seen[folder]
        names = _names(f"{self.path}/{folder}")
        seen = {
            name: before.get(name) or Message(self.path, folder, name)
            for name in names
            if name[0] != "."
        }
        self._seen[folder] = seen
        self._believed[folder] = mtime if mtime < (now - SLACK) * 1e9 else None
        return seen.keys() != before.keys()

    def _join(self) -> dict[str, Message]:
        known: dict[str, Message] = {}
        for folder in (NEW, CUR):
            for message in list(self._seen[folder].values()):
                other = known.setdefault(message.unique, message)
                if other is not message:
                    chosen, apart = self._settle(other, message)
                    known[chosen.unique] = chosen
                    if apart:
                        known[apart.unique] = apart
        return known

    def _settle(self, first: Message, second: Message) -> tuple[Message, Message | None]:
        """Two names with one unique part: see the head of the module."""
        one, two = _status(first.path), _status(second.path)
        if not one or not two:
            return (second, None) if two else (first, None)
        if (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino):
            return second, None
        unique = unique_name()
        name = unique + second.name.removeprefix(second.unique)
        try:
            disk.move(second.path, f"{self.path}/{second.folder}/{name}")
        except (FileNotFoundError, Failure):  # renamed meanwhile, or a Maildir we may only read
            return first, None
        return first, self._renamed(second, second.folder, name)

    # -- take, flag, remove -----------------------------------------------------------------------

    def open(self, message: Message) -> FileIO:
        """Open a message for reading, unbuffered; raise NoSuchMessage when it is gone."""
        return self._follow(message, lambda found: FileIO(found.path, opener=opener))

    def take(self, message: Message) -> Message:
        """Move a message from new/ to cur/; give it under its name there, or NoSuchMessage."""
        return self._follow(message, lambda found: self._flag(found, found.flags))

    def set_flags(self, message: Message, letters: str) -> Message:
        """Make these its flags, all others go; it moves to cur/. NoSuchMessage when it is gone."""
        return self._follow(message, lambda found: self._flag(found, letters))

    def change_flags(self, message: Message, add: str = "", remove: str = "") -> Message:
        """Add and take letters, leaving those that others set meanwhile; as `set_flags` else."""

        def change(found: Message) -> Message:
            return self._flag(found, "".join((set(found.flags) | set(add)) - set(remove)))

        return self._follow(message, change)

    def remove(self, message: Message) -> bool:
        """Unlink a message, under whatever name it has now; False when it was gone already."""
        for _ in range(2):
            if disk.remove(message.path):
                self._forget(message)
                return True
            found = self.find(message.unique)
            if not found:
                return False
            message = found
        return False

    def copy(
        self, message: Message, other: "Maildir", flags: str = "", *, sync: bool = True
    ) -> Message:
        """Copy a message into cur/ of another folder, by hard link where that can be.

        Its INTERNALDATE stays. `flags` are the copy's letters (keywords have other letters in
        another folder). Without `sync` the caller syncs `other` after the last one. Raises
        NoSuchMessage, NoSuchFolder.
        """
        return self._place(message, other, flags, move=False, sync=sync)

    def move(
        self, message: Message, other: "Maildir", flags: str = "", *, sync: bool = True
    ) -> Message:
        """Move a message into cur/ of another folder, in one rename where that can be.

        As `copy`; without `sync` the caller syncs first `other`, then this one.
        """
        return self._place(message, other, flags, move=True, sync=sync)

    def _place(
        self, message: Message, other: "Maildir", flags: str, *, move: bool, sync: bool
    ) -> Message:
        def one(found: Message) -> Message:
            name = f"{unique_name()},S={found.size},W={found.wire_size}{info(flags)}"
            target = f"{other.path}/{CUR}/{name}"
            if move:
                disk.move(found.path, target)
                self._forget(found)
            else:
                disk.link(found.path, target)
            other._unsynced.add(CUR)
            return Message(other.path, CUR, name)

        try:
            placed = self._follow(message, one)
        except NoSuchMessage:
            if not other.exists:
                raise NoSuchFolder from None
            raise
        except SystemTrouble as failure:
            if not _needs_a_copy(failure):
                raise
            placed = self._follow(message, lambda found: self._rewrite(found, other, flags))
            if move:
                self.remove(message)
        if sync:
            other.sync()
            if move:
                self.sync()  # or a power cut could leave it in both
        return placed

    def _rewrite(self, found: Message, other: "Maildir", flags: str) -> Message:
        with FileIO(found.path, opener=opener) as file:
            delivery = other.begin()
            try:
                while data := file.read(disk.BUFFER):
                    delivery.write(data)
            except BaseException:
                delivery.abort()
                raise
            return delivery.commit(flags, os.fstat(file.fileno()).st_mtime, new=False)

    def _follow(self, message: Message, call: Callable[[Message], T]) -> T:
        """Call, and once more under the name of the moment when the name we hold is gone."""
        try:
            return call(message)
        except FileNotFoundError:
            found = self.find(message.unique)
        except OSError as error:
            raise disk.trouble(error, "read", message.path) from error
        if not found:
            raise NoSuchMessage
        try:
            return call(found)
        except FileNotFoundError:
            raise NoSuchMessage from None
        except OSError as error:
            raise disk.trouble(error, "read", message.path) from error

    def _flag(self, found: Message, letters: str) -> Message:
        name = found.base + info(letters, found.more)
        if found.folder == CUR and found.name == name:
            return found
        disk.move(found.path, f"{self.path}/{CUR}/{name}")
        return self._renamed(found, CUR, name)

    def _renamed(self, old: Message, folder: str, name: str) -> Message:
        message = old.renamed(folder, name)
        self._forget(old)
        self._unsynced.add(folder)
        self._seen[folder][name] = message
        self._known[message.unique] = message
        return message

    def _forget(self, message: Message) -> None:
        """Note a removal of our own, so that it is not looked for."""
        self._unsynced.add(message.folder)
        self._seen[message.folder].pop(message.name, None)
        self._known.pop(message.unique, None)
        self._listed = None

    # -- folders (Maildir++) ----------------------------------------------------------------------

    def folders(self) -> list[str]:
        """List the subfolders of this root by name, sorted; names are text with `.` between."""
        return maildir_folders.names(self.path)

    def folder(self, name: str) -> "Maildir":
        """Give a subfolder; INBOX is the root. BadFolderName for what cannot be one."""
        return Maildir(maildir_folders.path(self.path, name))

    def make_folder(self, name: str) -> "Maildir":
        """Create a subfolder; raise FolderExists or BadFolderName."""
        folder = Maildir(maildir_folders.claim(self.path, name))
        folder.create()
        return folder

    def remove_folder(self, name: str) -> None:
        """Remove a subfolder with its messages, not with its subfolders; raise NoSuchFolder."""
        maildir_folders.sweep(self.path)
        maildir_folders.remove(self.path, name)

    def rename_folder(self, name: str, target: str) -> None:
        """Rename a subfolder and all below it; raise NoSuchFolder, FolderExists, BadFolderName."""
        maildir_folders.rename(self.path, name, target)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk.trouble(error, "read", path) from error


def _status(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def _needs_a_copy(failure: SystemTrouble) -> bool:
    cause = failure.__cause__
    kinds = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
    return isinstance(cause, OSError) and cause.errno in kinds
