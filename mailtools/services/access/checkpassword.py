"""Other programs that know passwords: the checkpassword interface, both ends of it.

`program /bin/true` is run with `login NUL password NUL time NUL` on descriptor 3. It exits 0 when
the password fits, 1 when it does not, and with anything else (2, 111) when it cannot tell.
PAM, LDAP, SQL, web services: there is such a program for each.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import stat
import time

from mailtools.errors import AuthTrouble, Usage

MOST = 512  # octets on descriptor 3, the interface's limit
TOKEN_MOST = 16384  # the same for bearer tokens, which are longer than passwords
PATIENCE = 30.0  # seconds for the program to answer


def ask(
    program: str, login: str, password: str, service: str, address: str, *, most: int = MOST
) -> bool:
    """Whether `program`, a command line, says that the password fits; raise AuthTrouble.

    It finds the service in $SERVICE and the peer's address in $TCPREMOTEIP.
    """
    said = b"".join(text.encode("utf-8", "surrogateescape") + b"\0" for text in (login, password))
    said += b"%d\0" % int(time.time())
    if said.count(b"\0") != 3 or len(said) > most:
        return False
    environ = {**os.environ, "SERVICE": service, "TCPREMOTEIP": address}
    words = [*shlex.split(program), "/bin/true"]
    reading, writing = os.pipe()
    try:
        os.write(writing, said)  # fits into any pipe
        os.close(writing)
        pid = _spawn(words, environ, reading)
    finally:
        os.close(reading)
    code = _wait(pid)
    if code not in (0, 1):
        raise AuthTrouble(detail=f"{words[0]} exited {code}")
    return code == 0


def read_request(data: bytes) -> tuple[str, str]:
    """Read what stands on descriptor 3: login and password; raise Usage for anything else."""
    parts = data.split(b"\0")
    if len(data) > MOST or len(parts) < 3 or not parts[0]:
        raise Usage("Descriptor 3 must hold login NUL password NUL time NUL")
    login, password = (part.decode("utf-8", "surrogateescape") for part in parts[:2])
    return login, password


def _spawn(words: list[str], environ: dict[str, str], reading: int) -> int:
    null = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        null,
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, reading, 3),
    ]
    if _is_socket(2):  # under classic inetd: the peer must not read what it complains about
        actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
    try:
        return os.posix_spawnp(words[0], words, environ, file_actions=actions)
    except OSError as error:
        raise AuthTrouble(detail=f"cannot run {words[0]}: {error.strerror}") from error


def _wait(pid: int) -> int:
    """Wait for the program's end; give its exit code, -1 where it was killed or took too long."""
    watched = os.pidfd_open(pid)
    try:
        ready = select.poll()
        ready.register(watched, select.POLLIN)
        if not ready.poll(PATIENCE * 1000):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(watched)
    return os.waitstatus_to_exitcode(status)


def _is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False
