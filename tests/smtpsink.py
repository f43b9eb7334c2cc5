"""A scripted SMTP peer for tests: plays transcripts, one a connection, on 127.0.0.1.

    with Sink([made, made]) as sink: relay to sink.port
    sink.check()          raises what went otherwise than written

Lines `C:` are what the client must say, `S:` what is said; `*** tls` is a handshake, `*** alert`
one that fails and ends the connection, `*** closed` waits for the client to close, `*** end` closes
politely, `*** drop` resets the connection.
"""

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO, Self

from transcript import Transcript

PATIENCE = 10.0


class Sink:
    def __init__(
        self,
        scripts: Sequence[Transcript],
        context: ssl.SSLContext | None = None,
        *,
        implicit: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self._scripts = list(scripts)
        self._context, self._implicit = context, implicit
        self._server = socket.create_server((host, port))
        self._server.settimeout(PATIENCE)
        self.port: int = self._server.getsockname()[1]
        self.fault: BaseException | None = None
        self.heard: list[bytes] = []
        """What the clients said, a connection each."""
        self.peers: list[str] = []
        """Where they came from."""
        self.before: Callable[[int], None] = lambda _: None
        """Called with the connection's number before its first byte."""
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE)
        self._server.close()

    def check(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the peer still waits for a connection or a line"
        if self.fault:
            raise self.fault

    def _serve(self) -> None:
        try:
            for number, script in enumerate(self._scripts):
                sock, peer = self._server.accept()
                self.peers.append(peer[0] if peer else "")
                self.before(number)
                self.heard.append(b"")
                with sock:
                    sock.settimeout(PATIENCE)
                    if self._implicit:
                        assert self._context
                        with self._context.wrap_socket(sock, server_side=True) as tls:
                            self._play(script, tls)
                    else:
                        self._play(script, sock)
        except BaseException as error:
            self.fault = error

    def _play(self, script: Transcript, sock: socket.socket) -> None:
        for turn in script.turns:
            if turn.kind == "said":
                sock.sendall(turn.data)
            elif turn.kind == "answer":
                self._expect(script, turn.pattern, sock)
            elif turn.kind == "tls":
                assert self._context
                sock = self._context.wrap_socket(sock, server_side=True)
            elif turn.kind == "alert":
                assert self._context
                _break_off(self._context, sock)
                return
            elif turn.kind == "closed":
                said = sock.recv(65536)
                assert said == b"", f"{script.path.name}: unexpected {said!r}"
            elif turn.kind == "end":
                sock.shutdown(socket.SHUT_RDWR)
            elif turn.kind == "drop":
                linger = struct.pack("ii", 1, 0)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                sock.close()
        sock.close()

    def _expect(self, script: Transcript, pattern: bytes, sock: socket.socket) -> None:
        said = b""
        while not re.fullmatch(pattern, said, re.DOTALL):
            piece = sock.recv(65536)
            self.heard[-1] += piece
            said += piece
            assert piece, (
                f"{script.path.name}: expected {pattern.decode()}\n"
                f"got {said.decode(errors='replace')}, then the end"
            )


def _break_off(context: ssl.SSLContext, sock: socket.socket) -> None:
    """Begin a handshake that one of the two will not finish."""
    try:
        with context.wrap_socket(sock, server_side=True) as tls:
            assert not tls.recv(1), "the client went on"
    except OSError:
        pass


class Taker:
    """A peer that takes everything, on as many connections as come, each in a thread."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        gate: int = 0,
        offers: Sequence[str] = ("PIPELINING", "8BITMIME"),
        patience: float = PATIENCE,
    ) -> None:
        """With `gate`, the answer to each message waits until so many messages are there.

        `patience`: seconds that it waits for anything.
        """
        self._patience = patience
        self._hello = "\r\n".join(["250-taker", *(f"250-{offer}" for offer in offers), "250 HELP"])
        self._server = socket.create_server((host, port), backlog=1000)
        self.port: int = self._server.getsockname()[1]
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.messages: list[tuple[str, list[str], bytes]] = []
        """Reverse-path, forward-paths and wire text of each message."""
        self.gate = threading.Barrier(gate) if gate else None
        self.arrived = threading.Event()
        """A whole message is there, and its answer is not out yet."""
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._accepting.join(self._patience)
        self._server.close()
        for thread in self._threads:
            thread.join(self._patience)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._session, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _session(self, sock: socket.socket) -> None:
        with self._lock:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
        try:
            with sock, sock.makefile("rb") as lines:
                sock.settimeout(self._patience)
                sock.sendall(b"220 taker\r\n")
                self._talk(sock, lines)
        except OSError:
            pass
        finally:
            with self._lock:
                self.open -= 1

    def _talk(self, sock: socket.socket, lines: BinaryIO) -> None:
        sender, paths = "", []
        for line in lines:
            verb = line[:4].upper()
            if verb in (b"EHLO", b"LHLO"):
                sock.sendall(f"{self._hello}\r\n".encode())
                continue
            if verb == b"MAIL":
                sender, paths = _between(line), []
            elif verb == b"RCPT":
                paths.append(_between(line))
            elif verb == b"DATA":
                sock.sendall(b"354 go\r\n")
                pieces = list(iter(lines.readline, b".\r\n"))
                self.arrived.set()
                if self.gate:
                    self.gate.wait(self._patience)
                with self._lock:
                    self.messages.append((sender, paths, b"".join(pieces)))
            elif verb == b"QUIT":
                sock.sendall(b"221 bye\r\n")
                return
            sock.sendall(b"250 ok\r\n")


def _between(line: bytes) -> str:
    return line.decode().partition("<")[2].partition(">")[0]
