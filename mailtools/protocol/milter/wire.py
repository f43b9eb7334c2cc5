"""Packets of the milter protocol, versions 2 to 6: a length, a command octet, data.

The protocol of Sendmail's libmilter, which no RFC describes. Lengths and numbers have 32 bits, the
high octet first; texts end in NUL. `Step` and `Action` are the two masks of the negotiation.
"""

from __future__ import annotations

import re
from enum import IntFlag
from typing import NamedTuple

VERSION = 6
PACKET_MOST = 16 << 20  # octets: libmilter itself sends 64 KiB, or a megabyte where agreed
CHUNK = 65535  # octets of body in a packet: what every milter takes

_name = re.compile(rb"[!-9;-~]+\Z")  # RFC 5322 3.6.8: ftext


class BadPacket(Exception):
    """The milter sent what it must not; the text says what."""


class Packet(NamedTuple):
    """What is said in one go."""

    command: bytes
    """One octet."""
    data: bytes = b""


class Step(IntFlag):
    """What a milter does not want to hear, or will not answer (SMFIP_*)."""

    NO_CONNECT = 1 << 0
    NO_HELO = 1 << 1
    NO_MAIL = 1 << 2
    NO_RCPT = 1 << 3
    NO_BODY = 1 << 4
    NO_HEADERS = 1 << 5
    NO_END_OF_HEADER = 1 << 6
    SILENT_HEADERS = 1 << 7
    NO_UNKNOWN = 1 << 8
    NO_DATA = 1 << 9
    SKIP = 1 << 10
    REFUSED_RCPT = 1 << 11
    SILENT_CONNECT = 1 << 12
    SILENT_HELO = 1 << 13
    SILENT_MAIL = 1 << 14
    SILENT_RCPT = 1 << 15
    SILENT_DATA = 1 << 16
    SILENT_UNKNOWN = 1 << 17
    SILENT_END_OF_HEADER = 1 << 18
    SILENT_BODY = 1 << 19
    LEADING_SPACE = 1 << 20


ALL_STEPS = Step((1 << 21) - 1)


class Action(IntFlag):
    """What a milter may ask for (SMFIF_*)."""

    ADD_HEADERS = 1 << 0
    CHANGE_BODY = 1 << 1
    ADD_RCPT = 1 << 2
    DELETE_RCPT = 1 << 3
    CHANGE_HEADERS = 1 << 4
    QUARANTINE = 1 << 5
    CHANGE_FROM = 1 << 6
    ADD_RCPT_PARAMETERS = 1 << 7
    SYMBOL_LISTS = 1 << 8


ALL_ACTIONS = Action((1 << 9) - 1)


class PacketReader:
    """Cuts what the milter sends into packets."""

    def __init__(self, most: int = PACKET_MOST) -> None:
        """Take packets of up to `most` octets."""
        self._most = most
        self._input = bytearray()

    def feed(self, data: bytes) -> None:
        """Take octets as they come."""
        self._input += data

    def take(self) -> Packet | None:
        """Give the next packet; None: it has not come whole. Raises BadPacket."""
        if len(self._input) < 4:
            return None
        length = int.from_bytes(self._input[:4])
        if not 0 < length <= self._most:
            raise BadPacket(f"a packet of {length} octets")
        if len(self._input) < 4 + length:
            return None
        packet = Packet(bytes(self._input[4:5]), bytes(self._input[5 : 4 + length]))
        del self._input[: 4 + length]
        return packet


def encode(command: bytes, *parts: bytes) -> bytes:
    """Make a packet of a command and its data."""
    data = b"".join(parts)
    return (1 + len(data)).to_bytes(4) + command + data


def text(*values: str | bytes) -> bytes:
    """Write texts as they stand in packets; a NUL in one, which cannot be said, becomes `?`."""
    octets = (v if isinstance(v, bytes) else v.encode("utf-8", "surrogateescape") for v in values)
    return b"".join(value.replace(b"\0", b"?") + b"\0" for value in octets)


def number(value: int) -> bytes:
    """Write a number."""
    return value.to_bytes(4)


class Fields:
    """Reads the data of a packet from its beginning; each method raises BadPacket."""

    def __init__(self, data: bytes) -> None:
        """Take the data."""
        self._data = data

    @property
    def more(self) -> bool:
        """Whether something is left."""
        return bool(self._data)

    def number(self) -> int:
        """Read a number without sign."""
        if len(self._data) < 4:
            raise BadPacket("a packet that is too short")
        value, self._data = int.from_bytes(self._data[:4]), self._data[4:]
        return value

    def text(self) -> bytes:
        """Read a text."""
        value, end, rest = self._data.partition(b"\0")
        if not end:
            raise BadPacket("a text without its end")
        self._data = rest
        return value

    def name(self) -> bytes:
        """Read the name of a header field."""
        value = self.text()
        if not _name.match(value):
            raise BadPacket("a name that no header field can have")
        return value

    def rest(self) -> bytes:
        """Read all that is left."""
        value, self._data = self._data, b""
        return value

    def end(self) -> None:
        """Make sure that nothing is left."""
        if self._data:
            raise BadPacket("a packet that is too long")
