"""The lists that `:include:` names: read by root or by the queue's owner, and written by anybody.

So a list is believed as far as its owner goes. Its programs and Maildirs are his, which is why
nobody else may be able to write it; a list of a user's includes only lists that are his too; and no
link of one user's leads to what is another's.
"""

from __future__ import annotations

import os
import stat

from mailtools.errors import Misconfigured
from mailtools.services.access.changing_file import ChangingFile
from mailtools.services.local.aliases import Kind, Word, read_targets

LIST_MOST = 64 * 1024 * 1024  # octets: two million addresses
POWERS = frozenset((Kind.PROGRAM, Kind.MAILDIR, Kind.INCLUDE))
"""What is done with the rights of the owner of a list."""
NOT_ALONE = "others may write it, so only addresses count in it: chmod go-w"

Ids = tuple[int, int]


class Lists:
    """Lists, kept in memory and read again when they change."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ChangingFile, list[Word]]] = {}

    def read(self, word: Word, includer: Ids | None) -> tuple[list[Word], Ids]:
        """Give the targets in the list that `word` names, and its owner; raise Misconfigured.

        `includer` is the owner of the list that names it; None where an operator's file does.
        """
        file, words = self._known.get(word.value) or (ChangingFile(word.value, LIST_MOST), [])
        try:
            text = file.news()
        except OSError as error:
            detail = f"{word.place}: cannot read {word.value}: {error.strerror}"
            raise Misconfigured(detail=detail) from error
        if text is not None:
            words = read_words(text, word.value)
            _check(file, words, word.place)
            file.settle()
            self._known[word.value] = (file, words)
        if includer is not None and includer[0] not in (0, file.owner[0]):
            raise Misconfigured(detail=f"{word.place}: {word.value} is another user's list")
        return words, file.owner


def read_words(text: str, path: str) -> list[Word]:
    """Read the targets in a file's text; raise Misconfigured with all faults."""
    faults: list[str] = []
    words: list[Word] = []
    for number, line in enumerate(text.split("\n"), 1):
        words += read_targets(line, f"{path}:{number}", faults)
    if faults:
        raise Misconfigured(detail="\n".join(faults))
    return words


def _check(file: ChangingFile, words: list[Word], place: str) -> None:
    owner, path = file.owner[0], os.path.abspath(file.path)
    if file.mode & 0o022 and any(word.kind in POWERS for word in words):
        raise Misconfigured(detail=f"{path}: {NOT_ALONE} {path}")
    while path != "/":
        about = os.lstat(path)
        if stat.S_ISLNK(about.st_mode) and about.st_uid not in (0, owner):
            raise Misconfigured(detail=f"{place}: {path} leads to what is another user's")
        path = os.path.dirname(path)
