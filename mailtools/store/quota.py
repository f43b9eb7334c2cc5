"""Quota of a Maildir: `maildirsize` (Maildir++), as Courier and Dovecot keep it.

    <octets>S,<messages>C          the limits; 0 or missing is none
    <±octets> <±messages>          a line a change, summed up
    …

Deliverers and readers append what they add and remove. The sum is believed while the file is
short; it is reckoned anew from the names of all files when it is longer than 5120 octets, when the
limits have changed, or when the sum is over a limit and the file has more than one line or is
older than 15 minutes (Maildir++). What lies in Trash counts.
"""

import os
import time
from typing import NamedTuple

from mailtools.store import disk, maildir_folders
from mailtools.store.maildir import Maildir
from mailtools.store.maildir_names import unique_name
from mailtools.store.plain_file import opener

NAME = "maildirsize"
LENGTH_MOST = 5120  # octets: Maildir++
READ_MOST = 65536  # octets that are looked at: all of it, where anybody reckons it anew in time
BELIEVED = 900  # seconds: Maildir++


class Limits(NamedTuple):
    """What a Maildir may hold: octets and messages; 0 is no limit."""

    octets: int = 0
    messages: int = 0

    def __bool__(self) -> bool:
        return bool(self.octets or self.messages)

    def exceeded(self, octets: int, messages: int) -> bool:
        """Whether so much is too much."""
        return bool(
            (self.octets and octets > self.octets) or (self.messages and messages > self.messages)
        )


class Usage(NamedTuple):
    """What a Maildir holds: octets on disk and messages, in all folders."""

    octets: int
    messages: int


class Quota:
    """The `maildirsize` of one Maildir root."""

    def __init__(self, root: str, limits: Limits | None = None, *, writes: bool = True) -> None:
        """Name the root; without `limits` those of the file hold.

        Without `writes` it only looks: for those who are not the owner of the Maildir.
        """
        self._root = root
        self._writes = writes
        self._limits = limits
        self.path = f"{root}/{NAME}"

    @property
    def limits(self) -> Limits:
        """The limits: those given, else those of the file; neither is none."""
        if self._limits is not None:
            return self._limits
        found = self._read()
        return found[0] if found else Limits()

    def usage(self) -> Usage:
        """What the Maildir holds, reckoned anew where the file is missing or too old."""
        found = self._read()
        if not found or (self._limits is not None and found[0] != self._limits):
            return self.recalculate()
        return found[1] or self.recalculate()

    def allows(self, octets: int, messages: int = 1) -> bool:
        """Whether so much more may come. A refusal is never given on an old sum."""
        limits = self.limits
        if not limits:
            return True
        found = self._read()
        usage = self.usage()
        if not limits.exceeded(usage.octets + octets, usage.messages + messages):
            return True
        if found and found[2]:
            usage = self.recalculate()
        return not limits.exceeded(usage.octets + octets, usage.messages + messages)

    def add(self, octets: int, messages: int) -> None:
        """Note what came or, with negative numbers, went; nothing where there is no quota.

        Not synced: a lost line is mended when the sum is next reckoned anew.
        """
        try:
            length = os.stat(self.path).st_size
        except FileNotFoundError:
            if self._limits:
                self.recalculate()
            return
        if length > LENGTH_MOST:
            self.recalculate()
        else:
            disk.append(self.path, f"{octets} {messages}\n".encode(), sync=False)

    def recalculate(self) -> Usage:
        """Sum up all folders and write the file anew, where there is a limit to write."""
        limits = self.limits
        octets = count = 0
        for path in [self._root, *self._folders()]:
            for message in Maildir(path).messages():
                try:
                    octets += message.size
                    count += 1
                except FileNotFoundError:
                    continue
                except OSError as error:
                    raise disk.trouble(error, "read", message.path) from error
        if limits and self._writes and os.path.isdir(f"{self._root}/tmp"):
            text = f"{limits.octets}S,{limits.messages}C\n{octets} {count}\n"
            temporary = f"{self._root}/tmp/{unique_name()}"
            disk.replace(self.path, text.encode(), temporary=temporary)
        return Usage(octets, count)

    def _folders(self) -> list[str]:
        names = maildir_folders.names(self._root)
        return [maildir_folders.path(self._root, name) for name in names]

    def _read(self) -> tuple[Limits, Usage | None, bool] | None:
        """Limits, sum (None: cannot be read), and whether it may be off; None for no file."""
        try:
            with open(self.path, "rb", opener=opener) as file:
                age = time.time() - os.fstat(file.fileno()).st_mtime
                head, *lines = file.read(READ_MOST).decode("ascii", "replace").split("\n")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk.trouble(error, "read", self.path) from error
        changes = [line.split() for line in lines if line.strip()]
        old = len(changes) > 1 or age > BELIEVED
        try:
            octets = sum(int(change[0]) for change in changes)
            count = sum(int(change[1]) for change in changes)
        except (ValueError, IndexError):
            return _limits(head), None, old
        return _limits(head), Usage(max(0, octets), max(0, count)), old


def _limits(head: str) -> Limits:
    said = {word[-1:]: word[:-1] for word in head.strip().split(",")}
    numbers = [said.get(letter, "0") for letter in "SC"]
    octets, messages = (
        int(n) if n.isascii() and n.isdigit() and len(n) < 20 else 0 for n in numbers
    )
    return Limits(octets, messages)
