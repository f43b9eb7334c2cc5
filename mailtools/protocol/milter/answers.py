"""What a milter answers: a verdict, and at the end of a message what is to be changed in it."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from mailtools.mail.reply import Reply, make_peer_reply, parse_reply_line
from mailtools.protocol.milter.wire import BadPacket, Fields, Packet


class Verdict(StrEnum):
    """What is to become of the command, or of the message."""

    CONTINUE = "continue"
    ACCEPT = "accept"
    REJECT = "reject"
    TEMPFAIL = "tempfail"
    DISCARD = "discard"
    SKIP = "skip"
    """Continue, and no more of the same."""
    SHUTDOWN = "shutdown"


class HeaderAdded(NamedTuple):
    """A field for the end of the header; `value` is all that stands behind the colon."""

    name: bytes
    value: bytes


class HeaderInserted(NamedTuple):
    """A field for a place: 0 is above all others, 1 below the topmost."""

    place: int
    name: bytes
    value: bytes


class HeaderChanged(NamedTuple):
    """A new value for the `place`th field of a name, from 1; an empty one removes it."""

    place: int
    name: bytes
    value: bytes


class BodyReplaced(NamedTuple):
    """A piece of the new body, as it is on the wire; the pieces follow one another."""

    text: bytes


class RecipientAdded(NamedTuple):
    """A further forward-path, with parameters of RCPT where it has some."""

    path: str
    parameters: str = ""


class RecipientRemoved(NamedTuple):
    """A forward-path that is not to get it."""

    path: str


class SenderChanged(NamedTuple):
    """Another reverse-path, with parameters of MAIL where it has some."""

    path: str
    parameters: str = ""


class Quarantined(NamedTuple):
    """The message is to be held, and why."""

    reason: str


Change = (
    HeaderAdded
    | HeaderInserted
    | HeaderChanged
    | BodyReplaced
    | RecipientAdded
    | RecipientRemoved
    | SenderChanged
    | Quarantined
)


class Answer(NamedTuple):
    """The verdict, the SMTP reply where the milter gave one, and the changes in their order."""

    verdict: Verdict
    reply: Reply | None = None
    changes: tuple[Change, ...] = ()

    @property
    def refuses(self) -> bool:
        """Whether the peer hears a negative reply."""
        return self.verdict in _REFUSING


_REFUSING = frozenset((Verdict.REJECT, Verdict.TEMPFAIL, Verdict.SHUTDOWN))
_VERDICTS = {
    b"c": Verdict.CONTINUE,
    b"a": Verdict.ACCEPT,
    b"r": Verdict.REJECT,
    b"t": Verdict.TEMPFAIL,
    b"d": Verdict.DISCARD,
    b"s": Verdict.SKIP,
    b"4": Verdict.SHUTDOWN,
    b"f": Verdict.SHUTDOWN,
}
PROGRESS = b"p"


def parse_answer(packet: Packet) -> Answer | None:
    """Read a verdict; None for a packet that is none. Raises BadPacket."""
    if packet.command == b"y":
        return parse_reply(packet.data)
    verdict = _VERDICTS.get(packet.command)
    if verdict is None:
        return None
    Fields(packet.data).end()
    return Answer(verdict)


def parse_reply(data: bytes) -> Answer:
    """Read a reply of 4yz or 5yz, of one or several lines; raise BadPacket."""
    # Sendmail takes it for a format: %% is one %, and a single one means nothing.
    plain = re.sub(rb"%(%?)", rb"\1", data.removesuffix(b"\0"))
    lines: list[str] = []
    codes = set()
    for line in (found := plain.split(b"\r\n")):
        parsed = parse_reply_line(line)
        if parsed is None or b"\r" in line or b"\n" in line or b"\0" in line:
            raise BadPacket("a reply that is none")
        code, last, said = parsed
        codes.add(code)
        if last != (len(lines) == len(found) - 1):
            raise BadPacket("a reply whose lines do not belong together")
        lines.append(said)
    if len(codes) != 1 or not 400 <= (code := codes.pop()) < 600:
        raise BadPacket("a reply that refuses nothing")
    reply = make_peer_reply(code, lines)
    return Answer(Verdict.REJECT if reply.permanent else Verdict.TEMPFAIL, reply)


def parse_change(packet: Packet, *, leading_space: bool) -> Change | None:
    """Read a change; None for a packet that is none. Raises BadPacket.

    Unless `leading_space` was agreed on, values come without the space behind the colon.
    """
    fields = Fields(packet.data)
    change = _change(packet.command, fields, b"" if leading_space else b" ")
    if change is not None:
        fields.end()
    return change


def _change(command: bytes, fields: Fields, space: bytes) -> Change | None:
    match command:
        case b"h":
            return HeaderAdded(fields.name(), space + fields.text())
        case b"i":
            return HeaderInserted(fields.number(), fields.name(), space + fields.text())
        case b"m":
            place, name, value = fields.number(), fields.name(), fields.text()
            return HeaderChanged(max(place, 1), name, space + value if value else b"")
        case b"+":
            return RecipientAdded(_said(fields))
        case b"2":
            return RecipientAdded(_said(fields), _said(fields) if fields.more else "")
        case b"-":
            return RecipientRemoved(_said(fields))
        case b"e":
            return SenderChanged(_said(fields), _said(fields) if fields.more else "")
        case b"q":
            return Quarantined(_said(fields))
        case b"b":
            return BodyReplaced(fields.rest())
    return None


def _said(fields: Fields) -> str:
    return fields.text().decode("utf-8", "surrogateescape")
