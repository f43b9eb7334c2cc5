"""A plain IMAP client for tests: octets to and from a process or a socket, responses as lists.

It hides nothing: what the server says is there as it said it, and parsed beside.
"""

import os
import re
import select
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 30.0
_literal = re.compile(rb"~?\{([0-9]+)\}\r\n\Z")
_token = re.compile(rb'[ ]*(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|~?\{([0-9]+)\}\r\n)', re.DOTALL)
_atom = re.compile(rb"[ ]*((?:[^ ()\[\]\"{\r\n<]|\[[^\]]*\]|<[^>]*>)+)")


@dataclass
class Result:
    """What came for one command: untagged responses whole, and the tagged line."""

    untagged: list[bytes] = field(default_factory=list)
    tagged: bytes = b""

    @property
    def status(self) -> str:
        return self.tagged.split(b" ", 2)[1].decode()

    @property
    def code(self) -> str:
        match = re.match(rb"\S+ \S+ \[([^\]]*)\]", self.tagged)
        return match[1].decode() if match else ""

    def fetched(self) -> dict[int, dict[str, Any]]:
        """Each FETCH response: message number → item → value (lists, bytes, None for NIL)."""
        found: dict[int, dict[str, Any]] = {}
        for line in self.untagged:
            match = re.match(rb"\* ([0-9]+) FETCH ", line)
            if match:
                items = parse(line[match.end() :])[0]
                pairs = zip(items[::2], items[1::2], strict=True)
                found.setdefault(int(match[1]), {}).update(
                    {name.decode().upper(): value for name, value in pairs}
                )
        return found

    def numbers(self) -> list[int]:
        """The numbers of a SEARCH response."""
        line = next(line for line in self.untagged if line.startswith(b"* SEARCH"))
        return [int(word) for word in line.split()[2:]]

    def starting(self, word: str) -> list[bytes]:
        """Untagged responses that begin with a word."""
        return [line for line in self.untagged if line.startswith(f"* {word}".encode())]


def parse(data: bytes) -> list[Any]:
    """Read IMAP data: lists, strings and atoms as bytes, NIL as None."""
    stack: list[list[Any]] = [[]]
    position = 0
    while position < len(data) and data[position:].strip():
        match = _token.match(data, position)
        if match:
            position = match.end()
            if match[1]:
                stack.append([])
            elif match[2]:
                done = stack.pop()
                stack[-1].append(done)
            elif match[4]:
                stack[-1].append(data[position : position + int(match[4])])
                position += int(match[4])
            else:
                stack[-1].append(re.sub(rb"\\(.)", rb"\1", match[3], flags=re.DOTALL))
            continue
        atom = _atom.match(data, position)
        assert atom, data[position : position + 60]
        position = atom.end()
        stack[-1].append(None if atom[1] == b"NIL" else atom[1])
    assert len(stack) == 1, data
    return stack[0]


class Client:
    """One session."""

    def __init__(self, read_fd: int, write_fd: int, process: Any = None) -> None:
        self._in, self._out = read_fd, write_fd
        self._buffer = b""
        self._process = process
        self._count = 0
        self.greeting = self.response()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for fd in {self._in, self._out}:
            try:
                os.close(fd)
            except OSError:
                pass
        if self._process:
            self._process.wait(PATIENCE)

    # -- octets -----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._out, view) :]

    def _fill(self) -> None:
        ready, _, _ = select.select([self._in], [], [], PATIENCE)
        assert ready, f"the server is silent; it had said {self._buffer!r}"
        data = os.read(self._in, 1 << 16)
        assert data, f"the server has closed; it had said {self._buffer!r}"
        self._buffer += data

    def response(self) -> bytes:
        """Read one response, with the literals in it."""
        end = 0
        while True:
            newline = self._buffer.find(b"\r\n", end)
            if newline < 0:
                self._fill()
                continue
            end = newline + 2
            match = _literal.search(self._buffer[max(0, end - 40) : end])
            if not match:
                line, self._buffer = self._buffer[:end], self._buffer[end:]
                return line
            end += int(match[1])
            while len(self._buffer) < end:
                self._fill()

    def quiet(self) -> bool:
        """Whether the server has said nothing that was not read."""
        return not self._buffer and not select.select([self._in], [], [], 0)[0]

    def wait_for(self, start: bytes) -> bytes:
        """Read responses up to one that begins so."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            line = self.response()
            if line.startswith(start):
                return line
        raise AssertionError(f"no {start!r}")

    # -- commands ---------------------------------------------------------------------------------

    def start(self, command: str | bytes) -> bytes:
        """Send a command, and give its tag."""
        self._count += 1
        tag = b"T%d" % self._count
        text = command.encode() if isinstance(command, str) else command
        self.send(tag + b" " + text + b"\r\n")
        return tag

    def finish(self, tag: bytes) -> Result:
        """Read all up to a command's end."""
        result = Result()
        while True:
            line = self.response()
            if line.startswith(tag + b" "):
                result.tagged = line
                return result
            result.untagged.append(line)

    def do(self, command: str | bytes) -> Result:
        """Send a command, and give what came."""
        return self.finish(self.start(command))

    def ok(self, command: str | bytes) -> Result:
        """Send a command that is to succeed."""
        result = self.do(command)
        assert result.status == "OK", (command, result.tagged)
        return result

    def append(self, name: str, message: bytes, options: str = "") -> Result:
        """Append with a literal that is not waited for."""
        head = f"APPEND {name} {options}{{{len(message)}+}}\r\n".encode()
        return self.ok(head + message)


def piped(command: list[str], **extra: Any) -> Client:
    """Start a process whose session is on pipes."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, **extra
    )
    assert process.stdin
    assert process.stdout
    return Client(os.dup(process.stdout.fileno()), _moved(process.stdin), _Closed(process))


def connected(sock: socket.socket) -> Client:
    """Talk over a connected socket."""
    fd = sock.detach()
    return Client(fd, fd)


def _moved(pipe: Any) -> int:
    fd = os.dup(pipe.fileno())
    pipe.close()
    return fd


class _Closed:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        assert process.stdout
        process.stdout.close()

    def wait(self, seconds: float) -> None:
        self._process.wait(seconds)


DOVECOT = next(
    (p for p in ("/usr/lib/dovecot/imap", "/usr/libexec/dovecot/imap") if os.path.exists(p)), ""
)
"""Dovecot's session program, where it is installed."""


def dovecot(folder: Path, maildir: Path, *settings: str) -> Client:
    """Serve a Maildir by Dovecot, logged in; `folder` is for its own files.

    Dovecot does not serve root: then it runs as nobody, who gets the Maildir.
    """
    folder.mkdir(exist_ok=True)
    config = folder / "dovecot.conf"
    lines = [
        f"base_dir = {folder}/run",
        f"log_path = {folder}/log",
        "ssl = no",
        "protocols = imap",
        "stats_writer_socket_path =",
        f"mail_location = maildir:{maildir}",
        "namespace inbox {\n  inbox = yes\n}",
        *settings,
    ]
    config.write_text("\n".join(lines) + "\n")
    (folder / "log").touch()
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "MAIL": f"maildir:{maildir}"}
    command = [DOVECOT, "-c", str(config)]
    extra: dict[str, Any] = {}
    if os.geteuid() == 0:
        for path in (folder, folder / "log", maildir, *maildir.rglob("*")):
            shutil.chown(path, "nobody")
        for above in (folder, *folder.parents):
            if above.stat().st_uid == 0 and above != Path("/"):
                above.chmod(above.stat().st_mode | 0o711)
        extra = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        environ["USER"] = "nobody"
    else:
        environ["USER"] = os.environ.get("USER", "nobody")
    return piped(command, env=environ, **extra)
