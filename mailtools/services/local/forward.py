"""What a user says about his own mail: `.forward` (aliases(5)) or `.qmail` (dot-qmail(5)).

Read as the user himself. A file that others may write is not obeyed: the message waits until it is
mended. `.forward+ext` and `.qmail-ext`, where they are there, speak for user+ext.

Of dot-qmail(5): comments, programs, forwards with and without `&`, Maildirs, `-ext`, `-default`,
exit code 99. Not: mbox files, and the meaning of the file's x bit and the home's sticky bit.
"""

from __future__ import annotations

import os
import stat

from mailtools.errors import Misconfigured, SystemTrouble
from mailtools.services.local.aliases import Kind, Word, read_target
from mailtools.services.local.lists import NOT_ALONE, POWERS, read_words

FILE_MOST = 1024 * 1024  # octets


def own_rules(home: str, extension: str) -> tuple[list[Word], bool] | None:
    """Give what a user wants done, and whether in dot-qmail's manner; None for plain delivery.

    Raises Misconfigured for a file with faults or one that others may write.
    """
    if extension and "/" not in extension:
        dotted = extension.lower().replace(".", ":")
        text = _read(f"{home}/.forward+{extension}")
        if text is not None:
            return _forward(text, f"{home}/.forward+{extension}")
        for name in (f".qmail-{dotted}", *_defaults(dotted)):
            text = _read(f"{home}/{name}")
            if text is not None:
                return _qmail(text, f"{home}/{name}", home)
    text = _read(f"{home}/.forward")
    if text is not None:
        return _forward(text, f"{home}/.forward")
    text = _read(f"{home}/.qmail")
    if text is not None:
        return _qmail(text, f"{home}/.qmail", home)
    return None


def included(word: Word) -> list[Word]:
    """Read the list that `:include:` names, as the user; raise Misconfigured."""
    text = _read(word.value, strict=False)
    if text is None:
        raise Misconfigured(detail=f"{word.place}: there is no {word.value}")
    found = _forward(text, word.value)
    words = found[0] if found else []
    if any(one.kind in POWERS for one in words) and os.stat(word.value).st_mode & 0o022:
        raise Misconfigured(detail=f"{word.value}: {NOT_ALONE} {word.value}")
    return words


def _defaults(dotted: str) -> list[str]:
    parts = dotted.split("-")
    names = [f".qmail-{'-'.join(parts[:n])}-default" for n in range(len(parts) - 1, 0, -1)]
    return [*names, ".qmail-default"]


def _read(path: str, *, strict: bool = True) -> str | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SystemTrouble(detail=f"cannot read {path}: {error.strerror}") from error
    about = os.fstat(fd)
    if not stat.S_ISREG(about.st_mode):
        os.close(fd)
        return None
    with open(fd, "rb") as file:
        if strict and about.st_uid not in (0, os.geteuid()):
            raise Misconfigured(detail=f"{path}: is not its user's own")
        if strict and about.st_mode & 0o022:
            raise Misconfigured(detail=f"{path}: may be written by others (chmod go-w)")
        data = file.read(FILE_MOST + 1)
    if len(data) > FILE_MOST:
        raise Misconfigured(detail=f"{path}: is larger than {FILE_MOST} octets")
    return data.decode("utf-8", "surrogateescape")


def _forward(text: str, path: str) -> tuple[list[Word], bool] | None:
    words = read_words(text, path)
    return (words, False) if words else None


def _qmail(text: str, path: str, home: str) -> tuple[list[Word], bool] | None:
    faults: list[str] = []
    words = []
    for number, whole in enumerate(text.split("\n"), 1):
        line, place = whole.rstrip(), f"{path}:{number}"
        if not line or line.startswith("#"):
            continue
        if line.startswith("|"):
            words.append(Word(Kind.PROGRAM, line[1:].strip(), place))
            continue
        if line.startswith("."):
            line = f"{home}/{line.removeprefix('./')}"
        word = read_target(line.removeprefix("&").strip(), place, faults)
        if word:
            words.append(word)
    if faults:
        raise Misconfigured(detail="\n".join(faults))
    return (words, True) if words else None
