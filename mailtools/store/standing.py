"""What is remembered of how senders behaved: a small file each, a line a note.

    greylist/standing/ab/cdef…    `example.com` on the first line, then lines `DAY WORD`

DAY is in days since 1970, WORD `good` or `bad`. Only so many notes of a kind are kept for a day and
for a sender, so a file stays small however much he sends. Its name is a hash of the first line.
A note is one append, so many processes write at once. Nothing is synced: a note that a power cut
takes is missed by nobody. A sender who is silent for `lifetime` is forgotten.
"""

import os
from typing import NamedTuple

from mailtools.store import disk
from mailtools.store.greylist import place_of, sweep

DAY = 86400
A_DAY = 10  # notes of a kind
KEPT = 200  # lines of a file, after which the older half goes


class Note(NamedTuple):
    """A day since 1970, and what was noted."""

    day: int
    word: str


class Standings:
    """The folder of these files."""

    def __init__(self, path: str, lifetime: float, *, frozen: bool = False) -> None:
        """Take the folder, which need not exist; notes count for `lifetime` seconds."""
        self._path, self._lifetime, self._frozen = path, lifetime, frozen

    def notes(self, name: str, now: float) -> list[Note]:
        """Give what was noted of a sender, oldest first; raise SystemTrouble."""
        oldest = int(now - self._lifetime) // DAY
        return [note for note in self._read(place_of(self._path, name)) if note.day > oldest]

    def add(self, name: str, word: str, now: float) -> None:
        """Note something of a sender; raise QueueFull or SystemTrouble."""
        if self._frozen:
            return
        path, note = place_of(self._path, name), Note(int(now) // DAY, word)
        notes = self._read(path)
        if notes.count(note) >= A_DAY:
            return
        if not notes:
            self._begin(path, name, now)
        elif len(notes) >= KEPT:
            disk.replace(path, _head(name) + b"".join(map(_line, notes[KEPT // 2 :])))
        disk.append(path, _line(note), sync=False)

    def _begin(self, path: str, name: str, now: float) -> None:
        folder = os.path.dirname(path)
        disk.make_directory(folder)
        disk.create(path, _head(name))
        sweep(folder, now, self._lifetime)

    def _read(self, path: str) -> list[Note]:
        try:
            with open(path, "rb") as file:
                lines = file.read().split(b"\n")[1:-1]  # a torn last line does not count
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk.trouble(error, "read", self._path) from error
        words = (line.decode("ascii", "replace").partition(" ") for line in lines)
        return [Note(int(day), word) for day, _, word in words if day.isdigit() and word]


def _head(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape") + b"\n"


def _line(note: Note) -> bytes:
    return b"%d %s\n" % (note.day, note.word.encode())
