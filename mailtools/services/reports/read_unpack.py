"""The reports in a file or message: what is packed is unpacked, but only so much of it.

A report comes as it is, in gzip or zip, or as a part of a message. Nothing is unpacked twice, and
of all in a message nothing beyond a limit: a few kilobytes can hold gigabytes.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from mailtools.mail.mime import Part, scan, walk
from mailtools.mail.mime_fields import MimeFields
from mailtools.mail.mime_words import decode_base64, decode_parameter, decode_quoted_printable
from mailtools.services.reports.read_values import clean

INPUT_MOST = 64 * 1024 * 1024  # octets of a file or message
UNPACKED_MOST = 64 * 1024 * 1024  # octets of them: RFC 9990 3.5.1 has receivers take 10 MB each
MEMBERS_MOST = 50  # files in a zip archive
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_CHUNK = 65536


class Unreadable(Exception):
    """It cannot be unpacked or read; the text says why."""


class Room:
    """How much may still be unpacked of a file or message."""

    def __init__(self) -> None:
        self.left = UNPACKED_MOST

    def take(self, size: int) -> None:
        """Count some octets; raise Unreadable where that is too much."""
        self.left -= size
        if self.left < 0:
            raise Unreadable(f"unpacked, it is larger than {UNPACKED_MOST} octets")


class Piece(NamedTuple):
    """What may be a report: XML, JSON, or the fields of a feedback report."""

    name: str
    data: bytes
    form: str
    """xml, json or feedback."""
    message: bytes = b""
    """For feedback: the message it is about, or its header."""


def pieces(name: str, data: bytes) -> Iterator[Piece | Unreadable]:
    """Yield what may be reports in a file or message; nothing where there is none."""
    if len(data) > INPUT_MOST:
        yield Unreadable(f"it is larger than {INPUT_MOST} octets")
    elif data.startswith((GZIP, ZIP)) or _form(data):
        yield from _unpacked(name, data, Room())
    else:
        yield from _of_message(name, data.replace(b"\r\n", b"\n"))


def _form(data: bytes) -> str:
    """Tell XML from JSON from neither, by its first octets."""
    start = data[:1024].lstrip(b" \t\r\n")
    if start.startswith((b"<?xml", b"<feedback", b"<", *_BOMS)):
        return "json" if start.removeprefix(_BOMS[0]).lstrip().startswith(b"{") else "xml"
    return "json" if start.startswith(b"{") else ""


def _unpacked(name: str, data: bytes, room: Room) -> Iterator[Piece | Unreadable]:
    try:
        if data.startswith(GZIP):
            found = [(name, gunzip(data, room))]
        elif data.startswith(ZIP):
            found = unzip(name, data, room)
        else:
            found = [(name, data)]
    except Unreadable as fault:
        yield fault
        return
    for each, plain in found:
        form = _form(plain)
        yield Piece(each, plain, form) if form else Unreadable("it holds neither XML nor JSON")


def gunzip(data: bytes, room: Room) -> bytes:
    """Unpack gzip, its members one behind the other; raise Unreadable."""
    pieces, rest = [], data
    try:
        while rest.startswith(GZIP):
            unpacker = zlib.decompressobj(wbits=31)
            while not unpacker.eof:
                piece = unpacker.decompress(rest, _CHUNK)
                rest = unpacker.unconsumed_tail
                room.take(len(piece))
                if not piece and not rest and not unpacker.eof:
                    raise Unreadable("its gzip data are cut short")
                pieces.append(piece)
            rest = unpacker.unused_data
    except zlib.error as error:
        raise Unreadable(f"its gzip data are broken: {error}") from None
    return b"".join(pieces)


def unzip(name: str, data: bytes, room: Room) -> list[tuple[str, bytes]]:
    """Unpack a zip archive; raise Unreadable."""
    found: list[tuple[str, bytes]] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            if len(members) > MEMBERS_MOST:
                raise Unreadable(f"its zip archive has more than {MEMBERS_MOST} files")
            for member in members:
                with archive.open(member) as file:
                    plain = file.read(max(room.left, 0) + 1)
                room.take(len(plain))
                found.append((f"{name}: {clean(member.filename)}", plain))
    except Unreadable:
        raise
    except Exception as error:  # zipfile lets what its parts raise through, whatever that is
        raise Unreadable(f"its zip archive is broken: {clean(str(error))}") from None
    return found


# -- messages -------------------------------------------------------------------------------------


def _of_message(name: str, data: bytes) -> Iterator[Piece | Unreadable]:
    """Yield what may be reports among the parts of a message, LF text."""
    parts = [part for part in walk(scan(data)) if not part.multipart]
    room = Room()
    for index, part in enumerate(parts):
        kind = (part.mime.type + b"/" + part.mime.subtype).lower()
        if kind == b"message/feedback-report":
            about = next((_about(each, data) for each in parts[index + 1 :]), b"")
            yield Piece(name, _decoded(part, data), "feedback", about)
        elif not part.message and _may_hold(kind, file_name(part.mime)):
            body = _decoded(part, data)
            if body.startswith((GZIP, ZIP)) or _form(body):
                label = file_name(part.mime)
                yield from _unpacked(f"{name}: {label}" if label else name, body, room)


def _may_hold(kind: bytes, label: str) -> bool:
    known = label.lower().endswith((".xml", ".json", ".gz", ".zip", ".gzip"))
    return known or kind.startswith(b"application/") or kind == b"text/xml"


def _about(part: Part, data: bytes) -> bytes:
    """Give the message, or the header, that a feedback report is about (RFC 5965 2)."""
    return data[part.body : part.end] if part.message else _decoded(part, data)


def _decoded(part: Part, data: bytes) -> bytes:
    body = data[part.body : part.end]
    encoding = part.mime.encoding.lower()
    if encoding == b"base64":
        return decode_base64(body)
    return decode_quoted_printable(body) if encoding == b"quoted-printable" else body


def file_name(mime: MimeFields) -> str:
    """Give the file name of a part, "" where it has none."""
    named = ((b"filename", mime.disposition_parameters), (b"name", mime.parameters))
    for name, parameters in named:
        for key, value in parameters:
            if key.lower().rstrip(b"*") == name:
                return clean(decode_parameter(key, value))
    return ""
