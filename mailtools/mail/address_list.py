"""Lists of addresses in header fields (RFC 5322 3.4), as IMAP's ENVELOPE shows them.

Names and addresses stay as they were written, in bytes: encoded words are not decoded (RFC 3501
7.4.2). What is not an address is shown as the name of one, so that nothing disappears.
"""

import re
from typing import NamedTuple

from mailtools.mail.tokens import COMMENT, LITERAL, QUOTED, SPECIAL, WORD, Token, address_tokens


class Mailbox(NamedTuple):
    """One address of a list, or the begin or end of a group.

    A group begins with its name as `local` and None as `domain`, and ends with None for both. An
    address that has no domain has an empty one.
    """

    name: bytes | None
    route: bytes | None
    local: bytes | None
    domain: bytes | None


# What most lists are: "Name" <local@domain>, Name <local@domain>, local@domain.
_atom = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
_word = _atom.replace(b".", b"")
_usual = re.compile(
    rb'(?:(?:"([^"\\\r\n]*)" *|(%b(?: %b)*) +|)<(%b)@(%b)>|(%b)@(%b))\Z'
    % (_word, _word, _atom, _atom, _atom, _atom)
)

END_OF_GROUP = Mailbox(None, None, None, None)


def parse_address_list(body: bytes) -> list[Mailbox]:
    """Read a list of addresses; never raises."""
    match = _usual.match(body)
    if match:
        name = match[1] if match[1] is not None else match[2]
        return [Mailbox(name or None, None, match[3] or match[5], match[4] or match[6])]
    result: list[Mailbox] = []
    item: list[Token] = []
    in_group = angle = False
    for token in address_tokens(body):
        if token.kind != SPECIAL or (angle and token.value not in b">"):
            item.append(token)
            continue
        match token.value:
            case b",":
                _add(result, item)
                item = []
            case b":" if not in_group:
                result.append(Mailbox(None, None, _phrase(item), None))
                item, in_group = [], True
            case b";" if in_group:
                _add(result, item)
                result.append(END_OF_GROUP)
                item, in_group = [], False
            case octet:
                angle = octet == b"<"
                item.append(token)
    _add(result, item)
    if in_group:
        result.append(END_OF_GROUP)
    return result


def _add(result: list[Mailbox], item: list[Token]) -> None:
    if any(token.kind != COMMENT for token in item):
        result.append(_mailbox(item))


def _mailbox(item: list[Token]) -> Mailbox:
    opening = next((n for n, t in enumerate(item) if t.kind == SPECIAL and t.value == b"<"), None)
    if opening is None:
        return _bare(item)
    name = _phrase(item[:opening]) or None
    inner = item[opening + 1 :]
    closing = next((n for n, t in enumerate(inner) if t.kind == SPECIAL and t.value == b">"), None)
    inner = inner[:closing]
    route = None
    if inner and inner[0].value == b"@" and inner[0].kind == SPECIAL:  # RFC 5322 4.4 obs-route
        colon = next((n for n, t in enumerate(inner) if t.kind == SPECIAL and t.value == b":"), 0)
        route = _joined(inner[:colon]) or None
        inner = inner[colon + 1 :] if colon else inner
    local, domain = _halves(inner)
    return Mailbox(name, route, local, domain)


def _bare(item: list[Token]) -> Mailbox:
    """An address without brackets: local@domain (Name), a local-part, or a name alone."""
    comments = [t.value for t in item if t.kind == COMMENT]
    name = comments[-1].strip() or None if comments else None
    if any(t.kind == SPECIAL and t.value == b"@" for t in item):
        local, domain = _halves(item)
        return Mailbox(name, None, local, domain)
    words = [t for t in item if t.kind != COMMENT]
    if len(words) > 1 and any(t.spaced for t in words[1:]):
        return Mailbox(_phrase(words), None, b"", b"")
    return Mailbox(name, None, _joined(words), b"")


def _halves(item: list[Token]) -> tuple[bytes, bytes]:
    at = next((n for n, t in enumerate(item) if t.kind == SPECIAL and t.value == b"@"), len(item))
    return _joined(item[:at]), _joined(item[at + 1 :])


def _joined(item: list[Token]) -> bytes:
    return b"".join(t.value for t in item if t.kind != COMMENT)


def _phrase(item: list[Token]) -> bytes:
    """Words with a single space where there was white space, or a quote, between them."""
    parts: list[bytes] = []
    last = ""
    for token in item:
        if token.kind == COMMENT:
            continue
        dotted = token.kind in (SPECIAL, LITERAL) or last in (SPECIAL, LITERAL)
        if parts and (token.spaced or (not dotted and QUOTED in (token.kind, last))):
            parts.append(b" ")
        parts.append(token.value)
        last = token.kind if token.kind != WORD else WORD
    return b"".join(parts)
