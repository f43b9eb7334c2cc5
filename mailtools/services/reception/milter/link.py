"""One milter, as one session of ours sees it: its connection, and what is done without it.

Nothing here raises: whatever goes wrong becomes the answer that the operator chose for it, and one
log line. The connection is for one session of a peer, since libmilter ends what it knows of a peer
with its connection; it carries all messages of that session, and is made anew for the next message
where it broke.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from mailtools import log
from mailtools.mail.reply import Reply
from mailtools.protocol.milter.answers import Answer, Quarantined, Verdict
from mailtools.protocol.milter.client import (
    CONNECT,
    GO_ON,
    HELO,
    MAIL,
    Dialog,
    MilterClient,
    Stage,
)
from mailtools.protocol.milter.wire import BadPacket, Packet, PacketReader, Step

ANSWER_TIME = 30.0  # seconds: Postfix' milter_connect_timeout and milter_command_timeout
MESSAGE_TIME = 300.0  # Postfix' milter_content_timeout
LONGEST = 540.0  # RFC 5321 4.5.3.2.6: the peer waits ten minutes for the answer to its message
_READ = 65536

_UNAVAILABLE = "Service unavailable"
DEFAULTS = {
    "tempfail": Answer(
        Verdict.TEMPFAIL, Reply(451, "4.7.1", (f"{_UNAVAILABLE} - try again later",))
    ),
    "reject": Answer(Verdict.REJECT, Reply(550, "5.5.0", (_UNAVAILABLE,))),
    "accept": GO_ON,
    "quarantine": Answer(Verdict.CONTINUE, None, (Quarantined("it did not answer"),)),
}
"""What a milter is taken to say that does not say anything."""
SIDES = ("exchange", "submission")  # where a milter is asked: without --submission, and with it


class Milter(NamedTuple):
    """A line of the control file `milters`."""

    name: str
    """The endpoint as it is written."""
    path: str = ""
    """Of a Unix socket; "" for one of the network."""
    host: str = ""
    port: int = 0
    default: str = "tempfail"
    """What is done without its answer: a word of DEFAULTS."""
    seconds: float = 0.0
    """How long an answer may take; 0: 30 s, and five minutes for that to a message."""
    side: str = ""
    """A word of SIDES; "" for both."""

    def patience(self, *, message: bool = False) -> float:
        """Seconds to wait for an answer."""
        return min(self.seconds or (MESSAGE_TIME if message else ANSWER_TIME), LONGEST)


class Link:
    """One milter in one session."""

    def __init__(self, milter: Milter, note: Callable[..., None] = log.event) -> None:
        """Take the milter, and what notes its troubles."""
        self.milter = milter
        self._note = note
        self._socket: socket.socket | None = None
        self._client = MilterClient()
        self._reader = PacketReader()
        self._story: dict[str, tuple[Stage, bytes, Mapping[str, str]]] = {}
        self._sentence: Answer | None = None  # for the whole session
        self._broken: Answer | None = None  # until the next message
        self._open = False  # a message was begun
        self._passed = False  # and accepted by this milter

    @property
    def wants_refused(self) -> bool:
        """Whether it is told of recipients that we refuse."""
        return self._idle() is None and Step.REFUSED_RCPT in self._client.steps

    def probe(self) -> bool:
        """Whether it is there, and speaks our language; nothing is said of any peer."""
        self._open_up()
        self.close()
        return self._broken is None

    def greet(self, data: bytes, macros: Mapping[str, str]) -> Answer:
        """Connect, and say who the peer is."""
        self._story = {CONNECT.name: (CONNECT, data, macros)}
        return self._begin()

    def hello(self, data: bytes, macros: Mapping[str, str]) -> Answer:
        """Say what the peer calls itself."""
        self.reset()
        self._story[HELO.name] = (HELO, data, macros)
        return self._for_good(self._tell(HELO, data, macros))

    def mail(self, data: bytes, macros: Mapping[str, str]) -> Answer:
        """Begin a message; a milter that was lost meanwhile gets another chance."""
        self.reset()
        if self._broken is None:
            answer = self._mail(data, macros)
            if self._broken is None:
                return answer
        self._broken = None
        self._begin()
        return self._idle() or self._mail(data, macros)

    def _mail(self, data: bytes, macros: Mapping[str, str]) -> Answer:
        self._open = self._idle() is None
        return self.tell(MAIL, data, macros)

    def tell(self, stage: Stage, data: bytes, macros: Mapping[str, str]) -> Answer:
        """Say what happened to the message in hand."""
        if self._passed:
            return GO_ON
        answer = self._tell(stage, data, macros)
        self._passed = answer.verdict in (Verdict.ACCEPT, Verdict.DISCARD)
        return answer

    def message(
        self, header: Iterable[tuple[bytes, bytes]], body: bytes, macros: Mapping[str, str]
    ) -> Answer:
        """Show the whole message, and hear what is to become of it."""
        if self._passed:
            return GO_ON
        return self._idle() or self._run(
            self._client.message(header, body, macros), "message", message=True
        )

    def reset(self) -> None:
        """End the message in hand, if there is one."""
        self._passed = False
        if self._open:
            self._open = False
            self._send(self._client.abort())

    def close(self) -> None:
        """Say goodbye."""
        self._send(self._client.quit())
        self._drop()

    # -- how it goes ------------------------------------------------------------------------------

    def _idle(self) -> Answer | None:
        """What is answered without asking; None: it is asked."""
        return self._sentence or self._broken

    def _begin(self) -> Answer:
        """Connect, and tell what is known of the peer by now."""
        answer = self._open_up()
        for stage, data, macros in list(self._story.values()):
            if self._idle() is not None:
                break
            answer = self._for_good(self._tell(stage, data, macros))
        return self._idle() or answer

    def _open_up(self) -> Answer:
        milter = self.milter
        self._client, self._reader = MilterClient(), PacketReader()
        try:
            self._socket = connect(milter)
        except OSError as error:
            return self._trouble("connect", f"no connection: {error.strerror or error}")
        return self._run(self._client.negotiate(), "connect")

    def _tell(self, stage: Stage, data: bytes, macros: Mapping[str, str]) -> Answer:
        return self._idle() or self._run(self._client.tell(stage, data, macros), stage.name)

    def _for_good(self, answer: Answer) -> Answer:
        """Keep what was said of the peer itself: it holds for all its messages."""
        if self._broken is None and (answer.refuses or answer.verdict is Verdict.ACCEPT):
            self._sentence = answer if answer.refuses else GO_ON
            self.close()
        return answer if answer.refuses else GO_ON

    def _run(self, dialog: Dialog, at: str, *, message: bool = False) -> Answer:
        """Carry a dialog to its end."""
        patience = self.milter.patience(message=message)
        end = time.monotonic() + LONGEST
        try:
            data = next(dialog)
            while True:
                assert self._socket is not None
                self._socket.settimeout(patience)
                if data:
                    self._socket.sendall(data)
                data = dialog.send(self._packet(patience, end))
        except StopIteration as done:
            answer: Answer = done.value
            return answer
        except TimeoutError:
            return self._trouble(at, "no answer in time")
        except OSError as error:
            return self._trouble(at, f"connection lost: {error.strerror or error}")
        except BadPacket as fault:
            return self._trouble(at, f"it said what it must not: {fault}")

    def _packet(self, patience: float, end: float) -> Packet:
        """Wait for a packet: a whole one, not each octet of it."""
        until = min(time.monotonic() + patience, end)
        while (packet := self._reader.take()) is None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            assert self._socket is not None
            self._socket.settimeout(left)
            data = self._socket.recv(_READ)
            if not data:
                raise ConnectionResetError("it hung up")
            self._reader.feed(data)
        return packet

    def _trouble(self, at: str, why: str) -> Answer:
        self._drop()
        self._open = False
        default = self.milter.default
        self._note("trouble", milter=self.milter.name, at=at, action=default, detail=why)
        self._broken = DEFAULTS[default]
        return self._broken

    def _send(self, data: bytes) -> None:
        """Say what has no answer; where that fails, the next question will notice."""
        if self._socket is None:
            return
        try:
            self._socket.settimeout(ANSWER_TIME)
            self._socket.sendall(data)
        except OSError:
            pass

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def connect(milter: Milter) -> socket.socket:
    """Connect to a milter; raise OSError."""
    timeout = milter.patience()
    if not milter.path:
        sock = socket.create_connection((milter.host, milter.port), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(timeout)
        sock.connect(milter.path)
    except BaseException:
        sock.close()
        raise
    return sock


def read_milter(line: str, seconds_of: Callable[[str], float | None]) -> Milter:
    """Read a line of the control file; raise ValueError that says what is wrong.

    `seconds_of` reads a duration, and gives None for what is none.
    """
    where, *words = line.split()
    milter = _endpoint(where)
    for word in words:
        if word in DEFAULTS:
            milter = milter._replace(default=word)
        elif word in SIDES:
            milter = milter._replace(side=word)
        elif seconds := seconds_of(word):
            milter = milter._replace(seconds=seconds)
        else:
            known = ", ".join((*DEFAULTS, *SIDES))
            raise ValueError(f"{word!r} is neither a duration nor one of {known}")
    return milter


def _endpoint(where: str) -> Milter:
    kind, colon, rest = where.partition(":")
    if colon and kind in ("unix", "local") and rest.startswith("/"):
        return Milter(where, path=rest)
    if colon and kind in ("inet", "inet6"):
        if "@" in rest:  # as libmilter writes it
            port, _, host = rest.partition("@")
        else:  # as Postfix does
            host, _, port = rest.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if host and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return Milter(where, host=host, port=int(port))
    form = "inet:host:port, inet6:[address]:port or unix:/path"
    raise ValueError(f"{where!r} is no milter: {form} expected")
