"""Programs that look at each message before it is acknowledged, in the manner of QMAILQUEUE.

A program has the whole message on its stdin, seekable, as it would lie in the queue: our own fields
stand on top. Its exit code is the verdict. What it prints is the message from then on, for the next
program and the queue; printing nothing leaves it as it is.

| exit code   | verdict                                             |
|-------------|-----------------------------------------------------|
| 0           | taken                                               |
| 99          | taken, for the folder Junk                          |
| 31, 100     | refused: 550, with the last line of its stderr; 31: |
|             | nor kept in the folder Rejects of who wants that    |
| 71..75, 111 | put off: 451, with the last line of its stderr      |
| any other   | put off: the program is broken, and that is our own trouble |
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from mailtools import log
from mailtools.errors import Harmful, PolicyRefused, SystemTrouble
from mailtools.mail.envelope import JUNK, SCREENED, Envelope
from mailtools.mail.reply import one_line
from mailtools.services.reception.complaints import is_open
from mailtools.store.queue import Queue
from mailtools.store.scratch import Scratch

if TYPE_CHECKING:
    from subprocess import Popen

LIMIT = 240.0  # seconds for all programs: RFC 5321 4.5.3.2.6 has clients wait for ten minutes
PATH = "/usr/local/bin:/usr/bin:/bin"
NOBODY = 65534
REFUSED = frozenset((31, 100))
HARMFUL = 31  # nor kept in anybody's Rejects
PUT_OFF = frozenset((71, 72, 73, 74, 75, 111))
FOR_JUNK = 99
SAID_MORE = 16 * 1024 * 1024  # octets it may print beyond twice the message: it is kept in memory
_WATCH = 0.05  # seconds between two looks at how much that is
_SAID_MOST = 4096  # octets of a program's words that are looked at
_REASON_MOST = 200  # characters of them that the peer is told
_FORWARD_PATHS_MOST = 65536  # characters of them in the environment, whose values are limited

_unprintable = re.compile(r"[^ -~]")


@dataclass(frozen=True, slots=True)
class Content:
    """The programs of a site: command lines for /bin/sh, in their order."""

    programs: tuple[str, ...]
    limit: float = LIMIT

    def examine(
        self, text: bytes, id_: str, told: Mapping[str, str], *, open_: bool = False
    ) -> tuple[bytes, list[str]]:
        """Let each program look; give the message as it is then, and what they said, `name:exit`.

        `text` is LF text, `told` the environment. Raises PolicyRefused and SystemTrouble. An
        `open_` one is a complaint, which may hold what it is about: only harm refuses it.
        """
        end = time.monotonic() + self.limit
        said_all = []
        for command in self.programs:
            start = time.monotonic()
            code, output, said = _run(command, text, told, max(0.0, end - start))
            changed = bool(output) and output != text
            log.event(
                "screened",
                id=id_,
                program=_program(command),
                exit=code,
                changed="yes" if changed else None,
                seconds=f"{time.monotonic() - start:.2f}",
            )
            if not open_ or code == HARMFUL or code not in REFUSED:
                _raise_verdict(code, said, command)
            said_all.append(f"{os.path.basename(_program(command))}:{code}")
            if changed:
                text = _message_of(output, id_, command)
        return text, said_all


class Screened:
    """A queue whose entries are examined before they are committed."""

    def __init__(self, content: Content, queue: Queue, told: Mapping[str, str]) -> None:
        """Take the programs, where messages go, and what the programs are told of the peer."""
        self._content, self._queue, self._told = content, queue, told

    def begin(self, envelope: Envelope, id_: str = "") -> ScreenedEntry:
        """Begin an entry: nothing is in the queue before its `commit`."""
        return ScreenedEntry(self._content, self._queue, envelope, self._told, id_)


class ScreenedEntry:
    """A message on its way to the programs, and then into the queue."""

    def __init__(
        self,
        content: Content,
        queue: Queue,
        envelope: Envelope,
        told: Mapping[str, str],
        id_: str = "",
    ) -> None:
        """Take what `Screened` was given, the envelope, and the ID where it has one by now."""
        self._content, self._queue, self._envelope = content, queue, envelope
        self._told = told
        self._kept = Scratch(f"{queue.path}/tmp")
        self.id = id_ or queue.new_id(time.time())
        self.size = 0
        """Octets of the message so far."""
        self.junk = False
        """Whether a program said so."""

    def write(self, data: bytes) -> None:
        """Add a piece of the message."""
        self._kept.write(data)
        self.size += len(data)

    def commit(self, *, held: str = "") -> str:
        """Ask the programs, and put the message into the queue durably; raise their verdict."""
        text = b"".join(self._kept.read())
        self._kept.close()
        told = {**self._told, **_environment(self._envelope)}
        open_ = is_open(path.address for path in self._envelope.forward_paths)
        text, said = self._content.examine(text, self.id, told, open_=open_)
        parameters = dict(self._envelope.parameters)
        parameters[SCREENED] = " ".join((parameters.get(SCREENED, ""), *said)).strip()
        if any(each.endswith(f":{FOR_JUNK}") for each in said):
            self.junk = True
            if not open_:
                parameters[JUNK] = ""
        envelope = self._envelope._replace(parameters=parameters)
        writer = self._queue.begin(envelope, self.id)
        try:
            writer.write(text)
        except BaseException:
            writer.abort()
            raise
        return writer.commit(held=held)

    def abort(self) -> None:
        """Throw it away."""
        self._kept.close()


def _program(command: str) -> str:
    """Name the program of a command line: what stands behind its settings of the environment."""
    words = re.sub(r"\A(?:\w+=(?:'[^']*'|\"[^\"]*\"|[^\s'\"])*\s+)*", "", command).split()
    return words[0] if words else command


def _environment(envelope: Envelope) -> dict[str, str]:
    """Say the envelope: SENDER, and RECIPIENTS a line each, as many as fit."""
    paths, size = [], 0
    for path in envelope.forward_paths:
        size += len(path.address) + 1
        if size > _FORWARD_PATHS_MOST:
            break
        paths.append(path.address)
    return {"SENDER": envelope.reverse_path, "RECIPIENTS": "\n".join(paths)}


def _run(
    command: str, text: bytes, told: Mapping[str, str], limit: float
) -> tuple[int, bytes, str]:
    """Run a program to its end; give its exit code, what it printed, and its last words."""
    import subprocess  # here, since most sites have no such program

    user: dict[str, Any] = {}
    if os.geteuid() == 0:  # what strangers send is never given to a program of root's
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    with _memory(text) as stdin, _memory() as output, _memory() as words:
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=stdin,
                stdout=output,
                stderr=words,
                env={"PATH": PATH, "SHELL": "/bin/sh", **told},
                cwd="/",
                start_new_session=True,
                **user,
            )
        except OSError as error:
            raise SystemTrouble(detail=f"cannot run {command!r}: {error.strerror}") from error
        wrong = _watched(process, limit, (output, words), 2 * len(text) + SAID_MORE)
        if wrong:
            raise SystemTrouble(detail=f"{command!r} {wrong}")
        output.seek(0)
        return process.returncode, output.read(), _last_line(words.fileno())


def _watched(process: Popen[bytes], limit: float, files: Sequence[IO[bytes]], most: int) -> str:
    """Wait for a program's end; kill one that runs too long or says too much, and say which."""
    from subprocess import TimeoutExpired

    end = time.monotonic() + limit
    wrong = ""
    while not wrong and process.returncode is None:
        try:
            process.wait(max(0.0, min(_WATCH, end - time.monotonic())))
        except TimeoutExpired:
            wrong = "ran longer than it may" if time.monotonic() >= end else ""
        if max(os.fstat(file.fileno()).st_size for file in files) > most:
            wrong = f"printed more than {most} octets"
    if wrong:
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return wrong


def _memory(data: bytes = b"") -> IO[bytes]:
    file = open(os.memfd_create("message"), "w+b")
    file.write(data)
    file.seek(0)
    return file


def _last_line(fd: int) -> str:
    size = os.fstat(fd).st_size
    text = os.pread(fd, _SAID_MOST, max(0, size - _SAID_MOST)).decode("utf-8", "replace")
    lines: Sequence[str] = [line.strip() for line in text.split("\n") if line.strip()]
    return one_line(lines[-1]) if lines else ""


def _raise_verdict(code: int, said: str, command: str) -> None:
    reason = _unprintable.sub("?", said)[:_REASON_MOST]
    if code == HARMFUL:
        raise Harmful(reason or "The content of the message is not wanted here")
    if code in REFUSED:
        raise PolicyRefused(reason or "The content of the message is not wanted here")
    if code in PUT_OFF:
        raise SystemTrouble(reason or "The content of the message cannot be examined now")
    if code not in (0, FOR_JUNK):
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        raise SystemTrouble(detail=f"{command!r} ended with {how}: {said}")


def _message_of(output: bytes, id_: str, command: str) -> bytes:
    """Give what a program printed as LF text; raise SystemTrouble for anything but our message."""
    text = output.replace(b"\r\n", b"\n")
    header = text.partition(b"\n\n")[0]
    # Our Received field tells the message from chatter, and from one that was cut short.
    if f" id {id_}".encode() not in header or b"\r" in text or b"\0" in text:
        raise SystemTrouble(detail=f"{command!r} printed what is not the message it was given")
    return text if text.endswith(b"\n") else text + b"\n"
