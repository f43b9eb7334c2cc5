"""The MIME fields of a header: type, parameters, disposition, language (RFC 2045, 2183, 3282).

Values keep the case they were written in. Parameters in pieces (RFC 2231 3) are joined under their
name, with a `*` behind it where one of the pieces is encoded; nothing is decoded here.
"""

import re
from dataclasses import dataclass, field

from mailtools.mail.tokens import COMMENT, QUOTED, SPECIAL, WORD, Token, mime_tokens

Parameters = list[tuple[bytes, bytes]]

_piece = re.compile(rb"([^*]+)(?:\*([0-9]{1,4}))?(\*)?\Z")
_FIELD_MOST = 65536  # octets of a field; what is beyond is not looked at
_PARAMETERS_MOST = 500  # of one field; what is beyond is not looked at


@dataclass(slots=True)
class MimeFields:
    """What a part's header says of its content; None or empty where it says nothing."""

    type: bytes = b"text"
    subtype: bytes = b"plain"
    declared: bool = False
    """Whether a Content-Type that can be read is there; else the type is the default."""
    parameters: Parameters = field(default_factory=list)
    id: bytes | None = None
    description: bytes | None = None
    encoding: bytes = b"7bit"
    md5: bytes | None = None
    disposition: bytes | None = None
    disposition_parameters: Parameters = field(default_factory=list)
    languages: list[bytes] = field(default_factory=list)
    location: bytes | None = None

    def parameter(self, name: bytes) -> bytes | None:
        """Give a Content-Type parameter by its name in lower case."""
        return next((value for key, value in self.parameters if key.lower() == name), None)


def read_mime_fields(pairs: list[tuple[bytes, bytes]], *, inside: bool) -> MimeFields:
    """Read the MIME fields among (name in lower case, body) pairs; the first of each counts.

    At the top of a message (not `inside` a multipart) they count only where a MIME-Version or a
    Content-Type says that this is MIME (RFC 2045 4).
    """
    said: dict[bytes, bytes] = {}
    for name, body in pairs:
        if name.startswith(b"content-") or name == b"mime-version":
            said.setdefault(name, body)
    result = MimeFields()
    if not inside and b"mime-version" not in said and b"content-type" not in said:
        return result
    _read_type(result, said.get(b"content-type"))
    result.id = said.get(b"content-id")
    result.description = said.get(b"content-description")
    result.md5 = said.get(b"content-md5")
    result.location = said.get(b"content-location")
    result.encoding = _only_word(said.get(b"content-transfer-encoding", b"")) or b"7bit"
    if b"content-disposition" in said:
        tokens = _meaningful(said[b"content-disposition"])
        if tokens and tokens[0].kind == WORD:
            result.disposition = tokens[0].value
            result.disposition_parameters = _parameters(tokens[1:])
    if b"content-language" in said:
        tokens = _meaningful(said[b"content-language"])
        result.languages = [token.value for token in tokens if token.kind == WORD]
    return result


def _read_type(result: MimeFields, body: bytes | None) -> None:
    tokens = _meaningful(body or b"")
    # RFC 2045 5.2: what cannot be read is text/plain; charset=us-ascii
    if len(tokens) < 3 or tokens[1].value != b"/" or tokens[1].kind != SPECIAL:
        return
    if tokens[0].kind != WORD or tokens[2].kind != WORD:
        return
    result.type, result.subtype, result.declared = tokens[0].value, tokens[2].value, True
    result.parameters = _parameters(tokens[3:])


def _meaningful(body: bytes) -> list[Token]:
    return [token for token in mime_tokens(body[:_FIELD_MOST]) if token.kind != COMMENT]


def _only_word(body: bytes) -> bytes:
    tokens = _meaningful(body)
    return tokens[0].value if len(tokens) == 1 and tokens[0].kind == WORD else b""


def _parameters(tokens: list[Token]) -> Parameters:
    """Read `; name=value` again and again; what fits nowhere is passed over."""
    result: Parameters = []
    position, count = 0, len(tokens)
    while position < count and len(result) < _PARAMETERS_MOST:
        name = tokens[position]
        equals = tokens[position + 1 : position + 2]
        if name.kind != WORD or not equals or equals[0] != Token(SPECIAL, b"=", equals[0].spaced):
            position += 1
            continue
        position += 2
        value, position = _value(tokens, position)
        result.append((name.value, value))
    return _joined_pieces(result)


def _value(tokens: list[Token], position: int) -> tuple[bytes, int]:
    if position < len(tokens) and tokens[position].kind == QUOTED:
        return tokens[position].value, position + 1
    # Much mail has values with tspecials in them and no quotes: read to the next space or `;`.
    start = position
    while position < len(tokens):
        token = tokens[position]
        if token.kind == QUOTED or (token.kind == SPECIAL and token.value == b";"):
            break
        if position > start and token.spaced:
            break
        position += 1
    return b"".join(token.value for token in tokens[start:position]), position


def _joined_pieces(parameters: Parameters) -> Parameters:
    """Join parameters that come in pieces, `name*0`, `name*1*` (RFC 2231 3 and 4.1)."""
    result: Parameters = []
    pieces: dict[bytes, list[tuple[int, bool, bytes]]] = {}
    for name, value in parameters:
        match = _piece.match(name) if b"*" in name else None
        if match:
            item = (int(match[2] or 0), match[3] is not None, value)
            pieces.setdefault(match[1], []).append(item)
        else:
            result.append((name, value))
    for name, items in sorted(pieces.items()):
        items.sort(key=lambda item: item[0])
        if [item[0] for item in items] != list(range(len(items))):
            result += [(_piece_name(name, *item[:2]), item[2]) for item in items]
        elif not any(encoded for _, encoded, _ in items):
            result.append((name, b"".join(value for _, _, value in items)))
        else:
            start = b"" if items[0][1] else b"''"
            parts = (v if encoded else v.replace(b"%", b"%25") for _, encoded, v in items)
            result.append((name + b"*", start + b"".join(parts)))
    return result


def _piece_name(name: bytes, number: int, encoded: bool) -> bytes:
    return b"%b*%d%b" % (name, number, b"*" if encoded else b"")
