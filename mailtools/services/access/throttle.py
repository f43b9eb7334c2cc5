"""Slowing down who guesses passwords: a growing wait for an address, and for a user.

Failures are counted in files of a folder in the spool, an octet each, and the mtime is when the
last one happened. So `ls -l` shows who guesses, removing a file forgives, and many processes count
at once without a lock (an append is one system call). The octet is made of what was tried: the same
wrong password again is no further failure, so a forgotten telephone does not shut out a household.

    from:192.0.2.7        failures from an address (IPv6: from its /64)
    user:bob              failures for a login, known or not
    good:bob:192.0.2.7    an address the login succeeded from

An address may fail FREE times, then waits 1, 2, 4, ... seconds after each further failure; a login
has more free ones, as many may guess it. A login that is being guessed is still open to the
addresses it came from before, so that a guesser cannot lock its owner out. Whoever must wait is
told so before the password is looked at, and it does not count. Servers that began as root count
as the owner of the spool does, so that what is guessed at one of them slows down all.
"""

from __future__ import annotations

import os
import re
import time

from mailtools.errors import AuthTrouble, Failure
from mailtools.services.access.become import acting_for
from mailtools.services.access.networks import prefix
from mailtools.store import disk
from mailtools.store.greylist import sweep
from mailtools.store.plain_file import opener

FREE_FROM, FREE_USER = 5, 20  # failures without a wait
WAIT_MOST = 900.0  # seconds
FORGET = 3600.0  # seconds without a failure after which all is forgotten
REMEMBER = 30 * 86400.0  # seconds a good address is remembered
MOST = 16384  # files of a kind: strangers choose the addresses and logins
NOTED_AGAIN = 86400.0  # seconds between notes of the same good address

_odd = re.compile(r"[^A-Za-z0-9@.:_+-]")


class Throttle:
    """The counts of a site."""

    def __init__(self, folder: str) -> None:
        """Name the folder, which is made when it is first needed; "": nothing is counted."""
        self._folder = folder

    def check(self, login: str, address: str) -> None:
        """Raise AuthTrouble while this peer must wait before it tries this login again."""
        peer = prefix(address)
        if not self._folder or not peer or _is_loopback(peer):
            return
        now = time.time()
        wait = self._wait(f"from:{peer}", FREE_FROM, now)
        if wait <= 0 and login and not self._is_good(login, peer, now):
            wait = self._wait(f"user:{login.lower()}", FREE_USER, now)
        if wait > 0:
            raise AuthTrouble(
                f"Too many failed logins, try again in {int(wait) + 1} seconds",
                detail=f"throttled: {wait:.0f} seconds to wait",
            )

    def failed(self, login: str, address: str, tried: str | None) -> None:
        """Count a failure; `tried` is the password, None where it is not known (SCRAM)."""
        peer = prefix(address)
        if not self._folder or not peer or _is_loopback(peer):
            return
        mark = _mark(login, tried)
        try:
            with acting_for(self._folder):
                self._count(f"from:{peer}", mark)
                if login:  # nobody's failures are not everybody's
                    self._count(f"user:{login.lower()}", mark)
        except Failure:
            pass  # a count that cannot be kept must not keep anybody out

    def succeeded(self, login: str, address: str) -> None:
        """Remember a good address, and forget its failures."""
        peer = prefix(address)
        if not self._folder or not peer or _is_loopback(peer):
            return
        good = self._path(f"good:{login.lower()}:{peer}")
        try:
            with acting_for(self._folder):
                disk.remove(self._path(f"from:{peer}"))
                noted = _mtime(good)
                if noted is None or time.time() - noted > NOTED_AGAIN:
                    self._append(good, b"x", REMEMBER)
        except Failure:
            pass

    def _is_good(self, login: str, peer: str, now: float) -> bool:
        noted = _mtime(self._path(f"good:{login.lower()}:{peer}"))
        return noted is not None and now - noted < REMEMBER

    def _wait(self, name: str, free: int, now: float) -> float:
        path = self._path(name)
        last = _mtime(path)
        if last is None or now - last > FORGET:
            return 0.0
        failures = len(set(_content(path)))
        if failures <= free:
            return 0.0
        return last + min(2.0 ** (min(failures - free, 30) - 1), WAIT_MOST) - now

    def _count(self, name: str, mark: bytes) -> None:
        path = self._path(name)
        last = _mtime(path)
        if last is not None and time.time() - last > FORGET:
            disk.remove(path)
        elif mark in _content(path):
            return
        self._append(path, mark, FORGET)

    def _append(self, path: str, mark: bytes, lifetime: float) -> None:
        """Add an octet; a file that is new makes room for itself."""
        new = not os.path.exists(path)
        if new and not os.path.isdir(self._folder):
            disk.make_directory(self._folder)
        disk.append(path, mark, sync=False)
        if new:
            kind = os.path.basename(path).partition(":")[0]
            sweep(self._folder, time.time(), lifetime, MOST, f"{kind}:")

    def _path(self, name: str) -> str:
        safe = _odd.sub(lambda match: "".join(f"%{b:02X}" for b in match[0].encode()), name)
        return os.path.join(self._folder, safe[:200])


def _mark(login: str, tried: str | None) -> bytes:
    """Give an octet for what was tried: one of 256, so it tells nothing about the password."""
    if tried is None:
        return os.urandom(1)
    import hashlib  # only after a failure

    text = f"{login.lower()}\0{tried}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=1).digest()


def _content(path: str) -> bytes:
    try:
        with open(path, "rb", opener=opener) as file:
            return file.read(65536)
    except OSError:
        return b""


def _mtime(path: str) -> float | None:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def _is_loopback(peer: str) -> bool:
    """Whether a peer is this host: webmail and proxies speak for many there."""
    return peer.startswith("127.") or peer == "::/64"
