"""Credentials for the hosts that routes name: the control file `route-credentials`.

    mail.example.com:alice@example.com:a password: colons and all
    mail.example.net:bob@example.net:!/usr/local/bin/print-token bob
    mail.example.edu:carol:|pass show mail.example.edu

A `!` runs a program whose first line of output is a bearer token (RFC 6750), a `|` one that prints
a password. A host may have more than one line: a route that names the login
(`bob@example.net@mail.example.net`) takes that one, every other route the first.
"""

import os
import shlex
import signal
import stat
import threading
import time

from mailtools.errors import AuthTrouble, Misconfigured
from mailtools.protocol.smtp.transaction import Login
from mailtools.services.relay import by_domain
from mailtools.services.relay.route import Route

TIMEOUT = 60.0  # seconds a program may take
TROUBLE = 10.0  # seconds a program that failed, or whose secret was refused, is not asked again
LIFE = 120.0  # seconds a secret is used again; providers give tokens for an hour
_PROGRAMS = "!|"


class Smarthosts:
    """Who we are to which host."""

    def __init__(self, path: str) -> None:
        """Read the file; "" for none. Raises Misconfigured, also when others can read it."""
        self._secrets: dict[str, dict[str, str]] = _read(path) if path else {}
        self._given: dict[str, tuple[float, str | AuthTrouble]] = {}  # when, and what
        self._asking: dict[str, threading.Lock] = {}

    def login(self, route: Route, refused: str = "") -> Login | None:
        """Give the login for a host, None where there is none; a program may take its time.

        A `refused` secret is not taken from memory again. Raises AuthTrouble when a program fails.
        """
        if route.quick:
            return None  # nobody logs in there
        found = self._secrets.get(str(route)) or self._secrets.get(route.host) or {}
        name = route.login or next(iter(found), "")
        if route.login and route.login not in found:
            # Without a login, or with another's, it would go out in the wrong name.
            raise AuthTrouble(detail=f"route-credentials: no {route.login} for {route.host}")
        if not name:
            return None
        secret = found[name]
        plaintext = "/" in route.host
        token = secret.startswith("!")
        if secret[0] in _PROGRAMS:
            secret = self._told(secret[1:], refused)
        return Login(name, secret, token, plaintext, route.host, route.port)

    def _told(self, command: str, refused: str) -> str:
        # Many messages at a time want the same one.
        with self._asking.setdefault(command, threading.Lock()):
            since, secret = self._given.get(command, (0.0, ""))
            bad = isinstance(secret, AuthTrouble) or secret in ("", refused)
            if not since or time.monotonic() - since > (TROUBLE if bad else LIFE):
                try:
                    secret = _first_line(command)
                except AuthTrouble as trouble:
                    secret = trouble
                self._given[command] = time.monotonic(), secret
        if isinstance(secret, AuthTrouble):
            raise AuthTrouble(secret.text, detail=secret.detail)
        return secret


def _first_line(command: str) -> str:
    """Run a program; give the first line it prints."""
    import subprocess  # rare: only where a program knows the secret

    def trouble(what: object) -> AuthTrouble:
        return AuthTrouble(detail=f"route-credentials: {command}: {what}")

    try:
        with subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                printed, _ = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
                raise trouble(f"no answer in {TIMEOUT:.0f} seconds") from None
    except (OSError, ValueError) as error:
        raise trouble(error) from error
    line = printed.decode("utf-8", "replace").split("\n")[0].strip()
    if process.returncode or not line:
        raise trouble(f"nothing in its first line, exit code {process.returncode}")
    return line


def _read(path: str) -> dict[str, dict[str, str]]:
    try:
        with open(path, encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & stat.S_IRWXO:
                raise Misconfigured(detail=f"{path}: others can read it: chmod o= {path}")
            lines = file.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(detail=f"{path}: cannot be read: {error}") from error
    found: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        host, rest = _host(text)
        login, colon, secret = rest.partition(":")
        if not (host and login and colon and secret):
            raise Misconfigured(detail=f"{path}:{number}: host:login:password expected")
        found.setdefault(host, {})[login] = secret
    return found


def _host(text: str) -> tuple[str, str]:
    """Split off the host, which may be `[address]` and may have a port behind it."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        rest = rest.removeprefix(":")
    else:
        host, _, rest = text.partition(":")
    host = by_domain.key(host)
    port, colon, after = rest.partition(":")
    if port.isascii() and port.isdigit() and colon and ":" in after:
        name = f"[{host}]" if ":" in host else host
        return f"{name}:{port}", after
    return host, rest
