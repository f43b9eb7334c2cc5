"""One message as IMAP reads it: from its name where that will do, else from its file."""

from __future__ import annotations

import mmap
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from io import FileIO
from typing import Protocol

from mailtools.errors import SystemTrouble
from mailtools.mail.mime import HEADER_MOST, Part, scan, walk
from mailtools.services.imap.folder import Folder
from mailtools.store.disk import trouble
from mailtools.store.maildir_names import Message

MAPPED = 1 << 20  # octets from which on a file is mapped rather than read
FIRST_READ = 1 << 13  # octets that hold most headers
PARTS_KEPT = 20_000  # parts whose places are remembered, half a kilobyte each

_end_of_header = re.compile(rb"(?:\A|\n)\r?\n")


class Structures(Protocol):
    """Keeps what scanning a message found: in memory, or in an index that outlives the session."""

    def structure(self, uid: int, make: Callable[[], Part]) -> Part:
        """Give the structure of a message, made where it is not known."""


class RecentStructures:
    """The structures of the messages that were looked at last."""

    def __init__(self, most: int = PARTS_KEPT) -> None:
        """Keep so many parts, of however many messages."""
        self._most = self._left = most
        self._kept: OrderedDict[int, tuple[Part, int]] = OrderedDict()

    def structure(self, uid: int, make: Callable[[], Part]) -> Part:
        """Give the structure of a message, made where it is not known."""
        known = self._kept.get(uid)
        if known is not None:
            return known[0]
        found = make()
        count = sum(1 for _ in walk(found))
        if count > self._most:
            return found
        self._kept[uid] = found, count
        self._left -= count
        while self._left < 0:
            self._left += self._kept.popitem(last=False)[1][1]
        return found


class ImapMessage:
    """A message of a view; its file is opened when it is needed, and held until `release`."""

    def __init__(
        self, folder: Folder, uid: int, message: Message, structures: Structures, recent: bool
    ) -> None:
        """Take what the view knows of it."""
        self.uid = uid
        self._folder = folder
        self._message = message
        self._structures = structures
        self._recent = recent
        self._file: FileIO | None = None
        self._length = -1

    # -- from its name ----------------------------------------------------------------------------

    @property
    def flags(self) -> tuple[str, ...]:
        """Its flags and keywords."""
        words = self._folder.words(self._message.flags)
        return (*words, "\\Recent") if self._recent else words

    @property
    def size(self) -> int:
        """Octets with CRLF."""
        return self._folder.wire_size(self._message)

    @property
    def internal_date(self) -> float:
        """When it arrived: the file's mtime."""
        return self._folder.status(self._message).st_mtime

    @property
    def save_date(self) -> float:
        """When it came into this folder: the file's ctime, as near as a Maildir knows it."""
        return self._folder.status(self._message).st_ctime

    # -- from its file ----------------------------------------------------------------------------

    def _opened(self) -> FileIO:
        if self._file is None:
            self._file = self._folder.maildir.open(self._message)
            self._length = os.fstat(self._file.fileno()).st_size
        return self._file

    @property
    def length(self) -> int:
        """Octets on disk."""
        self._opened()
        return self._length

    def octets(self, start: int, end: int) -> bytes:
        """A stretch of it, by offsets on disk."""
        fd = self._opened().fileno()
        try:
            data = os.pread(fd, end - start, start)
        except OSError as error:
            raise trouble(error, "read", self._message.path) from error
        if len(data) < end - start:
            raise SystemTrouble(detail=f"{self._message.path} became shorter while it was read")
        return data

    def header(self) -> bytes:
        """Its header, with the empty line."""
        most = FIRST_READ
        while True:
            data = self.octets(0, min(most, self.length))
            match = _end_of_header.search(data)
            if match:
                return data[: match.end()]
            if most >= min(self.length, HEADER_MOST * 8):
                return data
            most *= 8

    def structure(self) -> Part:
        """Its MIME structure."""
        return self._structures.structure(self.uid, self._scan)

    def _scan(self) -> Part:
        fd = self._opened().fileno()
        if self._length < MAPPED:
            return scan(self.octets(0, self._length))
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as mapped:
            return scan(mapped)

    def release(self) -> None:
        """Let the file go."""
        if self._file is not None:
            self._file.close()
            self._file = None
