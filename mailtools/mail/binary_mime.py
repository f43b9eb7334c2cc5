"""BINARYMIME messages (RFC 3030 3) made into text: what is binary becomes base64.

A message lies on disk as lines, and binary content would not survive that; nor could most hosts
take it further. Nothing else of the message changes but its line ends.
"""

import re
from binascii import b2a_base64

from mailtools.errors import BadMessage
from mailtools.mail.fields import fields
from mailtools.mail.mime import Part, scan, walk

_LINE = 57  # octets that make a base64 line of 76 (RFC 2045 6.8)

_bare = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")


def text_form(message: bytes) -> bytes:
    """Give a message, with CRLF line ends and perhaps binary parts, as LF text without any.

    Raises BadMessage where a bare CR or LF, or a NUL, stands outside the binary parts.
    """
    pieces: list[bytes] = []
    done = 0
    for part in walk(scan(message)):
        if part.mime.encoding.lower() != b"binary":
            continue
        pieces.append(_text(message[done : part.start]))
        # RFC 2045 6.4: what holds other parts is never encoded itself.
        encoding = b"8bit" if part.parts else b"base64"
        pieces.append(_text(_with_encoding(message[part.start : part.body], encoding)))
        done = part.body
        if not part.parts:
            pieces.append(_base64(message, part))
            done = part.end
    pieces.append(_text(message[done:]))
    return b"".join(pieces)


def _text(piece: bytes) -> bytes:
    if _bare.search(piece):
        raise BadMessage("bare CR or LF, or NUL, outside the binary parts of the message")
    return piece.replace(b"\r\n", b"\n")


def _with_encoding(header: bytes, encoding: bytes) -> bytes:
    for field in fields(header):
        if field.key == b"content-transfer-encoding":
            return header.replace(field.raw, field.name + b": " + encoding + b"\r\n", 1)
    return header


def _base64(message: bytes, part: Part) -> bytes:
    body = message[part.body : part.end]
    lines = (
        b2a_base64(body[start : start + _LINE], newline=False)
        for start in range(0, len(body), _LINE)
    )
    text = b"\n".join(lines)
    return text + b"\n" if part.end == len(message) and text else text
