"""A client of Dovecot's auth socket: its authentication protocol, versions 1.x, mechanism PLAIN.

One connection a login. The server greets with VERSION, MECH, ... DONE; we say who we are, ask, and
get OK, FAIL or, for what no PLAIN client sees, CONT. Fields are parted by TABs.
"""

from __future__ import annotations

import os
import socket
from binascii import b2a_base64
from collections.abc import Callable

from mailtools.errors import AuthTrouble

PATIENCE = 30.0  # seconds for an answer
ANSWER_MOST = 65536  # octets
_SERVICES = {"submission": "smtp"}  # Dovecot's names where they are not ours


def ask(path: str, login: str, password: str, service: str, address: str) -> bool:
    """Whether the server at `path` says that the password fits; raise AuthTrouble."""
    if "\0" in login + password or not login:
        return False
    secret = f"\0{login}\0{password}".encode("utf-8", "surrogateescape")
    words = ["AUTH", "1", "PLAIN", f"service={_SERVICES.get(service, service)}", "secured"]
    words += [f"rip={address}"] if address else []
    words.append(f"resp={b2a_base64(secret, newline=False).decode()}")  # the last one always
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(path)
            with sock.makefile("rb") as answers:
                _begin(answers.readline, path)
                hello = f"VERSION\t1\t2\nCPID\t{os.getpid()}\n"
                sock.sendall((hello + "\t".join(words) + "\n").encode("utf-8", "surrogateescape"))
                return _verdict(answers.readline(ANSWER_MOST), path)
    except OSError as error:
        raise AuthTrouble(detail=f"{path}: {error.strerror or error}") from error


def _begin(readline: Callable[[int], bytes], path: str) -> None:
    able = False
    while line := readline(ANSWER_MOST):
        word, *rest = line.decode("utf-8", "replace").rstrip("\n").split("\t")
        if word == "VERSION" and rest[:1] != ["1"]:
            raise AuthTrouble(detail=f"{path} speaks version {'.'.join(rest)}, not 1.x")
        able = able or (word == "MECH" and rest[:1] == ["PLAIN"])
        if word == "DONE":
            if not able:
                raise AuthTrouble(detail=f"{path} does not know PLAIN")
            return
    raise AuthTrouble(detail=f"{path} is no auth socket: its greeting has no end")


def _verdict(line: bytes, path: str) -> bool:
    word, *fields = line.decode("utf-8", "replace").rstrip("\n").split("\t")
    if word == "OK":
        return "nologin" not in fields
    if word == "FAIL" and "temp" not in fields and "code=temp_fail" not in fields:
        return False
    raise AuthTrouble(detail=f"{path} could not tell: {' '.join([word, *fields[1:]]) or 'silence'}")
