"""Character sets and encoded words (RFC 2047, RFC 2231 4): bytes of mail as text, for searching.

Never raises: a charset nobody knows is read as UTF-8 where the octets allow it, else as Latin-1.
"""

import binascii
import codecs
import re

_word = re.compile(rb"=\?([!-)+->@-~]+?)(?:\*[A-Za-z0-9-]*)?\?([bBqQ])\?([!->@-~ ]*)\?=")
_between = re.compile(rb"(\?=)[ \t\r\n]+(?==\?[!->@-~]+\?[bBqQ]\?)")
_extended = re.compile(rb"([!#$&+\-^_`{}~0-9A-Za-z.]*)'[A-Za-z0-9-]*'(.*)\Z", re.DOTALL)
_hex = re.compile(rb"=([0-9A-Fa-f]{2})")
_percent = re.compile(rb"%([0-9A-Fa-f]{2})")
_not_base64 = re.compile(rb"[^A-Za-z0-9+/]+")

# Codecs of Python that are no charsets, or that could be slow or surprising on hostile input.
_NO_CHARSETS = frozenset(
    (
        *("base64", "bz2", "hex", "quopri", "rot_13", "rot13", "uu", "zlib", "idna", "punycode"),
        *("undefined", "unicode_escape", "raw_unicode_escape", "mbcs", "oem"),
    )
)
_ALIASES = {
    "us-ascii": "utf-8", "ascii": "utf-8", "default": "utf-8", "unknown-8bit": "utf-8",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8", "gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030",
    "ks_c_5601-1987": "cp949", "euc-kr": "cp949", "x-sjis": "cp932", "shift_jis": "cp932",
    "windows-31j": "cp932", "x-mac-roman": "mac-roman", "macintosh": "mac-roman",
    "windows-874": "cp874", "x-unknown": "utf-8", "unicode-1-1-utf-7": "utf-7",
}  # fmt: skip


def known_charset(name: str) -> bool:
    """Whether text in this charset can be read."""
    return _codec(name) is not None


def decode_charset(data: bytes, charset: str) -> str:
    """Read octets in a charset; what does not fit it becomes U+FFFD. Never raises."""
    codec = _codec(charset)
    try:
        if codec is not None and codec.name != "utf-8":
            return codec.decode(data, "replace")[0]
        return data.decode("utf-8")
    except (ValueError, ArithmeticError):
        if charset.lower() in ("utf-8", "utf8"):
            return data.decode("utf-8", "replace")
        return data.decode("cp1252", "replace")  # what text without a good label mostly is


def _codec(name: str) -> codecs.CodecInfo | None:
    key = name.strip().lower().replace("\0", "")
    try:
        codec = codecs.lookup(_ALIASES.get(key, key))
    except (LookupError, ValueError):
        return None
    return None if codec.name.replace("-", "_") in _NO_CHARSETS or not codec.name else codec


def decode_words(body: bytes) -> str:
    """Read a header field's body: encoded words decoded, anything else as UTF-8 where it can be."""
    if b"=?" not in body:
        return decode_charset(body, "us-ascii") if not body.isascii() else body.decode("ascii")
    joined = _between.sub(rb"\1", body)  # RFC 2047 6.2: space between encoded words is not shown
    parts: list[str] = []
    position = 0
    pending, charset = b"", ""  # neighbours of one charset: a character may be split over them
    for match in _word.finditer(joined):
        between = joined[position : match.start()]
        name = match[1].decode("ascii").lower()
        if pending and (between or name != charset):
            parts.append(decode_charset(pending, charset))
            pending = b""
        if between:
            parts.append(decode_charset(between, "us-ascii"))
        charset = name
        pending += _decode_word(match[2], match[3])
        position = match.end()
    if pending:
        parts.append(decode_charset(pending, charset))
    parts.append(decode_charset(joined[position:], "us-ascii"))
    return "".join(parts)


def _decode_word(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"bB":
        return decode_base64(text)
    return _hex.sub(lambda m: binascii.unhexlify(m[1]), text.replace(b"_", b" "))


def decode_base64(text: bytes) -> bytes:
    """Decode base64, passing over what does not belong (RFC 2045 6.8); never raises."""
    pieces = []
    for run in text.split(b"="):
        letters = _not_base64.sub(b"", run)
        if len(letters) % 4 == 1:
            letters = letters[:-1]
        if letters:
            pieces.append(binascii.a2b_base64(letters + b"=" * (-len(letters) % 4)))
    return b"".join(pieces)


def decode_quoted_printable(text: bytes) -> bytes:
    """Decode quoted-printable, keeping what is malformed as it stands; never raises."""
    return binascii.a2b_qp(text)


def decode_parameter(name: bytes, value: bytes) -> str:
    """Read a MIME parameter's value: RFC 2231 where its name ends in `*`, else encoded words."""
    match = _extended.match(value) if name.endswith(b"*") else None
    if not match:
        return decode_words(value)
    octets = _percent.sub(lambda m: binascii.unhexlify(m[1]), match[2])
    return decode_charset(octets, match[1].decode("ascii") or "utf-8")
