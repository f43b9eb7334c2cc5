"""Keywords of a folder: letters a to z in file names, and what each means, in `dovecot-keywords`.

    0 $Junk
    1 $Forwarded

A folder has 26 at most; a letter, once given, keeps its meaning. Changes are made under the UID
list's lock, by replacing the file.
"""

import os
from collections.abc import Iterable

from mailtools.store import disk
from mailtools.store.maildir_names import unique_name
from mailtools.store.plain_file import opener
from mailtools.store.uidlist import UidList

NAME = "dovecot-keywords"
MOST = 26
READ_MOST = 1 << 20  # octets: what is beyond names no letter


class Keywords:
    """The keywords of one folder, read when they are first asked for and when the file changes."""

    def __init__(self, uidlist: UidList) -> None:
        """Name the folder by its UID list, whose lock guards the keywords too."""
        self._lock = uidlist.lock
        self._folder = os.path.dirname(uidlist.path)
        self.path = f"{self._folder}/{NAME}"
        self._mark: tuple[int, int, int] | None = None
        self._names: dict[int, str] = {}

    def names(self) -> list[str]:
        """All keywords of the folder, in the order of their letters."""
        self._refresh()
        return [self._names[index] for index in sorted(self._names)]

    def named(self, letters: str) -> list[str]:
        """Give the keywords for the lower-case letters among `letters`.

        A letter whose meaning is lost is `unknown-N`, as Dovecot says it, so that it is not lost
        when flags are written.
        """
        indexes = sorted({ord(letter) - 97 for letter in letters if "a" <= letter <= "z"})
        if not indexes:
            return []
        self._refresh()
        return [self._names.get(index, f"unknown-{index}") for index in indexes]

    def letters(self, keywords: Iterable[str]) -> str:
        """Give the letters for keywords, new ones a new letter, which is on disk on return.

        Keywords are compared without case (RFC 3501 2.3.2). One for which there is no letter left
        is passed over, as IMAP allows for flags that cannot be kept.
        """
        wanted = list(keywords)
        if not wanted:
            return ""
        self._refresh()
        found = self._found(wanted)
        if len(found) < len({keyword.lower() for keyword in wanted}):
            with self._lock:
                self._refresh()
                self._add(wanted)
                found = self._found(wanted)
        return "".join(sorted(found))

    def _found(self, wanted: list[str]) -> set[str]:
        by_name = {name.lower(): index for index, name in self._names.items()}
        for index in range(MOST):
            by_name.setdefault(f"unknown-{index}", index)
        known = (by_name.get(keyword.lower()) for keyword in wanted)
        return {chr(97 + index) for index in known if index is not None}

    def _add(self, wanted: list[str]) -> None:
        have = {name.lower() for name in self._names.values()}
        free = [index for index in range(MOST) if index not in self._names]
        added = False
        for keyword in wanted:
            if keyword.lower() not in have and free and not _is_unknown(keyword):
                self._names[free.pop(0)] = keyword
                have.add(keyword.lower())
                added = True
        if added:
            self._write()

    def _write(self) -> None:
        text = "".join(f"{index} {self._names[index]}\n" for index in sorted(self._names))
        temporary = f"{self._folder}/tmp/{unique_name()}"
        before = self._mark
        disk.replace(self.path, os.fsencode(text), temporary=temporary)
        status = os.stat(self.path)
        if before and status.st_mtime_ns // 10**9 <= before[1] // 10**9:
            # Dovecot looks at whole seconds of the mtime: it must grow with every change.
            disk.set_mtime(self.path, before[1] // 10**9 + 1)
        self._mark = None

    def _refresh(self) -> None:
        try:
            with open(self.path, "rb", opener=opener) as file:
                status = os.fstat(file.fileno())
                mark = (status.st_ino, status.st_mtime_ns, status.st_size)
                if mark == self._mark:
                    return
                text = os.fsdecode(file.read(READ_MOST))
        except FileNotFoundError:
            self._mark, self._names = None, {}
            return
        except OSError as error:
            raise disk.trouble(error, "read", self.path) from error
        self._mark, self._names = mark, _parse(text)


def _parse(text: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for line in text.split("\n"):
        number, _, name = line.partition(" ")
        if (
            number.isascii()
            and number.isdigit()
            and len(number) < 4
            and int(number) < MOST
            and name
        ):
            names.setdefault(int(number), name)
    return names


def _is_unknown(keyword: str) -> bool:
    number = keyword.lower().removeprefix("unknown-")
    return number != keyword.lower() and number.isascii() and number.isdigit()
