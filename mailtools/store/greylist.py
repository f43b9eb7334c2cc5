"""What greylisting remembers: small files, a mark a thing, its modification time the moment.

    greylist/first/ab/cdef…   when a sender, a recipient and a client were first seen together
    greylist/known/ab/cdef…   when a client was last known to be good
    greylist/wrote/ab/cdef…   when somebody here last wrote to an address

The name is a hash of the text, which is the content: `grep -r` finds it. Nothing is synced: a mark
that a power cut takes costs a sender one more wait. Old ones go when their folder gets a new one.
"""

import os

from mailtools.store import disk

SWEEP = 3600.0  # seconds between two looks for old marks in a folder
MOST = 2048  # marks of a folder, of which each kind has 256: strangers choose what is marked
_SWEPT = "swept"


class Marks:
    """Marks of one kind, each good for `lifetime` seconds."""

    def __init__(self, path: str, lifetime: float, *, frozen: bool = False) -> None:
        """Take the folder, which need not exist; a `frozen` one is read only."""
        self._frozen = frozen
        self._path = path
        self._lifetime = lifetime

    def find(self, text: str, now: float) -> float | None:
        """When `text` was marked, in seconds since 1970; None where it was not, or too long ago."""
        try:
            marked = os.stat(self._place(text)).st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise disk.trouble(error, "read", self._path) from error
        return marked if now - marked < self._lifetime else None

    def put(self, text: str, now: float) -> None:
        """Mark `text` at `now`; raise QueueFull or SystemTrouble."""
        if self._frozen:
            return
        path = self._place(text)
        try:
            disk.set_mtime(path, now)
            return
        except FileNotFoundError:
            folder = os.path.dirname(path)
        content = text.encode("utf-8", "surrogateescape") + b"\n"
        try:
            disk.create(path, content)
        except FileNotFoundError:
            disk.make_directory(folder)
            disk.create(path, content)
        disk.set_mtime(path, now)
        sweep(folder, now, self._lifetime)

    def _place(self, text: str) -> str:
        return place_of(self._path, text)


def place_of(path: str, text: str) -> str:
    """Give the file that `text` has in a folder: its name is a hash."""
    import hashlib  # not before a file is looked for: relay-send starts with this module

    name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"{path}/{name[:2]}/{name[2:]}"


def sweep(
    folder: str, now: float, lifetime: float, most: int | None = None, kind: str = ""
) -> None:
    """Remove what nobody touched for `lifetime` seconds, and the oldest beyond `most` (MOST).

    Once in a while: each hour, and at one of 256 calls, which a flood makes often. Only what has a
    name that begins with `kind`.
    """
    stamp = f"{folder}/{_SWEPT}{kind}"
    try:
        if now - os.stat(stamp).st_mtime < SWEEP and os.urandom(1) != b"\0":
            return
    except FileNotFoundError:
        disk.create(stamp)
    disk.set_mtime(stamp, now)
    found = []
    for name in disk.names(folder):
        if not name.startswith(kind) or name.startswith(_SWEPT):
            continue
        path = f"{folder}/{name}"
        try:
            touched = os.stat(path).st_mtime
        except FileNotFoundError:
            continue  # another process swept it
        found.append((touched, path))
    found.sort()
    many = len(found) - (MOST if most is None else most)
    for number, (touched, path) in enumerate(found):
        if number < many or now - touched >= lifetime:
            disk.remove(path)
