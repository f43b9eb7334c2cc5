"""8-bit messages for peers that take seven bits only (RFC 6152 3): parts are encoded anew.

Each leaf that has octets beyond ASCII becomes quoted-printable, or base64 where most of it is not
text (RFC 2045 6); what is 7-bit already stays as it is, octet for octet. A message without MIME
fields gets them (RFC 1428). Octets beyond ASCII in header fields are left alone: no encoding says
what they were. All works on LF text.
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterator

from mailtools.mail.fields import Field, fields, split_message
from mailtools.mail.mime_fields import MimeFields, read_mime_fields

DEPTH_MOST = 50  # multiparts in multiparts; what lies deeper is encoded as it is
_AT_A_TIME = 65536  # octets of text, about
_BASE64_LINE = 57  # octets that make 76 characters, RFC 2045 6.8


def seven_bit(message: bytes) -> bytes:
    """Give the message with every body in seven bits."""
    header, body = split_message(message)
    if body.isascii():
        return message
    header, body = _converted(header, body, top=True, depth=0)
    return header + b"\n" + body


def _converted(header: bytes, body: bytes, *, top: bool, depth: int) -> tuple[bytes, bytes]:
    found = list(fields(header))
    mime = read_mime_fields([(field.key, field.body) for field in found], inside=not top)
    kind, subtype = mime.type.lower(), mime.subtype.lower()
    encoding = mime.encoding.lower()
    boundary = mime.parameter(b"boundary")
    if encoding in (b"base64", b"quoted-printable"):
        return header, body  # it lies; to encode it once more would hide what is there
    if depth < DEPTH_MOST and kind == b"multipart" and boundary:
        body = _multipart(body, boundary, depth)
        return _with_encoding(header, found, b"7bit", mime, top), body
    if depth < DEPTH_MOST and kind == b"message" and subtype in (b"rfc822", b"news"):
        inner_header, inner = split_message(body)
        if not inner.isascii():
            inner_header, inner = _converted(inner_header, inner, top=True, depth=depth + 1)
            body = inner_header + b"\n" + inner
        return _with_encoding(header, found, b"7bit", mime, top), body
    if kind == b"text" and _is_mostly_ascii(body):
        return _with_encoding(header, found, b"quoted-printable", mime, top), _printable(body)
    # Line ends are part of what base64 encodes, and on the wire they are CRLF (RFC 2045 6.8).
    return _with_encoding(header, found, b"base64", mime, top), _base64(body)


def _multipart(body: bytes, boundary: bytes, depth: int) -> bytes:
    """Convert the parts; around them only ASCII may stand, and nobody reads it."""
    pieces: list[bytes] = []
    position, inside = 0, False
    for match in _delimiters(body, boundary):
        pieces += [_piece(body[position : match.start()], inside, depth), match.group()]
        position, inside = match.end(), match[1] is None
        if not inside:
            break
    pieces.append(_piece(body[position:], inside, depth))
    return b"".join(pieces)


def _delimiters(body: bytes, boundary: bytes) -> Iterator[re.Match[bytes]]:
    """Find the delimiter lines; by their octets first, which takes a tenth of the time."""
    delimiter = re.compile(rb"--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\n|\Z)")
    start = body.find(b"--" + boundary)
    while start >= 0:
        if start == 0 or body[start - 1 : start] == b"\n":
            match = delimiter.match(body, start)
            if match:
                yield match
        start = body.find(b"--" + boundary, start + 1)


def _piece(piece: bytes, inside: bool, depth: int) -> bytes:
    if piece.isascii():
        return piece
    if not inside:
        return re.sub(rb"[\x80-\xff]", b"?", piece)
    # The line end before a delimiter belongs to the delimiter (RFC 2046 5.1.1).
    end = b"\n" if piece.endswith(b"\n") else b""
    header, body = split_message(piece.removesuffix(end))
    if body.isascii():
        return piece
    header, body = _converted(header, body, top=False, depth=depth + 1)
    return header + b"\n" + body + end


def _with_encoding(
    header: bytes, found: list[Field], encoding: bytes, mime: MimeFields, top: bool
) -> bytes:
    names = {field.key for field in found}
    kept = [field.raw for field in found if field.key != b"content-transfer-encoding"]
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    if top and b"mime-version" not in names:
        kept.append(b"MIME-Version: 1.0\n")
    if top and not mime.declared and b"content-type" not in names:
        kept.append(b"Content-Type: text/plain; charset=unknown-8bit\n")  # RFC 1428 3
    if encoding != b"7bit" or b"content-transfer-encoding" in names:
        kept.append(b"Content-Transfer-Encoding: " + encoding + b"\n")
    return b"".join(kept)


def _is_mostly_ascii(body: bytes) -> bool:
    beyond = len(body) - len(body.translate(None, bytes(range(128, 256))))
    return beyond * 6 < len(body) * 2


def _printable(body: bytes) -> bytes:
    # Some lines at a time: nothing else of the process runs meanwhile.
    pieces = []
    start = 0
    while start < len(body):
        end = body.find(b"\n", start + _AT_A_TIME) + 1 or len(body)
        pieces.append(b2a_qp(body[start:end], istext=True))
        start = end
    return b"".join(pieces)


def _base64(body: bytes) -> bytes:
    wire = body.replace(b"\n", b"\r\n")
    starts = range(0, len(wire), _BASE64_LINE)
    return b"".join(b2a_base64(wire[start : start + _BASE64_LINE]) for start in starts)
