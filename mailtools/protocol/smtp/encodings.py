"""Messages in the form that a peer takes: in seven bits (RFC 6152 3), in lines of 998 octets.

Each leaf that does not fit becomes quoted-printable, or base64 where most of it is not text (RFC
2045 6); what fits already stays as it is, octet for octet. A message without MIME fields gets them
(RFC 1428). In the header long lines are folded; octets beyond ASCII are left alone there, since no
encoding says what they were. All works on LF text.
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Iterator
from typing import NamedTuple

from mailtools.mail.fields import Field, fields, split_message
from mailtools.mail.mime_fields import MimeFields, read_mime_fields
from mailtools.protocol.smtp.transaction import LINE_MOST, has_long_line

DEPTH_MOST = 50  # multiparts in multiparts; what lies deeper is encoded as it is
_AT_A_TIME = 65536  # octets of text, about
_BASE64_LINE = 57  # octets that make 76 characters, RFC 2045 6.8
_WRAPPED = 76  # octets of an encoded line, RFC 2045 6.7

_long_line = re.compile(rb"[^\n]{%d,}" % (LINE_MOST + 1))
_printed = re.compile(rb"(?:=[0-9A-Fa-f]{2}|[^\n]){1,%d}" % (_WRAPPED - 3))


class Form(NamedTuple):
    """What a peer takes."""

    seven: bool = False
    """Seven bits only."""
    short: bool = False
    """Lines of 998 octets at most."""

    def fits(self, text: bytes) -> bool:
        """Whether a body is in this form already."""
        return (not self.seven or text.isascii()) and not (self.short and has_long_line((text,)))


def seven_bit(message: bytes) -> bytes:
    """Give the message with every body in seven bits."""
    return in_form(message, Form(seven=True))


def in_form(message: bytes, form: Form, depth: int = 0) -> bytes:
    """Give the message in a form, as far as encodings lead there; `depth`: in how many others."""
    header, body = split_message(message)
    rest = message[len(header) :]
    if form.fits(body):
        if not (form.short and has_long_line((header,))):
            return message
    else:
        header, body = _converted(header, body, form, top=True, depth=depth)
        rest = b"\n" + body
    return (_long_line.sub(_folded, header) if form.short else header) + rest


def _folded(match: re.Match[bytes]) -> bytes:
    """Break a header line before white space, as often as there is some (RFC 5322 2.2.3)."""
    line, pieces = match[0], []
    while len(line) > LINE_MOST:
        end = max(line.rfind(b" ", 1, LINE_MOST), line.rfind(b"\t", 1, LINE_MOST))
        if end < 0 or not line[:end].strip():
            break
        pieces.append(line[:end])
        line = line[end:]
    return b"\n".join([*pieces, line])


def _converted(
    header: bytes, body: bytes, form: Form, *, top: bool, depth: int
) -> tuple[bytes, bytes]:
    found = list(fields(header))
    mime = read_mime_fields([(field.key, field.body) for field in found], inside=not top)
    kind, subtype = mime.type.lower(), mime.subtype.lower()
    encoding = mime.encoding.lower()
    boundary = mime.parameter(b"boundary")
    if encoding in (b"base64", b"quoted-printable"):
        # Octets beyond ASCII: it lies, and to encode it once more would hide what is there.
        return header, _wrapped(body, encoding) if form.short else body
    if kind == b"multipart" and subtype == b"signed" and not form.seven:
        return header, body  # RFC 1847 2.1: nothing may touch it; a peer may take it all the same
    if depth < DEPTH_MOST and kind == b"multipart" and boundary:
        body = _multipart(body, boundary, form, depth)
        seven = form.seven or body.isascii()
        return _with_encoding(found, b"7bit", mime, top) if seven else header, body
    if depth < DEPTH_MOST and kind == b"message" and subtype in (b"rfc822", b"news"):
        body = in_form(body, form, depth + 1)
        seven = form.seven or body.isascii()
        return _with_encoding(found, b"7bit", mime, top) if seven else header, body
    charset = b"us-ascii" if body.isascii() else b"unknown-8bit"
    if kind == b"text" and _is_mostly_ascii(body):
        encoded, body = b"quoted-printable", _printable(body)
    else:
        # Line ends are part of what base64 encodes, and on the wire they are CRLF (RFC 2045 6.8).
        encoded, body = b"base64", _base64(body)
    return _with_encoding(found, encoded, mime, top, charset), body


def _multipart(body: bytes, boundary: bytes, form: Form, depth: int) -> bytes:
    """Convert the parts; around them only ASCII may stand, and nobody reads it."""
    pieces: list[bytes] = []
    position, inside = 0, False
    for match in _delimiters(body, boundary):
        pieces += [_piece(body[position : match.start()], inside, form, depth), match.group()]
        position, inside = match.end(), match[1] is None
        if not inside:
            break
    pieces.append(_piece(body[position:], inside, form, depth))
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


def _piece(piece: bytes, inside: bool, form: Form, depth: int) -> bytes:
    if form.fits(piece):
        return piece
    if not inside:
        piece = re.sub(rb"[\x80-\xff]", b"?", piece) if form.seven else piece
        return re.sub(rb"([^\n]{%d})(?=[^\n])" % LINE_MOST, rb"\1\n", piece)
    # The line end before a delimiter belongs to the delimiter (RFC 2046 5.1.1).
    end = b"\n" if piece.endswith(b"\n") else b""
    header, body = split_message(piece.removesuffix(end))
    if form.fits(body):
        return piece
    header, body = _converted(header, body, form, top=False, depth=depth + 1)
    return header + b"\n" + body + end


def _with_encoding(
    found: list[Field], encoding: bytes, mime: MimeFields, top: bool, charset: bytes = b""
) -> bytes:
    names = {field.key for field in found}
    kept = [field.raw for field in found if field.key != b"content-transfer-encoding"]
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    if top and b"mime-version" not in names:
        kept.append(b"MIME-Version: 1.0\n")
    if top and not mime.declared and b"content-type" not in names:
        kept.append(b"Content-Type: text/plain; charset=" + charset + b"\n")  # RFC 1428 3
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


def _wrapped(body: bytes, encoding: bytes) -> bytes:
    """Break the long lines of an encoded body, which says the same then."""
    if encoding == b"base64":
        return _long_line.sub(lambda match: _cut(match[0]), body)
    return _long_line.sub(lambda match: b"=\n".join(_printed.findall(match[0])), body)


def _cut(line: bytes) -> bytes:
    return b"\n".join(line[n : n + _WRAPPED] for n in range(0, len(line), _WRAPPED))


def _base64(body: bytes) -> bytes:
    wire = body.replace(b"\n", b"\r\n")
    starts = range(0, len(wire), _BASE64_LINE)
    return b"".join(b2a_base64(wire[start : start + _BASE64_LINE]) for start in starts)
