"""A scripted SMTP peer for tests: plays transcripts, one a connection, on 127.0.0.1.

    with Sink([made, made]) as sink: relay to sink.port
    sink.check()          raises what went otherwise than written

Lines `C:` are what the client must say, `S:` what is said; `*** tls` is a handshake, `*** closed`
waits for the client to close, `*** end` closes politely, `*** drop` resets the connection.
"""

import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Self

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
    ) -> None:
        self._scripts = list(scripts)
        self._context, self._implicit = context, implicit
        self._server = socket.create_server((host, 0))
        self._server.settimeout(PATIENCE)
        self.port: int = self._server.getsockname()[1]
        self.fault: BaseException | None = None
        self.heard: list[bytes] = []
        """What the clients said, a connection each."""
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
                sock, _ = self._server.accept()
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
