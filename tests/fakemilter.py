"""A milter that does as it is told: it speaks the raw protocol and writes down what it hears.

`answers` maps a command (C H M R T L N B E U) to the packets that answer it, in their order; what
is not in it is continued. `DIE` hangs up instead, `HANG` says nothing.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Mapping, Sequence

GO_ON = (b"c",)
DIE, HANG = (b"DIE",), (b"HANG",)
ALL = 0x1FF


def packet(data: bytes) -> bytes:
    return struct.pack("!I", len(data)) + data


class FakeMilter:
    """Listens on loopback until it is closed; sessions run in threads."""

    def __init__(
        self,
        answers: Mapping[str, Sequence[bytes]] | None = None,
        *,
        steps: int = 0,
        version: int = 6,
        options: bytes = b"",
        port: int = 0,
    ) -> None:
        """`steps` are the SMFIP bits it asks for, `options` what follows in its negotiation."""
        self.answers = dict(answers or {})
        self.steps, self.version, self.options = steps, version, options
        self.heard: list[tuple[str, bytes]] = []
        """Commands and their data, of all sessions; macros are `Dx` for command x."""
        self.sessions = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"inet:127.0.0.1:{self.port}"

    def commands(self) -> str:
        """The commands that were heard, without macros; sessions that end have a moment for it."""
        for session in self._threads:
            session.join(5)
        return "".join(command for command, _ in self.heard if len(command) == 1)

    def said(self, command: str) -> list[bytes]:
        """The data of each command of that kind."""
        return [data for kind, data in self.heard if kind == command]

    def macros(self, command: str) -> dict[str, str]:
        """The macros that were told last for a command."""
        words = self.said(f"D{command}")[-1].decode().split("\0")[:-1]
        return dict(zip(words[::2], words[1::2], strict=True))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all sessions, and go on listening."""
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self.sessions += 1
            thread = threading.Thread(target=self._session, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _session(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as incoming, contextlib.suppress(OSError):
            while head := incoming.read(4):
                data = incoming.read(struct.unpack("!I", head)[0])
                command, rest = data[:1].decode(), data[1:]
                if command == "O":
                    reply = struct.pack("!III", self.version, ALL, self.steps) + self.options
                    self._say(connection, self.answers.get("O", [b"O" + reply]))
                elif command == "D":
                    self.heard.append((f"D{rest[:1].decode()}", rest[1:]))
                else:
                    self.heard.append((command, rest))
                    if command not in "AQK" and not self._silent(command):
                        answer = self.answers.get(command, GO_ON)
                        if answer == DIE:
                            return
                        self._say(connection, answer)

    def _say(self, connection: socket.socket, packets: Sequence[bytes]) -> None:
        if packets == HANG:
            return
        connection.sendall(b"".join(packet(each) for each in packets))

    def _silent(self, command: str) -> bool:
        bits = {"L": 7, "C": 12, "H": 13, "M": 14, "R": 15, "T": 16, "U": 17, "N": 18, "B": 19}
        return command in bits and bool(self.steps & 1 << bits[command])
