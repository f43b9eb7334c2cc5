"""App passwords: further secrets of an account, each for one device, narrow and easy to revoke.

A line each in `app-passwords` beside the accounts file: the login, then words `key=value`:

    bob@example.org name=phone services=imap,submission created=2026-11-23 secret={SHA256}…

`networks=` and `expires=` (the last day, UTC) narrow it further. The password is ours, 100 random
bits, so a fast hash keeps it as well as a slow one: no login gets slower by having many of them.
When one was last used is noted in a folder of the spool, to the quarter hour.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from typing import NamedTuple

from mailtools.errors import AuthTrouble, Failure, Misconfigured, Usage
from mailtools.services.access import passwords, schemes, text_file
from mailtools.services.access.become import acting_for
from mailtools.services.access.networks import contains, is_network
from mailtools.services.access.scope import APP_SERVICES
from mailtools.store import disk

USE_NOTED_EVERY = 900  # seconds; each note is a file written

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"  # 5 bits each, none like another
_LENGTH = 20
_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_day = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_grouping = str.maketrans("", "", " -")


class AppPassword(NamedTuple):
    """One app password; empty `services` or `networks` are all, `expires` "" is never."""

    login: str
    name: str
    services: tuple[str, ...]
    networks: tuple[str, ...]
    expires: str
    created: str
    secret: str

    def __repr__(self) -> str:
        """Say which it is, without the secret."""
        return f"AppPassword({self.login!r}, {self.name!r})"

    def allows(self, service: str, address: str, today: str) -> bool:
        """Whether it may be used for this service, from this address, today."""
        if self.services and service not in self.services:
            return False
        if self.networks and not contains(self.networks, address):
            return False
        return not self.expires or today <= self.expires

    def line(self) -> str:
        """The line of the file."""
        words = {
            "name": self.name,
            "services": ",".join(self.services),
            "networks": ",".join(self.networks),
            "expires": self.expires,
            "created": self.created,
            "secret": self.secret,
        }
        return " ".join([self.login, *(f"{key}={value}" for key, value in words.items() if value)])


class AppPasswords:
    """The app passwords of a site."""

    def __init__(self, path: str, last_use: str = "", accounts: str = "") -> None:
        """Name the file ("" for none) and the folder to note uses in ("": nowhere).

        Who may read `accounts` may read a new file of them.
        """
        self.path = path
        self._last_use, self._accounts = last_use, accounts

    def everything(self) -> list[AppPassword]:
        """Read the file; raise Misconfigured with all its faults."""
        faults: list[str] = []
        found = [
            app_password(number, line, faults)
            for number, line in enumerate(self._lines(), 1)
            if line.strip() and line[0] != "#"
        ]
        if faults:
            raise Misconfigured(detail="\n".join(f"{self.path}:{fault}" for fault in faults))
        return [one for one in found if one]

    def of(self, login: str) -> list[AppPassword]:
        """List those of one account."""
        return [one for one in self.everything() if one.login.lower() == login.lower()]

    def use(self, login: str, password: str, service: str, address: str) -> bool:
        """Whether `password` is an app password of this account that may be used so; note it."""
        try:
            candidates = self.of(login)
        except Misconfigured as error:
            raise AuthTrouble(detail=error.detail) from error
        today = time.strftime("%Y-%m-%d", time.gmtime())
        plain = password.translate(_grouping)  # shown in groups, typed in any
        typed = {plain, plain.lower()}  # telephones begin with a capital
        for one in candidates:
            if not one.allows(service, address, today):
                continue
            if any(passwords.check(one.secret, text) for text in typed):
                self._note(one, service, address)
                return True
        return False

    def last_use(self, one: AppPassword) -> str:
        """Say when, for what and from where it was last used; "" for never, or not known."""
        if not self._last_use:
            return ""
        try:
            with open(self._use_file(one), encoding="utf-8") as file:
                return file.read().strip()
        except OSError:
            return ""

    def add(
        self,
        login: str,
        name: str,
        *,
        services: Iterable[str] = (),
        networks: Iterable[str] = (),
        expires: str = "",
    ) -> str:
        """Make an app password and keep it; give it, this once, in groups of four letters.

        Raises Usage for a name that is taken or is not one, a service, network or day that is none.
        """
        import secrets  # only here

        password = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        today = time.strftime("%Y-%m-%d", time.gmtime())
        secret = _digest(password)
        new = AppPassword(login, name, tuple(services), tuple(networks), expires, today, secret)
        faults: list[str] = []
        if app_password(1, new.line(), faults) != new:
            raise Usage(faults[0].partition(": ")[2] if faults else f"{name!r} cannot be a name")
        if not self.path:
            raise Misconfigured(detail="there is no accounts file to keep app passwords beside")
        with text_file.locked(self.path):
            if any(one.name == name for one in self.of(login)):
                raise Usage(f"{login} has an app password called {name} already")
            self._write([*self._lines(), new.line()])
        return "-".join(password[start : start + 4] for start in range(0, _LENGTH, 4))

    def remove(self, login: str, name: str | None = None) -> int:
        """Remove one, or all of an account; tell how many there were."""
        with text_file.locked(self.path):
            gone = [one for one in self.of(login) if name is None or one.name == name]
            lines = {one.line() for one in gone}
            raw = self._lines()
            kept = [line for line in raw if not self._is_one_of(line, lines)]
            if gone:
                self._write(kept)
        for one in gone:
            if self._last_use:
                disk.remove(self._use_file(one))
        return len(gone)

    @staticmethod
    def _is_one_of(line: str, lines: set[str]) -> bool:
        one = app_password(0, line, []) if line.strip() and line[0] != "#" else None
        return one is not None and one.line() in lines

    def _lines(self) -> list[str]:
        if not self.path:
            return []
        try:
            with open(self.path, encoding="utf-8", errors="replace") as file:
                return file.read().removesuffix("\n").split("\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Misconfigured(detail=f"cannot read {self.path}: {error.strerror}") from error

    def _write(self, lines: list[str]) -> None:
        like = text_file.rights_of(self._accounts) if self._accounts else None
        new = like._replace(mode=like.mode & 0o660) if like else text_file.OURS_ALONE
        text_file.rewrite(self.path, [line for line in lines if line], new)

    def _use_file(self, one: AppPassword) -> str:
        return os.path.join(self._last_use, f"{one.login.lower()}:{one.name}")

    def _note(self, one: AppPassword, service: str, address: str) -> None:
        if not self._last_use:
            return
        path = self._use_file(one)
        try:
            if time.time() - os.stat(path).st_mtime < USE_NOTED_EVERY:
                return
        except OSError:
            pass
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        try:
            with acting_for(self._last_use):
                disk.make_directory(self._last_use)
                disk.replace(path, f"{now} {service} {address}".rstrip().encode() + b"\n")
        except Failure:
            pass  # a note that cannot be taken must not keep a user out


def app_password(number: int, line: str, faults: list[str]) -> AppPassword | None:
    """Read a line of the file; what is wrong with it is added to `faults`, as `line: what`."""
    login, *words = line.split()
    said = dict(word.partition("=")[::2] for word in words)
    name = said.get("name", "")
    before = len(faults)
    if not _name.match(name):
        faults.append(f"{number}: {name!r} cannot be a name: letters, digits, '.', '_' and '-'")
    secret = said.get("secret", "")
    if not secret or not schemes.known(secret):
        faults.append(f"{number}: {login} {name} has no secret that can be checked")
    services = _listed(said.get("services", ""))
    for service in services:
        if service not in APP_SERVICES:
            faults.append(f"{number}: {service!r} is none of {', '.join(APP_SERVICES)}")
    networks = _listed(said.get("networks", ""))
    for network in networks:
        if not is_network(network):
            faults.append(f"{number}: {network!r} is neither an address nor a network")
    expires = said.get("expires", "")
    if expires and not _day.match(expires):
        faults.append(f"{number}: {expires!r} is not a day: YYYY-MM-DD")
    if len(faults) > before:
        return None
    return AppPassword(login, name, services, networks, expires, said.get("created", ""), secret)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _digest(password: str) -> str:
    import hashlib
    from binascii import b2a_base64

    digest = hashlib.sha256(password.encode()).digest()
    return "{SHA256}" + b2a_base64(digest, newline=False).decode("ascii")
