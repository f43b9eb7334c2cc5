"""Which folders a reader shows (IMAP's SUBSCRIBE): Dovecot's `subscriptions`, either version.

Version 1 is a folder's name a line. Version 2 begins with `V<TAB>2` and an empty line; a name is
its levels with a TAB between them. Names are in modified UTF-7. Courier's
`courierimapsubscribed`, where names begin with `INBOX.`, is read while there is no list of our own.
A file keeps its version, and the lines we cannot read, when it is written again.
"""

import os

from mailtools.errors import BadFolderName
from mailtools.mail import utf7
from mailtools.store import disk, plain_file
from mailtools.store.dotlock import DotLock
from mailtools.store.maildir_folders import SEPARATOR
from mailtools.store.maildir_names import unique_name

NAME = "subscriptions"
COURIER = "courierimapsubscribed"
READ_MOST = 1 << 24  # octets
_HEAD_2 = "V\t2\n\n"
_ESCAPES = {"\x01": "\x011", "\t": "\x01t", "\r": "\x01r", "\n": "\x01n"}


class Subscriptions:
    """The subscriptions of one Maildir root; names as in `Maildir.folder`."""

    def __init__(self, root: str) -> None:
        """Name the root of the Maildir."""
        self._root = root
        self.path = f"{root}/{NAME}"

    def names(self) -> list[str]:
        """All folders subscribed to, in the file's order; a folder need not exist."""
        version, lines = self._read()
        names = (_name(line, version) for line in lines)
        return list(dict.fromkeys(name for name in names if name))

    def add(self, name: str) -> None:
        """Subscribe to a folder; twice is once."""
        self._change(name, wanted=True)

    def remove(self, name: str) -> None:
        """Unsubscribe from a folder; one that is not there is passed over."""
        self._change(name, wanted=False)

    def _change(self, name: str, *, wanted: bool) -> None:
        name = _inbox(name)
        with DotLock(self.path):
            version, lines = self._read()
            there = any(_name(line, version) == name for line in lines)
            if there == wanted:
                return
            if wanted:
                lines.append(_line(name, version))
            else:
                lines = [line for line in lines if _name(line, version) != name]
            head = _HEAD_2 if version == 2 else ""
            text = head + "".join(f"{line}\n" for line in lines)
            temporary = f"{self._root}/tmp/{unique_name()}"
            disk.replace(self.path, os.fsencode(text), temporary=temporary)

    def _read(self) -> tuple[int, list[str]]:
        text = _text(self.path)
        if text is None:
            courier = _text(f"{self._root}/{COURIER}") or ""
            names = [line.removeprefix("INBOX.") for line in courier.split("\n") if line]
            return 2, [_line(name, 2) for name in (_name(n, 1) for n in names) if name]
        version = 2 if text.startswith(_HEAD_2) else 1
        if version == 2:
            text = text.removeprefix(_HEAD_2)
        return version, [line for line in text.split("\n") if line]


def _text(path: str) -> str | None:
    try:
        return os.fsdecode(plain_file.read(path, READ_MOST))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise disk.trouble(error, "read", path) from error


def _inbox(name: str) -> str:
    return "INBOX" if name.upper() == "INBOX" else name


def _name(line: str, version: int) -> str:
    if version == 2:
        line = SEPARATOR.join(line.split("\t"))
        for plain, escaped in reversed(_ESCAPES.items()):
            line = line.replace(escaped, plain)
    try:
        return _inbox(utf7.decode(line))
    except BadFolderName:
        return _inbox(line)


def _line(name: str, version: int) -> str:
    text = utf7.encode(name)
    if version == 1:
        return text
    return "\t".join(_escaped(level) for level in text.split(SEPARATOR))


def _escaped(level: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in level)
