"""An MTA's half of the milter protocol (sans-IO): what is said at each stage, and what is heard.

A stage is a Dialog: a generator that yields octets to send (b"" for none) whenever it waits for a
packet, is sent that packet, and returns the Answer. What a milter said it will not answer goes out
with whatever is said next. BadPacket ends a connection: nothing more can be made of it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import NamedTuple

from mailtools.protocol.milter.answers import (
    PROGRESS,
    Answer,
    BodyReplaced,
    Change,
    Verdict,
    parse_answer,
    parse_change,
)
from mailtools.protocol.milter.wire import (
    ALL_ACTIONS,
    ALL_STEPS,
    CHUNK,
    VERSION,
    BadPacket,
    Fields,
    Packet,
    Step,
    encode,
    number,
    text,
)

Dialog = Generator[bytes, Packet, Answer]

CHANGES_MOST = 1 << 28  # octets of new body and fields that are kept for one message
_PIECE = 32768

GO_ON = Answer(Verdict.CONTINUE)


class Stage(NamedTuple):
    """What is said about one thing that happened."""

    name: str
    command: bytes
    unwanted: Step
    silent: Step
    symbols: int | None = None
    """The number of its list of macros (SMFIM_*)."""
    macros: tuple[str, ...] = ()
    """Those that are told where the milter named none: Postfix' choice, and what rspamd reads."""
    since: int = 2
    """The version that knows it."""


_CONNECT = ("j", "{daemon_name}", "{daemon_addr}", "{daemon_port}", "v", "_", "{client_addr}",
            "{client_name}", "{client_port}", "{client_ptr}", "{client_resolve}")  # fmt: skip
_HELO = ("{tls_version}", "{cipher}", "{cipher_bits}", "{cert_subject}", "{cert_issuer}")
_MAIL = ("i", "{auth_type}", "{auth_authen}", "{auth_author}", "{mail_addr}", "{mail_host}",
         "{mail_mailer}")  # fmt: skip
_RCPT = ("i", "{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}")

CONNECT = Stage("connect", b"C", Step.NO_CONNECT, Step.SILENT_CONNECT, 0, _CONNECT)
HELO = Stage("helo", b"H", Step.NO_HELO, Step.SILENT_HELO, 1, _HELO)
MAIL = Stage("mail", b"M", Step.NO_MAIL, Step.SILENT_MAIL, 2, _MAIL)
RCPT = Stage("rcpt", b"R", Step.NO_RCPT, Step.SILENT_RCPT, 3, _RCPT)
DATA = Stage("data", b"T", Step.NO_DATA, Step.SILENT_DATA, 4, ("i",), since=4)
UNKNOWN = Stage("unknown", b"U", Step.NO_UNKNOWN, Step.SILENT_UNKNOWN, since=3)
HEADER = Stage("header", b"L", Step.NO_HEADERS, Step.SILENT_HEADERS)
END_OF_HEADER = Stage("header", b"N", Step.NO_END_OF_HEADER, Step.SILENT_END_OF_HEADER, 6, ("i",))
BODY = Stage("body", b"B", Step.NO_BODY, Step.SILENT_BODY)
END_OF_MESSAGE = Stage("message", b"E", Step(0), Step(0), 5, ("i",))

_BY_SYMBOLS = (CONNECT, HELO, MAIL, RCPT, DATA, END_OF_MESSAGE, END_OF_HEADER)


class MilterClient:
    """One connection to a milter: negotiate first, then a Dialog for each thing that happens."""

    def __init__(self) -> None:
        self.steps = Step(0)
        """What was agreed on."""
        self._version = VERSION
        self._symbols: dict[int, tuple[str, ...]] = {}
        self._unsent = bytearray()

    def negotiate(self) -> Dialog:
        """Agree on what is said; the answer is always to go on."""
        packet = yield encode(b"O", number(VERSION), number(ALL_ACTIONS), number(ALL_STEPS))
        if packet.command != b"O":
            raise BadPacket("another answer than its options")
        fields = Fields(packet.data)
        self._version, _, steps = fields.number(), fields.number(), fields.number()
        if not 2 <= self._version <= VERSION:
            raise BadPacket(f"version {self._version} of the protocol")
        self.steps = Step(steps & ALL_STEPS)
        while fields.more:
            kind, names = fields.number(), fields.text()
            words = names.decode("ascii", "replace").replace(",", " ").split()
            self._symbols[kind] = tuple(words)
        return GO_ON

    def wants(self, stage: Stage) -> bool:
        """Whether the milter is told of such a thing."""
        return stage.since <= self._version and not stage.unwanted & self.steps

    def tell(self, stage: Stage, data: bytes, macros: Mapping[str, str]) -> Dialog:
        """Say what happened, with those of the macros that the milter wants to know of it."""
        self._say_macros(stage, macros)  # even where the thing itself is not wanted, as Sendmail
        if not self.wants(stage):
            return GO_ON
        self._unsent += encode(stage.command, data)
        if stage.silent & self.steps:
            return GO_ON
        return (yield from self._hear(stage))

    def message(
        self, header: Iterable[tuple[bytes, bytes]], body: bytes, macros: Mapping[str, str]
    ) -> Dialog:
        """Show a whole message: its fields (name, all behind the colon), its body as LF text.

        The answer has what is to be changed. Any verdict before the end is final.
        """
        for content in (self._show_header(header), self._show_body(body, macros)):
            answer = yield from content
            if answer.verdict is not Verdict.CONTINUE:
                return answer
        self._say_macros(END_OF_MESSAGE, macros)
        self._unsent += encode(END_OF_MESSAGE.command)
        return (yield from self._hear(END_OF_MESSAGE))

    def abort(self) -> bytes:
        """What ends a message that gets no further."""
        return self._flush() + encode(b"A")

    def quit(self) -> bytes:
        """What ends the connection."""
        return self._flush() + encode(b"Q")

    # -- saying -----------------------------------------------------------------------------------

    def _show_header(self, header: Iterable[tuple[bytes, bytes]]) -> Dialog:
        keep = bool(self.steps & Step.LEADING_SPACE)
        for name, value in header:
            shown = value if keep else value.removeprefix(b" ")
            answer = yield from self.tell(HEADER, text(name, shown), {})
            if answer.verdict is Verdict.SKIP:
                break
            if answer.verdict is not Verdict.CONTINUE:
                return answer
        return GO_ON

    def _show_body(self, body: bytes, macros: Mapping[str, str]) -> Dialog:
        answer = yield from self.tell(END_OF_HEADER, b"", macros)
        if answer.verdict not in (Verdict.CONTINUE, Verdict.SKIP):
            return answer
        for chunk in _chunks(body) if self.wants(BODY) else ():
            answer = yield from self.tell(BODY, chunk, {})
            if answer.verdict is Verdict.SKIP:
                break
            if answer.verdict is not Verdict.CONTINUE:
                return answer
        return GO_ON

    def _say_macros(self, stage: Stage, macros: Mapping[str, str]) -> None:
        if stage.symbols is None:
            return
        names = self._symbols.get(stage.symbols, stage.macros)
        known = [(name, macros.get(name.strip("{}"))) for name in names]
        pairs = [part for name, value in known if value is not None for part in (name, value)]
        if pairs:
            self._unsent += encode(b"D", stage.command, text(*pairs))

    def _flush(self) -> bytes:
        data = bytes(self._unsent)
        self._unsent.clear()
        return data

    # -- hearing ----------------------------------------------------------------------------------

    def _hear(self, stage: Stage) -> Dialog:
        changes: list[Change] = []
        size = 0
        while True:
            packet = yield self._flush()
            if packet.command == PROGRESS:
                continue
            answer = parse_answer(packet)
            if answer is not None:
                return answer._replace(changes=tuple(changes))
            change = None
            if stage is END_OF_MESSAGE or packet.command == b"q":
                spaced = bool(self.steps & Step.LEADING_SPACE)
                change = parse_change(packet, leading_space=spaced)
            if change is None:
                raise BadPacket(f"{packet.command!r} at {stage.name}")
            size += len(packet.data)
            if size > CHANGES_MOST:
                raise BadPacket("more changes than a message can have")
            changes.append(change)


def new_body(changes: Iterable[Change]) -> bytes | None:
    """Give the body that a milter put in the place of the old one, as on the wire; None: none."""
    pieces = [change.text for change in changes if isinstance(change, BodyReplaced)]
    return b"".join(pieces) if pieces else None


def _chunks(body: bytes) -> Iterator[bytes]:
    buffer = bytearray()
    for start in range(0, len(body), _PIECE):
        buffer += body[start : start + _PIECE].replace(b"\n", b"\r\n")
        while len(buffer) >= CHUNK:
            yield bytes(buffer[:CHUNK])
            del buffer[:CHUNK]
    if buffer:
        yield bytes(buffer)
