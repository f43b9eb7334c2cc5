"""Names of messages in a Maildir: unique part, sizes, flags, and what others put behind them.

`SECONDS.MmicrosecondsPpidRrandom.HOST,S=octets,W=octets:2,FLAGS[,more]`: S is the size on disk, W
the size with CRLF, as Courier and Dovecot write them, so that no reader opens a file to list it.
A name is a hint, the unique part (up to the first `,` or `:`) is the identity: flags change, and
some programs add fields of their own.
"""

import os
import re
import time

from mailtools.store.plain_file import opener

_number = re.compile(r"[,](S|W)=([0-9]+)")

HOST = os.uname().nodename.replace("/", "\\057").replace(":", "\\072").replace(",", "\\054")
"""This host as it stands in names (maildir(5): `/` and `:` are written in octal)."""

NEW, CUR = "new", "cur"


class Message:
    """A message in a Maildir as its name says it: a value, made anew when the name changes.

    Sizes that the name lacks are read from the file when they are asked for, and kept.
    """

    __slots__ = ("_sizes", "folder", "name", "root", "unique")

    def __init__(self, root: str, folder: str, name: str, unique: str = "") -> None:
        """Name a file: the Maildir's path, `new` or `cur`, and its name there."""
        self.root = root
        self.folder = folder
        self.name = name
        self.unique = unique or unique_part(name)
        self._sizes: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"Message({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.unique)

    @property
    def path(self) -> str:
        """Where it was when last seen; open it with `Maildir.open`, which follows a new name."""
        return f"{self.root}/{self.folder}/{self.name}"

    @property
    def new(self) -> bool:
        """Whether no reader has taken it yet (IMAP's Recent)."""
        return self.folder == NEW

    @property
    def base(self) -> str:
        """The name without flags, as it stands in UID lists."""
        return self.name.partition(":")[0]

    @property
    def flags(self) -> str:
        """Letters: P R S T D F and keywords a-z."""
        return self.name.partition(":2,")[2].partition(",")[0]

    @property
    def more(self) -> str:
        """What stands behind the flags with its comma; others' business, and kept."""
        _, comma, more = self.name.partition(":2,")[2].partition(",")
        return comma + more

    @property
    def seconds(self) -> int:
        """When it was delivered, as its name says it; 0 where it does not."""
        number = self.unique.partition(".")[0]
        return int(number) if number.isascii() and number.isdigit() else 0

    @property
    def size(self) -> int:
        """Octets on disk; FileNotFoundError where only the file knows and it has gone."""
        return self._both()[0]

    @property
    def wire_size(self) -> int:
        """Octets with CRLF, as POP3 and IMAP report them; FileNotFoundError as in `size`."""
        return self._both()[1]

    def know_sizes(self, size: int, wire_size: int) -> None:
        """Take the sizes from who knows them, the UID list or the deliverer."""
        self._sizes = (size, wire_size)

    def renamed(self, folder: str, name: str) -> "Message":
        """Give the same message under another name."""
        message = Message(self.root, folder, name)
        message._sizes = self._sizes
        return message

    def _both(self) -> tuple[int, int]:
        if self._sizes is None:
            said = dict(_number.findall(self.name.partition(":")[0]))
            if "S" in said and "W" in said:
                self._sizes = (int(said["S"]), int(said["W"]))
            else:
                self._sizes = measure(self.path)
        return self._sizes


def measure(path: str) -> tuple[int, int]:
    """Read a file and give its size, and its size with CRLF."""
    size = wire = 0
    last = b""
    with open(path, "rb", buffering=0, opener=opener) as file:
        while data := file.read(1 << 18):
            size += len(data)
            wire += len(data) + data.count(b"\n") - data.count(b"\r\n")
            if last == b"\r" and data[:1] == b"\n":
                wire -= 1
            last = data[-1:]
    return size, wire


def unique_part(name: str) -> str:
    """Give the identity in a name: what stands before the first `,` or `:`."""
    return name.partition(":")[0].partition(",")[0]


def unique_name(left: str = "") -> str:
    """Make a unique part; `left` is its part before the host (default: time, process, random)."""
    if left:
        return f"{left}.{HOST}"
    microseconds = time.time_ns() // 1000
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{seconds}.M{rest:06d}P{os.getpid()}R{os.urandom(6).hex()}.{HOST}"


def info(flags: str, more: str = "") -> str:
    """Write the part behind the base: letters once each and in ASCII order (maildir(5))."""
    return f":2,{''.join(sorted(set(flags)))}{more}"
