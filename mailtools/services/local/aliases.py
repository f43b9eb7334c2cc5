"""The files that say where an address leads: `aliases`, and `virtual` with whole addresses.

    name: target, target …          a line that begins with a blank goes on with the last one
    "odd name": \\user, carol@example.net, |"program arguments", /path/to/Maildir/,
        :include:/path/to/list, "error:5.1.6 Moved, see example.com", /dev/null

Names are compared without case. Read whole, checked whole, read again when it changes; what is
wrong is said all at once, with file and line. Format: mailtools-aliases(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from mailtools.errors import BadAddress, Misconfigured
from mailtools.mail.address import ascii_domain, parse_address, parse_domain
from mailtools.services.access.changing_file import ChangingFile

_head = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^":])+):')
_quoted = re.compile(r'"(?:[^"\\]|\\.)*"\Z')
_pairs = re.compile(r"\\(.)")
_error = re.compile(r"error:([45]\.[0-9]{1,3}\.[0-9]{1,3})\s*(.*)\Z", re.DOTALL)
_bare = re.compile(r'[^\s<>()\[\],;:@"\\/|]+\Z')


class Kind(Enum):
    """What a target is."""

    ADDRESS = "address"
    DOMAIN = "@domain"
    PLAIN = r"\user"
    PROGRAM = "program"
    MAILDIR = "Maildir"
    INCLUDE = "include"
    NOTHING = "nothing"
    ERROR = "error"


class Word(NamedTuple):
    """A target as a file writes it: kind, value, and its place, `file:line`."""

    kind: Kind
    value: str
    place: str = ""


class AliasFile:
    """One such file, kept in memory and read again when it changes."""

    def __init__(self, path: str, *, addresses: bool = False) -> None:
        """Name the file ("" for none); with `addresses` its keys are whole, or `@domain`."""
        self.path = path
        self._addresses = addresses
        self._file = ChangingFile(path)
        self._table: dict[str, tuple[Word, ...]] = {}
        self.domains: frozenset[str] = frozenset()
        """The domains of the keys, in their ASCII form."""

    @property
    def owner(self) -> tuple[int, int]:
        """Uid and gid of the file's owner: its programs run as that user."""
        return self._file.owner

    def get(self, key: str) -> tuple[Word, ...] | None:
        """Give the targets of a key in lower case; None where it has none."""
        return self._table.get(key)

    def keys(self) -> list[str]:
        """All keys, in the order of the file."""
        return list(self._table)

    def refresh(self) -> None:
        """Read the file where it has changed; raise Misconfigured with all its faults."""
        if not self.path:
            return
        try:
            text = self._file.news()
        except FileNotFoundError:
            self._table, self.domains = {}, frozenset()
            return
        except OSError as error:
            raise Misconfigured(detail=f"{self.path}: cannot be read: {error.strerror}") from error
        if text is None:
            return
        faults: list[str] = []
        table = read_aliases(text, self.path, faults, addresses=self._addresses)
        if faults:
            self._table = table  # for those who look for further faults
            raise Misconfigured(detail="\n".join(faults))
        self._table = table
        self.domains = frozenset(key.rpartition("@")[2] for key in table if "@" in key)
        self._file.settle()


def virtual_domains(path: str) -> Callable[[str], bool]:
    """Give the question whether a domain, in its ASCII form, has addresses in `virtual`.

    The file is read again when it changes; while it has faults, what it said before holds.
    """
    file = AliasFile(path, addresses=True)

    def is_virtual(domain: str) -> bool:
        try:
            file.refresh()
        except Misconfigured:
            pass  # said by those who need the addresses
        return domain in file.domains

    return is_virtual


def read_aliases(
    text: str, path: str, faults: list[str], *, addresses: bool = False
) -> dict[str, tuple[Word, ...]]:
    """Read a whole file: targets by key; faults, as `file:line: what`, are added."""
    table: dict[str, tuple[Word, ...]] = {}
    for number, line in _logical_lines(text, path, faults):
        place = f"{path}:{number}"
        match = _head.match(line)
        if not match:
            faults.append(f"{place}: a name and a colon expected")
            continue
        name = match[1].strip()
        before = len(faults)
        words = read_targets(line[match.end() :], place, faults)
        key = _read_key(name, addresses)
        if key is None:
            wanted = "local-part@domain or @domain" if addresses else "a name without a domain"
            faults.append(f"{place}: {name} is not {wanted}")
        elif key in table:
            faults.append(f"{place}: {name} stands here a second time")
        else:
            table[key] = tuple(words)
            if not words and len(faults) == before:
                faults.append(f"{place}: {name} leads nowhere")
    return table


def read_targets(text: str, place: str, faults: list[str]) -> list[Word]:
    """Read targets with commas or line ends between them, as in an alias, a list or a .forward."""
    words = (read_target(item, place, faults) for item in _split(text, place, faults))
    return [word for word in words if word]


def read_target(text: str, place: str, faults: list[str]) -> Word | None:
    """Read one target; what is wrong with it is added to `faults`."""
    quoted = _is_quoted(text)
    inner = _unquote(text) if quoted else text
    if inner.startswith("|"):
        command = inner[1:].strip()
        command = _unquote(command) if not quoted and _is_quoted(command) else command
        if command:
            return Word(Kind.PROGRAM, command, place)
        fault = "a program is missing behind |"
    elif inner.startswith("/"):
        if inner == "/dev/null":
            return Word(Kind.NOTHING, inner, place)
        if inner.endswith("/"):
            return Word(Kind.MAILDIR, inner.rstrip("/") or "/", place)
        fault = f"{inner} is not a Maildir: write {inner}/ (mbox files are not supported)"
    elif inner.lower().startswith(":include:"):
        path = inner[9:].strip()
        if path.startswith("/"):
            return Word(Kind.INCLUDE, path, place)
        fault = ":include: needs an absolute path"
    elif inner.startswith("error:"):
        match = _error.match(inner)
        if match:
            return Word(Kind.ERROR, f"{match[1]} {match[2].strip()}".strip(), place)
        fault = "error: needs a status such as 5.1.6, then a text"
    elif inner.startswith("\\"):
        if _bare.match(inner[1:]):
            return Word(Kind.PLAIN, inner[1:], place)
        fault = f"{inner!r}: a user's name is expected behind the backslash"
    else:
        return _read_address(text, place, faults)
    faults.append(f"{place}: {fault}")
    return None


def _read_address(text: str, place: str, faults: list[str]) -> Word | None:
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    if _is_quoted(text) and "@" not in text:
        return Word(Kind.ADDRESS, _unquote(text), place)
    if _bare.match(text):
        return Word(Kind.ADDRESS, text, place)
    try:
        if text.startswith("@"):  # the same local-part in another domain
            return Word(Kind.DOMAIN, parse_domain(text[1:]), place)
        whole = _unquote(text) if _is_quoted(text) else text  # "bob@example.org" is an address too
        return Word(Kind.ADDRESS, str(parse_address(whole)), place)
    except BadAddress as failure:
        faults.append(f"{place}: {text[:60]!r}: {failure.text}")
        return None


def _split(text: str, place: str, faults: list[str]) -> list[str]:
    items = [""]
    quoted = False
    letters = iter(text)
    for letter in letters:
        if quoted:
            items[-1] += letter + (next(letters, "") if letter == "\\" else "")
            quoted = letter != '"'
        elif letter in ",\n":
            items.append("")
        elif letter == "#" and not items[-1].strip():
            while next(letters, "\n") != "\n":
                pass
        else:
            items[-1] += letter
            quoted = letter == '"'
    if quoted:
        faults.append(f"{place}: a quote is not closed")
        return []
    return [item.strip() for item in items if item.strip()]


def _is_quoted(text: str) -> bool:
    return _quoted.match(text) is not None


def _unquote(text: str) -> str:
    return _pairs.sub(r"\1", text[1:-1])


def _read_key(text: str, addresses: bool) -> str | None:
    if not addresses:
        name = _unquote(text) if _is_quoted(text) else text
        return name.lower() if name and "@" not in name and "\n" not in name else None
    domain = text.removeprefix("@")
    try:
        if domain != text:
            return f"@{ascii_domain(parse_domain(domain))}"
        return parse_address(text).key
    except BadAddress:
        return None


def _logical_lines(text: str, path: str, faults: list[str]) -> list[tuple[int, str]]:
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] not in " \t":
            lines.append((number, line))
        elif lines:
            first, before = lines[-1]
            lines[-1] = (first, f"{before}\n{line}")
        else:
            faults.append(f"{path}:{number}: this goes on with a line that is not there")
    return lines
