"""ENVELOPE, BODY and BODYSTRUCTURE in IMAP's writing (RFC 3501 7.4.2)."""

import re
from collections.abc import Callable, Iterable

from mailtools.mail.address_list import Mailbox, parse_address_list
from mailtools.mail.mime import Part
from mailtools.mail.mime_fields import Parameters
from mailtools.protocol.imap.wire import nstring, string

HeaderOf = Callable[[Part], list[tuple[bytes, bytes]]]
"""Gives the header of a part as (name in lower case, unfolded body) pairs."""

_space = re.compile(rb"[ \t\r\n]+")
_ADDRESSES = (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")

# A multipart without parts cannot be said in IMAP: it has one, which is empty.
_NO_PARTS = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0'


def envelope(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write the envelope of a header given as (name in lower case, unfolded body) pairs."""
    said: dict[bytes, bytes] = {}
    lists: dict[bytes, list[Mailbox]] = {}
    for name, body in pairs:
        if name in _ADDRESSES:
            # Several fields are one list: none of them can hide behind another.
            lists.setdefault(name, []).extend(parse_address_list(body))
        else:
            said[name] = body
    senders = _addresses(lists.get(b"from", []))
    subject = said.get(b"subject")
    parts = [
        nstring(said.get(b"date")),
        nstring(None if subject is None else _space.sub(b" ", subject)),
        senders,
        _addresses(lists[b"sender"]) if lists.get(b"sender") else senders,
        _addresses(lists[b"reply-to"]) if lists.get(b"reply-to") else senders,
        _addresses(lists.get(b"to", [])),
        _addresses(lists.get(b"cc", [])),
        _addresses(lists.get(b"bcc", [])),
        nstring(said.get(b"in-reply-to")),
        nstring(said.get(b"message-id")),
    ]
    return b"(" + b" ".join(parts) + b")"


def _addresses(mailboxes: list[Mailbox]) -> bytes:
    if not mailboxes:
        return b"NIL"
    return b"(" + b"".join(_address(mailbox) for mailbox in mailboxes) + b")"


def _address(mailbox: Mailbox) -> bytes:
    name = None if mailbox.name is None else _space.sub(b" ", mailbox.name)
    parts = (name, mailbox.route, mailbox.local, mailbox.domain)
    return b"(" + b" ".join(nstring(part) for part in parts) + b")"


class Structure:
    """Writes BODYSTRUCTURE, or BODY without the `extended` data."""

    def __init__(self, header_of: HeaderOf, *, extended: bool) -> None:
        """Take who reads headers of messages inside."""
        self._header_of = header_of
        self._extended = extended

    def write(self, part: Part) -> bytes:
        """Write a part and all inside it."""
        if part.multipart:
            return self._multipart(part)
        mime = part.mime
        is_text = mime.type.lower() == b"text"
        parameters = mime.parameters
        if is_text and mime.parameter(b"charset") is None:  # RFC 2045 5.2
            parameters = [*parameters, (b"charset", b"us-ascii")]
        items = [
            string(mime.type),
            string(mime.subtype),
            _parameters(parameters),
            nstring(mime.id),
            nstring(mime.description),
            string(mime.encoding),
            b"%d" % part.octets,
        ]
        if part.message:
            inner = part.parts[0]
            items += [envelope(self._header_of(inner)), self.write(inner), b"%d" % part.lines]
        elif is_text:
            items.append(b"%d" % part.lines)
        if self._extended:
            items += [nstring(mime.md5), *self._common(part)]
        return b"(" + b" ".join(items) + b")"

    def _multipart(self, part: Part) -> bytes:
        inner = b"".join(self.write(child) for child in part.parts)
        if not inner:
            inner = _NO_PARTS + (b" NIL NIL NIL NIL)" if self._extended else b")")
        items = [inner, string(part.mime.subtype)]
        if self._extended:
            items += [_parameters(part.mime.parameters), *self._common(part)]
        return b"(" + b" ".join(items) + b")"

    def _common(self, part: Part) -> list[bytes]:
        mime = part.mime
        disposition = languages = b"NIL"
        if mime.disposition is not None:
            parameters = _parameters(mime.disposition_parameters)
            disposition = b"(" + string(mime.disposition) + b" " + parameters + b")"
        if mime.languages:
            languages = b"(" + b" ".join(string(tag) for tag in mime.languages) + b")"
        return [disposition, languages, nstring(mime.location)]


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(" + b" ".join(string(word) for pair in parameters for word in pair) + b")"
