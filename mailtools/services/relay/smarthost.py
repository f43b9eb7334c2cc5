"""Credentials for the hosts that routes name: the control file `route-credentials`.

    mail.example.com:alice@example.com:a password: colons and all
    mail.example.net:bob@example.net:!/usr/local/bin/print-token bob

A `!` runs a program whose first line of output is a bearer token (RFC 6750). A host may have more
than one line: a route that names the login (`bob@example.net@mail.example.net`) takes that one,
every other route the first.
"""

import os
import shlex
import stat
import threading
import time

from mailtools.errors import AuthTrouble, Misconfigured
from mailtools.protocol.smtp.transaction import Login
from mailtools.services.relay.route import Route

TOKEN_TIMEOUT = 60.0  # seconds a token program may take
TOKEN_TROUBLE = 10.0  # seconds a program that failed is not asked again
TOKEN_LIFE = 120.0  # seconds a token is used again; providers give them for an hour


class Smarthosts:
    """Who we are to which host; the file is read when a login is first needed."""

    def __init__(self, path: str) -> None:
        """Name the file; "" for none. Raises Misconfigured, also when others can read it."""
        self._secrets: dict[str, dict[str, str]] = _read(path) if path else {}
        self._tokens: dict[str, tuple[float, str | AuthTrouble]] = {}
        self._asking: dict[str, threading.Lock] = {}

    def login(self, route: Route) -> Login | None:
        """Give the login for a host, None where there is none; a token program may take its time.

        Raises AuthTrouble when the program fails.
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
        if secret.startswith("!"):
            token = self._token(secret[1:])
            return Login(name, token, True, plaintext, route.host, route.port)
        return Login(name, secret, False, plaintext, route.host, route.port)

    def _token(self, command: str) -> str:
        # Many messages at a time want the same one.
        with self._asking.setdefault(command, threading.Lock()):
            known = self._tokens.get(command)
            if known is None or known[0] < time.monotonic():
                try:
                    known = time.monotonic() + TOKEN_LIFE, _fetched(command)
                except AuthTrouble as trouble:
                    known = time.monotonic() + TOKEN_TROUBLE, trouble
                self._tokens[command] = known
        if isinstance(known[1], AuthTrouble):
            raise AuthTrouble(known[1].text, detail=known[1].detail)
        return known[1]


def _fetched(command: str) -> str:
    """Run a token program; give the first line it prints."""
    import subprocess  # rare: only where a token has to be fetched

    try:
        done = subprocess.run(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=TOKEN_TIMEOUT,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise AuthTrouble(detail=f"route-credentials: {command}: {error}") from error
    token = done.stdout.decode("utf-8", "replace").split("\n")[0].strip()
    if done.returncode or not token:
        raise AuthTrouble(
            detail=f"route-credentials: {command}: no token, exit code {done.returncode}"
        )
    return token


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
    port, colon, after = rest.partition(":")
    if port.isascii() and port.isdigit() and colon and ":" in after:
        name = f"[{host}]" if ":" in host else host
        return f"{name.lower()}:{port}", after
    return host.lower(), rest
