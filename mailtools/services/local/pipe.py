"""Deliver to a program: qmail-command's environment, sysexits or qmail's exit codes, a time limit.

The message lies on the program's stdin, seekable. The program runs through /bin/sh in its user's
home, in a process group of its own, which is killed when the time is over. It never runs as root.
"""

from __future__ import annotations

import os
import pwd
import select
import signal
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from mailtools.errors import Failure, SystemTrouble
from mailtools.mail.address import Address
from mailtools.mail.reply import one_line

NOBODY = (65534, 65534)
OUTPUT_MOST = 4096  # octets of the program's words that are kept
_PIPE = 1 << 20  # octets: the most that one holds without privilege (pipe(7))
PATH = "/usr/local/bin:/usr/bin:/bin"

# Exit codes that are final; 71, 74, 75, 78, 111 and whatever stands in neither table are not: a
# program that is missing, killed or misconfigured is our trouble (qmail-command(8), sysexits(3)).
_FINAL = {
    64: "5.5.4",
    65: "5.6.0",
    66: "5.3.0",
    67: "5.1.1",
    68: "5.1.2",
    69: "5.3.0",
    70: "5.3.0",
    72: "5.3.0",
    73: "5.2.0",
    76: "5.5.0",
    77: "5.7.0",
    100: "5.0.0",
    112: "5.0.0",
}
STOP = 99  # success, and nothing further is to be done (qmail-command(8))


class Errand(NamedTuple):
    """A program to run: the command line, who runs it and where, what it is told and given."""

    command: str
    environment: Mapping[str, str]
    home: str
    stdin: bytes
    uid: int = -1
    gid: int = -1
    words: tuple[str, ...] = ()
    """The program and its arguments, where no shell is to read the command line."""


def run(errand: Errand, limit: float) -> bool:
    """Run a program to its end, for `limit` seconds at most; tell whether it said "go no further".

    Raises a Failure by the exit code; its text is the last line the program wrote.
    """
    import subprocess  # here, since most deliveries need no program

    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        uid, gid = (errand.uid, errand.gid) if errand.uid > 0 else NOBODY
        user = {"user": uid, "group": gid if gid > 0 else NOBODY[1], "extra_groups": []}
    if limit <= 0:
        raise SystemTrouble("The programs of this address ran too long")
    output, say = os.pipe()
    with open(_file_of(errand.stdin), "rb") as stdin, open(output, "rb", buffering=0) as hear:
        try:
            process = subprocess.Popen(
                errand.words or ("/bin/sh", "-c", errand.command),
                stdin=stdin,
                stdout=say,
                stderr=say,
                env=dict(errand.environment),
                cwd=errand.home if os.path.isdir(errand.home) else "/",
                start_new_session=True,
                **user,
            )
        except OSError as error:
            detail = f"cannot run {errand.command!r}: {error.strerror}"
            raise SystemTrouble(detail=detail) from error
        finally:
            os.close(say)
        tail = _heard(process.pid, hear.fileno(), limit)
        if tail is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise SystemTrouble(f"The program ran longer than {limit:.0f} s")
        code = process.wait()
        said = _last_line(tail)
    if code not in (0, STOP):
        raise _failure(code, said, errand.command)
    return code == STOP


def environment(
    *,
    reverse_path: str,
    forward_path: Address,
    user: str,
    home: str,
    extension: str,
    local: str = "",
) -> dict[str, str]:
    """Make what qmail-command(8) promises, with local(8)'s DOMAIN, EXTENSION and LOGNAME.

    Values come from outside: a command that uses them must quote them. `local` is the local-part
    where it is not that of the forward-path.
    """
    recipient = str(forward_path)
    hosts = forward_path.domain.split(".")
    parts = extension.split("-")
    now = time.strftime("%a %b %e %H:%M:%S %Y", time.gmtime())
    values = {
        "SENDER": reverse_path,
        "NEWSENDER": reverse_path,
        "RECIPIENT": recipient,
        "LOCAL": local or forward_path.local,
        "HOST": forward_path.domain,
        "DOMAIN": forward_path.domain,
        "HOST2": ".".join(hosts[:-1]),
        "HOST3": ".".join(hosts[:-2]),
        "HOST4": ".".join(hosts[:-3]),
        "EXT": extension,
        "EXTENSION": extension,
        "DEFAULT": extension,
        "EXT2": "-".join(parts[1:]),
        "EXT3": "-".join(parts[2:]),
        "EXT4": "-".join(parts[3:]),
        "USER": user,
        "LOGNAME": user,
        "HOME": home,
        "SHELL": "/bin/sh",
        "PATH": PATH,
        "RPLINE": f"Return-Path: <{reverse_path}>\n",
        "DTLINE": f"Delivered-To: {recipient}\n",
        "UFLINE": f"From {reverse_path or 'MAILER-DAEMON'} {now}\n",
    }
    # No environment can hold NUL; an address with one was refused long before.
    return {key: value.replace("\0", "?") for key, value in values.items()}


def user_of(uid: int) -> tuple[str, str]:
    """Give the name and home of a uid; root's programs are nobody's."""
    try:
        user = pwd.getpwuid(uid if uid > 0 else NOBODY[0])
    except KeyError:
        return "nobody", "/"
    return user.pw_name, user.pw_dir


def _file_of(data: bytes) -> int:
    fd = os.memfd_create("message")
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _heard(pid: int, output: int, limit: float) -> bytes | None:
    """Wait for a program's end; give the end of what it said, None where it runs too long.

    Of what it says no more is kept than is told: whatever it is, it cannot fill our memory. Who
    holds its output open beyond its end is not waited for.
    """
    watched, end, tail = os.pidfd_open(pid), time.monotonic() + limit, b""
    os.set_blocking(output, False)
    poll = select.poll()
    for fd in (watched, output):
        poll.register(fd, select.POLLIN)
    try:
        over = False
        while not over:
            left = end - time.monotonic()
            ready = dict(poll.poll(left * 1000)) if left > 0 else {}
            if not ready:
                return None
            over = watched in ready
            if output in ready:
                said = _read(output)
                tail = (tail + said)[-OUTPUT_MOST:]
                if not said:
                    poll.unregister(output)
    finally:
        os.close(watched)
    return tail


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _PIPE)  # a pipe holds no more
    except BlockingIOError:
        return b""


def _last_line(tail: bytes) -> str:
    lines = [line.strip() for line in tail.decode("utf-8", "replace").split("\n") if line.strip()]
    return one_line(lines[-1])[:500] if lines else ""


def _failure(code: int, said: str, command: str) -> Failure:
    status = _FINAL.get(code)
    if code < 0:
        what = f"The program was ended by {signal.Signals(-code).name}"
    else:
        what = f"The program ended with exit code {code}"
    text = f"{what}: {said}" if said else what
    if status is None:
        return SystemTrouble(text, detail=f"{command!r}: {text}")
    return Failure(text, status=status, reply=554)
