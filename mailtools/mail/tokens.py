"""Tokens of structured header fields (RFC 5322 3.2, RFC 2045 5.1): words, quoted strings, comments.

Reads whatever stands there: what is not closed ends with the field, and what fits nowhere is a
token of one octet. Linear in the length of the field.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

WORD = "word"  # a run of octets that mean nothing special
QUOTED = "quoted"  # a quoted string, without its quotes and backslashes
COMMENT = "comment"  # (text), without the outer parentheses and backslashes
LITERAL = "literal"  # [domain literal], as it stands
SPECIAL = "special"  # one octet

_space = re.compile(rb"[ \t\r\n]+")
_address_word = re.compile(rb"[^\x00-\x20\x7f()<>\[\]:;@\\,.\"]+")
_mime_word = re.compile(rb"[^\x00-\x20\x7f()<>\[\]:;@\\,\"/?=]+")
_quoted = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)(?:"|\\?\Z)', re.DOTALL)
_literal = re.compile(rb"\[[^\[\]]*\]")
_in_comment = re.compile(rb"[()\\]")
_pair = re.compile(rb"\\(.)", re.DOTALL)
_fold = re.compile(rb"\r?\n")


class Token(NamedTuple):
    """A token: its kind, its value, and whether white space or a comment stands before it."""

    kind: str
    value: bytes
    spaced: bool


def address_tokens(body: bytes) -> Iterator[Token]:
    """Yield the tokens of an address list; `.` is special there."""
    return _tokens(body, _address_word)


def mime_tokens(body: bytes) -> Iterator[Token]:
    """Yield the tokens of a MIME field such as Content-Type (RFC 2045 5.1 tspecials)."""
    return _tokens(body, _mime_word)


def _tokens(body: bytes, word: re.Pattern[bytes]) -> Iterator[Token]:
    position, length, spaced = 0, len(body), False
    while position < length:
        if match := _space.match(body, position):
            spaced, position = True, match.end()
            continue
        if match := word.match(body, position):
            yield Token(WORD, match[0], spaced)
            position = match.end()
        elif (octet := body[position]) == 0x22 and (match := _quoted.match(body, position)):
            yield Token(QUOTED, _unquoted(match[1]), spaced)
            position = match.end()
        elif octet == 0x28:
            end = _comment_end(body, position)
            inner = body[position + 1 : end - 1 if body[end - 1 : end] == b")" else end]
            yield Token(COMMENT, _unquoted(inner), spaced)
            spaced, position = True, end
            continue
        elif octet == 0x5B and (match := _literal.match(body, position)):
            yield Token(LITERAL, _fold.sub(b"", match[0]), spaced)
            position = match.end()
        else:
            yield Token(SPECIAL, body[position : position + 1], spaced)
            position += 1
        spaced = False


def _unquoted(text: bytes) -> bytes:
    return _pair.sub(rb"\1", _fold.sub(b"", text))


def _comment_end(body: bytes, start: int) -> int:
    depth, position = 0, start
    while match := _in_comment.search(body, position):
        position = match.end()
        if match[0] == b"(":
            depth += 1
        elif match[0] == b"\\":
            position += 1
        else:
            depth -= 1
            if depth == 0:
                return position
    return len(body)
