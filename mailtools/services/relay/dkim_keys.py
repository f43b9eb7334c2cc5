"""The control file `dkim-keys` and the keys it names: mailtools-dkim(5).

    example.org 20261123-rsa signing 2026-11-23T20:05Z

A key lies in the folder `dkim` beside it, under the name DNS has its public half at. Keys are
loaded when first needed, and again when a file changes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from mailtools.errors import BadAddress, Misconfigured
from mailtools.mail.address import ascii_domain
from mailtools.services.access.secrets_file import read_secret
from mailtools.trust.lookup import is_name

if TYPE_CHECKING:
    from mailtools.trust.dkim_sign import Signer
    from mailtools.trust.keys import PrivateKey

NAME = "dkim-keys"
FOLDER = "dkim"

_label = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\Z")
_since = re.compile(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]Z\Z")


class State(StrEnum):
    """Where a key is on its way."""

    WAITING = "waiting"
    """DNS does not show it yet."""
    SIGNING = "signing"
    RETIRED = "retired"
    """It signs no more; mail under way is still checked with it."""


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A line: the domain (A-labels), the selector, the state and since when ("" if not said)."""

    domain: str
    selector: str
    state: State
    since: str = ""

    @property
    def name(self) -> str:
        """Where DNS has its public half."""
        return f"{self.selector}._domainkey.{self.domain}"

    def named(self, selector: str) -> KeyLine:
        """Give the line with another selector."""
        return replace(self, selector=selector)

    def __str__(self) -> str:
        """The line as it is written."""
        return f"{self.domain} {self.selector} {self.state} {self.since}".rstrip()


def parse_line(text: str) -> KeyLine:
    """Read a line; raise Misconfigured with what is wrong in it."""
    words = text.split()
    if not 2 <= len(words) <= 4:
        raise Misconfigured(detail=f"{text!r} is not: domain selector [state [since]]")
    domain, selector = domain_name(words[0]), selector_name(words[1])
    try:
        state = State(words[2]) if len(words) > 2 else State.SIGNING
    except ValueError:
        raise Misconfigured(detail=f"{words[2]!r} is none of {', '.join(State)}") from None
    since = words[3] if len(words) > 3 else ""
    if since and not _since.match(since):
        raise Misconfigured(detail=f"{since!r} is no minute of UTC: 2026-11-23T20:05Z")
    return KeyLine(domain, selector, state, since)


def domain_name(text: str) -> str:
    """Give a domain with A-labels in lower case; raise Misconfigured for what is none."""
    try:
        name = ascii_domain(text)
    except BadAddress:
        name = ""
    if not is_name(name) or not all(_label.match(label) for label in name.split(".")):
        raise Misconfigured(detail=f"{text!r} is no domain")
    return name


def selector_name(text: str) -> str:
    """Give a selector in lower case; raise Misconfigured for what is none (RFC 6376 3.1)."""
    name = text.lower()
    if not is_name(name) or not all(_label.match(label) for label in name.split(".")):
        raise Misconfigured(detail=f"{text!r} is no selector")
    return name


def read_lines(path: str) -> list[KeyLine | str]:
    """Read the file: keys, and comments and empty lines as they are; raise Misconfigured."""
    try:
        with open(path, encoding="utf-8") as file:
            texts = file.read().removesuffix("\n").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(detail=f"{path}: cannot be read: {error}") from error
    found: list[KeyLine | str] = []
    faults: list[str] = []
    seen: set[str] = set()
    for number, text in enumerate(texts, 1):
        if not text.strip() or text.lstrip().startswith("#"):
            found.append(text)
            continue
        try:
            line = parse_line(text)
        except Misconfigured as fault:
            faults.append(f"{path}:{number}: {fault.detail}")
            continue
        if line.name in seen:
            faults.append(f"{path}:{number}: {line.name} stands here a second time")
        seen.add(line.name)
        found.append(line)
    if faults:
        raise Misconfigured(detail="\n".join(faults))
    return [] if found == [""] else found


def key_path(etc: str, line: KeyLine) -> str:
    """Name the file of a private key."""
    return f"{etc}/{FOLDER}/{line.name}.pem"


def load_key(path: str) -> PrivateKey:
    """Read a private key; raise Misconfigured, also where others can read it."""
    from mailtools.trust.keys import load_private_key  # cryptography, when it is called

    try:
        return load_private_key(read_secret(path))
    except Misconfigured as fault:
        raise Misconfigured(detail=fault.detail or f"{path}: {fault.text}") from None


class Keyring:
    """The keys that sign now, by domain."""

    def __init__(self, etc: str) -> None:
        """Name the control folder; nothing is read yet."""
        self._etc = etc
        self._path = f"{etc}/{NAME}"
        self._stamp: tuple[int, ...] = ()
        self._lines: dict[str, list[KeyLine]] = {}
        self._loaded: dict[str, tuple[tuple[int, ...], Signer]] = {}

    def refresh(self) -> None:
        """Read the file again if it has changed; raise Misconfigured with all its faults."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        lines: dict[str, list[KeyLine]] = {}
        for line in read_lines(self._path):
            if isinstance(line, KeyLine) and line.state is State.SIGNING:
                lines.setdefault(line.domain, []).append(line)
        self._lines, self._stamp = lines, stamp

    @property
    def empty(self) -> bool:
        """Whether there was no key when the file was last read."""
        return not self._lines

    def signers(self, domain: str, *, fresh: bool = False) -> list[Signer]:
        """Give who signs for a domain: its own keys, else those of the nearest domain above it.

        An empty list where there is none. Raises Misconfigured for a key that cannot be used:
        mail must not leave unsigned because of a slip. `fresh`: `refresh` was called just now.
        """
        if not fresh:
            self.refresh()
        return [self._signer(line) for line in self.lines(domain)]

    def lines(self, domain: str) -> list[KeyLine]:
        """Give the keys that sign for a domain, as `refresh` found them; none is loaded."""
        while domain and self._lines:
            if domain in self._lines:
                return self._lines[domain]
            domain = domain.partition(".")[2]
        return []

    def _signer(self, line: KeyLine) -> Signer:
        path = key_path(self._etc, line)
        stamp = _stamp(path)
        known = self._loaded.get(path)
        if known and known[0] == stamp:
            return known[1]
        from mailtools.trust.dkim_sign import Signer  # hashlib: only where something is signed

        signer = Signer(line.domain, line.selector, load_key(path))
        self._loaded[path] = stamp, signer
        return signer


def _stamp(path: str) -> tuple[int, ...]:
    try:
        about = os.stat(path)
    except OSError:
        return ()
    return about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino
