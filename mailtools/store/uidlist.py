"""UIDs of a folder: Dovecot's `dovecot-uidlist`, version 3, kept so that either may serve it.

    3 V<UIDVALIDITY> N<next UID> G<32 hex digits> …
    <UID> [S<size>] [W<size with CRLF>] [P<POP3 UIDL>] [O<POP3 order>] [G<GUID>] … :<file name>

Readers take no lock: the file is only appended to (whole lines, UIDs rising) or replaced by rename.
Who gives UIDs holds `dovecot-uidlist.lock` (dotlock.py), reads what others appended meanwhile,
appends and syncs: a UID is on disk before anybody is told of it. A line without LF is torn and
ignored. Fields and header values we do not know are kept as they are.

Repair never changes UIDVALIDITY or a UID: lines that cannot be read are left out and the rest
stays. Only a list that is missing, or whose header is lost, starts afresh, with the UIDs of
Courier's `courierimapuiddb` where that is there, else with a UIDVALIDITY higher than any used.
Removed messages stay listed until they are a quarter of the list; then it is written anew.
"""

import os
import re
from collections.abc import Iterable
from io import FileIO

from mailtools.errors import QueueFull, SystemTrouble
from mailtools.store import disk, plain_file, uidvalidity
from mailtools.store.dotlock import DotLock
from mailtools.store.maildir import Maildir
from mailtools.store.maildir_names import Message, unique_name, unique_part
from mailtools.store.plain_file import opener

NAME = "dovecot-uidlist"
COURIER = "courierimapuiddb"
STALE_LEAST = 64  # removed messages, below which a list is not worth writing anew
READ_MOST = 1 << 30  # octets: ten million messages
UID_MOST = 0xFFFFFFFE

_record = re.compile(r"([0-9]{1,10}) ((?:[^ :]\S* +)*):([^/]+)\Z")
_record_1 = re.compile(r"([0-9]{1,10}) ()([^/ ][^/]*)\Z")
_number = re.compile(r"[0-9]{1,18}\Z")
_guid = re.compile(r"[0-9a-f]{32}\Z")


class Record:
    """A line of the list: UID, its fields verbatim, and the file's base name."""

    __slots__ = ("base", "fields", "uid")

    def __init__(self, uid: int, fields: str, base: str) -> None:
        """`fields` is what stands between UID and colon: `S1234 W1260 P… `, or empty."""
        self.uid = uid
        self.fields = fields
        self.base = base

    def field(self, key: str) -> str | None:
        """The value of a field by its letter; None where the record lacks it."""
        for word in self.fields.split():
            if word[0] == key:
                return word[1:]
        return None

    def line(self) -> str:
        """The record as it stands in the file, with LF."""
        return f"{self.uid} {self.fields}:{self.base}\n"


class UidList:
    """The UIDs of one folder, read when they are first asked for."""

    def __init__(self, maildir: Maildir, root: str = "") -> None:
        """Name the folder, and the Maildir's root, where UIDVALIDITY is kept rising.

        The root of a Maildir++ subfolder is the folder above it, if none is named.
        """
        self._maildir = maildir
        self.path = f"{maildir.path}/{NAME}"
        self.lock = DotLock(self.path)
        folder = os.path.basename(maildir.path)
        self._root = root or (
            os.path.dirname(maildir.path) if folder.startswith(".") else maildir.path
        )
        self._clear()
        self._given: list[Message] | None = None  # what `sync` was last asked
        self._answer: list[tuple[int, Message]] = []

    def _clear(self) -> None:
        self._file: FileIO | None = None  # open, so that its inode is not used again
        self._offset = 0
        self._whole = True  # version 3, and every line could be read
        self._pattern = _record
        self._validity = 0
        self._next = 1
        self._highest = 0
        self._guid = ""
        self._others: list[str] = []
        self._records: dict[str, Record] = {}

    # -- what it says -----------------------------------------------------------------------------

    @property
    def uidvalidity(self) -> int:
        """UIDVALIDITY; a list is made where there is none."""
        self._ensure()
        return self._validity

    @property
    def next_uid(self) -> int:
        """The UID that the next message will get at least (IMAP's UIDNEXT)."""
        self._ensure()
        return self._next

    @property
    def guid(self) -> str:
        """The folder's GUID, 32 hex digits (IMAP's MAILBOXID)."""
        self._ensure()
        return self._guid

    def record(self, unique: str) -> Record | None:
        """The record of a message by its unique part, as of the last `sync`."""
        return self._records.get(unique)

    def uidl(self, uid: int, message: Message) -> str:
        """The POP3 UIDL of a message: what the list says, else Dovecot's default, UID and
        UIDVALIDITY in hex, so that no client fetches again what it has."""
        record = self._records.get(message.unique)
        said = record.field("P") if record else None
        if said is None:
            return f"{uid:08x}{self._validity:08x}"
        return said or message.base  # Dovecot leaves out a UIDL that is the file name

    def pop3_order(self, message: Message) -> int | None:
        """Where POP3 listed the message on the server it came from; None for no wish."""
        record = self._records.get(message.unique)
        said = record.field("O") if record else None
        return int(said) if said and _number.match(said) else None

    # -- messages and their UIDs ------------------------------------------------------------------

    def sync(self, messages: list[Message]) -> list[tuple[int, Message]]:
        """Give each message its UID, new ones a new UID, and return them in the order of UIDs.

        New UIDs are on disk when this returns. The same list object comes back while neither
        `messages` (as an object) nor the file has changed. Raises a Failure.
        """
        changed = self.refresh()
        if not changed and messages is self._given:
            return self._answer
        if not self._validity or any(m.unique not in self._records for m in messages):
            self._assign(messages)
        records = self._records
        answer = [(records[message.unique].uid, message) for message in messages]
        answer.sort(key=_uid_of)
        self._given, self._answer = messages, answer
        return answer

    def known(self, messages: list[Message]) -> list[tuple[int, Message]]:
        """Give the messages that have a UID by now, where a full disk let `sync` give no others.

        A UID that is not on disk might be given again, to another message (RFC 9051 2.3.1.1). So
        the others must wait. Without any list all have to: raises QueueFull.
        """
        if self._file is None:
            raise QueueFull(detail=f"{self.path} cannot be made: the disk is full")
        records = self._records
        pairs = [(records[m.unique].uid, m) for m in messages if m.unique in records]
        return sorted(pairs, key=_uid_of)

    def refresh(self) -> bool:
        """Read what was appended, or all of a file that was replaced; tell whether it changed."""
        try:
            status = os.stat(self.path)
            if self._file and self._whole and self._is_open(status):
                if status.st_size == self._offset:
                    return False
            elif status.st_size > READ_MOST:
                raise SystemTrouble(detail=f"{self.path} is larger than {READ_MOST} octets")
            else:
                self._clear()
                self._file = FileIO(self.path, opener=opener)
            self._file.seek(self._offset)
            self._take(self._file.read())
        except FileNotFoundError:
            had = self._file is not None
            self._clear()
            return had
        except OSError as error:
            raise disk.trouble(error, "read", self.path) from error
        return True

    @property
    def whole(self) -> bool:
        """Whether every line of the file could be read, as of the last `refresh`."""
        return self._whole

    def rewrite(self) -> None:
        """Write the file anew, with the records that could be read; messages keep their UIDs."""
        with self.lock:
            self.refresh()
            if not self._validity:
                self._start()
            self._rewrite([], self._maildir.messages(fresh=True))
            self.refresh()

    def _is_open(self, status: os.stat_result) -> bool:
        assert self._file
        held = os.fstat(self._file.fileno())
        same = (held.st_dev, held.st_ino) == (status.st_dev, status.st_ino)
        return same and status.st_size >= self._offset

    # -- reading ----------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        end = data.rfind(b"\n") + 1
        lines = os.fsdecode(data[:end]).split("\n")[:-1]
        if not self._offset:
            self._read_header(lines.pop(0) if lines else "")
        self._offset += end
        self._whole = self._whole and end == len(data)
        for line in lines:
            if not self._read_record(line):
                self._whole = False
        self._next = max(self._next, self._highest + 1)

    def _read_header(self, line: str) -> None:
        version, _, rest = line.partition(" ")
        words = rest.split()
        if version == "1" and len(words) == 2:
            words = [f"V{words[0]}", f"N{words[1]}"]
            self._pattern = _record_1
        self._whole = version == "3"
        for word in words:
            key, value = word[0], word[1:]
            if key in "VN" and _number.match(value):
                if key == "V":
                    self._validity = int(value)
                else:
                    self._next = max(1, int(value))
            elif key == "G" and _guid.match(value):
                self._guid = value
            else:
                self._others.append(word)
        if not self._validity:
            self._others = []  # the header is lost; its words would mean nothing
        if not self._guid or not self._validity:
            self._whole = False

    def _read_record(self, line: str) -> bool:
        match = self._pattern.match(line)
        uid = int(match[1]) if match else 0
        if not match or not 0 < uid <= UID_MOST:
            return False
        rising = uid > self._highest
        if not rising and any(record.uid == uid for record in self._records.values()):
            return False  # one UID, two files: the first keeps it
        base = match[3].partition(":")[0]
        # A later line for the same file replaces the earlier, as Dovecot reads it.
        self._records[unique_part(base)] = Record(uid, match[2], base)
        self._highest = max(self._highest, uid)
        return rising

    # -- writing, under the lock ------------------------------------------------------------------

    def _ensure(self) -> None:
        if self._validity and self._guid:
            return
        self.refresh()
        if not self._validity or not self._guid:
            self._assign(self._maildir.messages())

    def _assign(self, messages: list[Message]) -> None:
        """Give UIDs to messages that have none, durably; mend and shorten the list where due."""
        with self.lock:
            self.refresh()
            if not self._validity:
                self._start()
            unknown = [message for message in messages if message.unique not in self._records]
            unknown.sort(key=_arrival)
            if self._next + len(unknown) > UID_MOST:
                raise SystemTrouble(detail=f"{self.path}: no UIDs are left")
            added = [
                Record(uid, "", message.base) for uid, message in enumerate(unknown, self._next)
            ]
            stale = len(self._records) + len(added) - len(messages)
            if not self._whole or stale > max(STALE_LEAST, len(self._records) // 4):
                self._rewrite(added, messages)
            elif added:
                disk.append(self.path, _encode(added))
            self.refresh()

    def _rewrite(self, added: list[Record], messages: list[Message]) -> None:
        present = {message.unique: message.base for message in messages}
        # Nothing is dropped on the word of one scan, which may have passed a message over.
        present |= {m.unique: m.base for m in self._maildir.messages(fresh=True)}
        kept = []
        for unique, record in self._records.items():
            if unique in present:
                record.base = present[unique]
                kept.append(record)
        records = sorted(kept + added, key=lambda record: record.uid)
        self._guid = self._guid or os.urandom(16).hex()
        next_uid = self._next + len(added)
        words = [f"V{self._validity}", f"N{next_uid}", f"G{self._guid}", *self._others]
        header = os.fsencode(f"3 {' '.join(words)}\n")
        temporary = f"{self._maildir.path}/tmp/{unique_name()}"
        disk.replace(self.path, header + _encode(records), temporary=temporary)

    def _start(self) -> None:
        """Begin a list: with Courier's UIDs, or with a new UIDVALIDITY."""
        if not self._records and self._import_courier():
            return
        self._validity = uidvalidity.next_value(self._root)
        self._whole = False

    def _import_courier(self) -> bool:
        try:
            data = plain_file.read(f"{self._maildir.path}/{COURIER}", READ_MOST)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise disk.trouble(error, "read", COURIER) from error
        self._take(data if data.endswith(b"\n") else data + b"\n")
        self._offset = 0
        self._whole = False
        return self._validity > 0


def _encode(records: Iterable[Record]) -> bytes:
    return os.fsencode("".join(record.line() for record in records))


def _uid_of(pair: tuple[int, Message]) -> int:
    return pair[0]


def _arrival(message: Message) -> tuple[int, str]:
    return message.seconds, message.unique
