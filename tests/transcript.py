"""Plays the dialogs of tests/transcripts: against an engine in several ways, and a real process.

A transcript is a text file:

    # a comment
    #! option another=value     how our side is set up; the folder's play.py knows more
    C: EHLO client.example      the client's line; CRLF is added
    C= half a line\\n            the client's octets as they are: \\r \\n \\t \\0 \\xHH \\\\ read
    S: 250-*                    the server's line; * is any text within it
    S: ...                      any further lines
    *** tls                     both sides start TLS here
    *** silence                 the peer says nothing until our side's patience ends
    *** end                     the peer closes its half of the connection
    *** closed                  our side has closed

`not=whole,bytes,together,process` in an option line leaves ways of playing out. Each folder has a
play.py with `engine(options)`, perhaps `process(site, options) -> [command, argument, ...]`, and
perhaps `OURS = "C"` where our side is the client.
"""

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parent / "transcripts"
WAYS = ("whole", "bytes", "together", "process")
PATIENCE = 30.0

_escape = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")
_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}


@dataclass
class Turn:
    """What one side says in one go, or a happening (`***`)."""

    kind: str  # "said" by the peer, "answer" of ours, or the name of a happening
    data: bytes = b""
    pattern: bytes = b""


@dataclass
class Transcript:
    path: Path
    options: dict[str, str] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)

    @property
    def ways(self) -> list[str]:
        left_out = self.options.get("not", "").split(",")
        return [way for way in WAYS if way not in left_out]


def read(path: Path, ours: str = "S") -> Transcript:
    """Read a transcript; `ours` is the letter of our side."""
    made = Transcript(path)
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#!"):
            made.options |= dict((word.partition("=")[::2]) for word in line[2:].split())
        elif line.startswith("***"):
            made.turns.append(Turn(line[3:].strip()))
        elif line[:2] in ("C:", "S:", "C=", "S="):
            _add(made, line, line[0] == ours)
        elif line.strip() and line[0] != "#":
            raise ValueError(f"{path}:{number}: not a transcript line: {line!r}")
    return made


def _add(made: Transcript, line: str, is_ours: bool) -> None:
    kind = "answer" if is_ours else "said"
    if not made.turns or made.turns[-1].kind != kind:
        made.turns.append(Turn(kind))
    turn = made.turns[-1]
    text = line[2:].removeprefix(" ")
    if is_ours:
        turn.pattern += _pattern(text)
    elif line[1] == "=":
        turn.data += _escape.sub(_unescaped, text).encode("latin-1")
    else:
        turn.data += f"{text}\r\n".encode()


def _pattern(text: str) -> bytes:
    if text == "...":
        return rb"(?:[^\r\n]*\r\n)*?"
    return b"[^\r\n]*".join(map(re.escape, text.encode().split(b"*"))) + rb"\r\n"


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _ESCAPES[match[2]]


def hooks(folder: str) -> ModuleType:
    """Load a folder's play.py."""
    spec = spec_from_file_location(f"play_{folder}", FOLDER / folder / "play.py")
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def everything() -> Iterator[tuple[str, Path, str]]:
    """Yield each folder, transcript and way to play it."""
    for player in sorted(FOLDER.glob("*/play.py")):
        folder = player.parent.name
        module = hooks(folder)
        for path in sorted(player.parent.glob("*.txt")):
            for way in read(path, getattr(module, "OURS", "S")).ways:
                if way != "process" or hasattr(module, "process"):
                    yield folder, path, way


# -- against an engine ----------------------------------------------------------------------------


def drain(engine: Any) -> bytes:
    """All that an engine has to say now."""
    said = b""
    while piece := engine.output():
        said += piece
    return said


def play_engine(made: Transcript, engine: Any, way: str) -> None:
    """Play against an engine: `whole` turns, single `bytes`, all `together` to a happening."""
    turns = _joined(made.turns) if way == "together" else made.turns
    said = drain(engine)
    for turn in turns:
        if turn.kind == "said":
            pieces = [turn.data] if way != "bytes" else [bytes((octet,)) for octet in turn.data]
            for piece in pieces:
                engine.receive(piece)
                said += drain(engine)
        elif turn.kind == "answer":
            _match(made, turn, said)
            said = b""
        else:
            assert not said, f"{made.path.name}: unexpected {said!r}"
            said = _happen(made, turn.kind, engine)
    assert not said, f"{made.path.name}: unexpected at the end: {said!r}"


def _happen(made: Transcript, kind: str, engine: Any) -> bytes:
    if kind == "tls":
        assert engine.wants_tls, f"{made.path.name}: the engine does not want TLS"
        engine.tls_started()
    elif kind == "silence":
        assert engine.timeout > 0
        engine.timed_out()
    elif kind == "end":
        engine.receive(b"")
    elif kind == "closed":
        assert engine.closed, f"{made.path.name}: the engine goes on"
    else:
        raise ValueError(f"{made.path}: unknown happening {kind!r}")
    return drain(engine)


def _match(made: Transcript, turn: Turn, said: bytes) -> None:
    assert re.fullmatch(turn.pattern, said, re.DOTALL), (
        f"{made.path.name}\nexpected {turn.pattern.decode()}\ngot {said.decode(errors='replace')}"
    )


def _joined(turns: list[Turn]) -> list[Turn]:
    """The same with what each side says between two happenings in one turn."""
    joined: list[Turn] = []
    said, answer = Turn("said"), Turn("answer")
    for turn in [*turns, Turn("")]:
        if turn.kind == "said":
            said.data += turn.data
        elif turn.kind == "answer":
            answer.pattern += turn.pattern
        else:
            joined += [said, answer] if said.data or answer.pattern else []
            joined += [turn] if turn.kind else []
            said, answer = Turn("said"), Turn("answer")
    return joined


# -- against a process ----------------------------------------------------------------------------


def play_process(
    made: Transcript, launch: Callable[[socket.socket], Any], context: ssl.SSLContext
) -> None:
    """Play against a process that `launch` starts with one end of a socket pair as stdin."""
    peer, theirs = socket.socketpair()
    with peer:
        process = launch(theirs)
        theirs.close()
        connection: socket.socket = peer
        connection.settimeout(PATIENCE)
        for turn in made.turns:
            if turn.kind == "said":
                connection.sendall(turn.data)
            elif turn.kind == "answer":
                _match(made, turn, _answer(connection, turn.pattern))
            elif turn.kind == "tls":
                connection = context.wrap_socket(connection, server_hostname="mail.example.org")
            elif turn.kind == "end":
                connection.shutdown(socket.SHUT_WR)
            elif turn.kind == "closed":
                assert _to_the_end(connection) == b""
        connection.close()
    assert process.wait(PATIENCE) == 0


def _answer(connection: socket.socket, pattern: bytes) -> bytes:
    said = b""
    until = time.monotonic() + PATIENCE
    while not re.fullmatch(pattern, said, re.DOTALL) and time.monotonic() < until:
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            break
        if not piece:
            break
        said += piece
    return said


def _to_the_end(connection: socket.socket) -> bytes:
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said
