"""What is known of destinations that did not answer: dest/NAME, a hint that may be lost.

The last line of a file counts: until when nothing is tried, how often in a row there was no answer,
and what was said last. Removing the file makes the destination tried again at once.
"""

import os
from typing import NamedTuple

from mailtools.mail.dates import parse_seconds
from mailtools.store import disk, file_name


class Silence(NamedTuple):
    """A destination that did not answer."""

    until: float
    """When it may be tried again, in seconds since 1970."""
    failures: int
    """Attempts in a row without an answer."""
    status: str
    text: str


class Destinations:
    """The folder dest/ of a queue."""

    def __init__(self, folder: str) -> None:
        """Take the folder; nothing is read yet."""
        self._folder = folder
        self._known: dict[str, Silence] | None = None

    def silent(self, name: str, now: float) -> Silence | None:
        """Give what is known of a destination that must not be tried now, else None."""
        known = self._load()
        if not known:
            return None
        silence = known.get(name)
        if silence is None or silence.until <= now:
            return None
        if not os.path.exists(self._path(name)):  # an operator removed it
            del known[name]
            return None
        return silence

    def failed(self, name: str, until: float, status: str, text: str) -> None:
        """Note that a destination did not answer, and is to be left alone until `until`."""
        known = self._load()
        failures = known[name].failures + 1 if name in known else 1
        known[name] = Silence(until, failures, status, text)
        line = f"{until:.0f}\t{failures}\t{status}\t{text}\n"
        disk.append(self._path(name), line.encode("utf-8", "replace"), sync=False, mend=True)

    def failures(self, name: str) -> int:
        """How often in a row a destination did not answer."""
        silence = self._load().get(name)
        return silence.failures if silence else 0

    def answered(self, name: str) -> None:
        """Forget what was wrong with a destination."""
        known = self._load()
        if name in known:
            del known[name]
            disk.remove(self._path(name))

    def forget(self) -> None:
        """Read the folder afresh when next asked."""
        self._known = None

    def all(self) -> dict[str, Silence]:
        """Give all that is known, by destination."""
        return dict(self._load())

    def _load(self) -> dict[str, Silence]:
        if self._known is None:
            self._known = {}
            try:
                names = os.listdir(self._folder)
            except OSError:
                names = []
            for name in names:
                silence = self._read(name)
                if silence:
                    self._known[file_name.decode(name)] = silence
        return self._known

    def _read(self, name: str) -> Silence | None:
        try:
            with open(f"{self._folder}/{name}", encoding="utf-8", errors="replace") as file:
                lines = [line for line in file.read().split("\n")[:-1] if _is_whole(line)]
            until, failures, status, text = lines[-1].split("\t")
            return Silence(parse_seconds(until), int(failures), status, text)
        except (OSError, IndexError, ValueError):
            return None

    def _path(self, name: str) -> str:
        return f"{self._folder}/{file_name.encode(name)}"


def _is_whole(line: str) -> bool:
    return line.count("\t") == 3 and "\0" not in line  # else a full disk or a power cut tore it
