"""What a message from a mail client still lacks (RFC 6409 8), and whom its From field names."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from mailtools.errors import BadAddress, BadMessage
from mailtools.mail import fields
from mailtools.mail.address import Address, parse_address
from mailtools.mail.address_list import parse_address_list
from mailtools.mail.dates import format_date_field
from mailtools.mail.qualify import qualify

_ADDRESS_FIELDS = frozenset(
    (b"from", b"sender", b"reply-to", b"to", b"cc", b"resent-from", b"resent-sender",
     b"resent-to", b"resent-cc")
)  # fmt: skip
_BLIND = frozenset((b"bcc", b"resent-bcc"))
_MBOX_LINE = rb"\A>?From [^\n]*\n(?=[!-9;-~]+:)"  # a script's, before a header that it would hide
_NEEDED = frozenset((b"from", b"sender", b"date", b"message-id"))  # nothing in one is no such field


def authors(header: bytes) -> Iterator[Address]:
    """Yield the addresses of the one From field, and of Sender; raise BadMessage."""
    own = header[: fields.header_end(header)]
    found = list(fields.find(own, b"from"))
    if len(found) != 1:
        raise BadMessage("A message has exactly one From field (RFC 5322 3.6)", reply=550)
    if not _count(found[0].body):
        raise BadMessage("From names nobody (RFC 5322 3.6.2)", reply=550)  # but a comment may
    found += fields.find(own, b"sender")
    for mailbox in (one for field in found for one in parse_address_list(field.body)):
        if mailbox.local is None or mailbox.domain is None:
            continue  # the begin or end of a group
        text = (mailbox.local + b"@" + mailbox.domain).decode("utf-8", "replace")
        try:
            yield parse_address(text)
        except BadAddress:
            quoted = Address(mailbox.local.decode("utf-8", "replace"), "")
            raise BadMessage(f"From or Sender holds no address: {quoted}", reply=550) from None


def _count(body: bytes) -> int:
    """Count the mailboxes of an address list."""
    found = parse_address_list(body)
    return sum(one.local is not None and one.domain is not None for one in found)


def mend_header(header: bytes, *, id_: str, domain: str, reverse_path: str) -> bytes:
    """Complete the header of a client's message (RFC 6409 8): LF text in, LF text out.

    `id_` is the entry's, which makes a Message-ID; `reverse_path` is From where there is none, and
    Sender where From names several.
    """
    if header.startswith((b"From ", b">From ")):
        header = re.sub(_MBOX_LINE, b"", header)
    kept: list[bytes] = []
    seen = set()
    several = False  # authors
    end = 0
    for field in fields.fields(header):
        if not header.startswith(field.raw, end):
            break
        end += len(field.raw)
        key = field.key
        if key in _BLIND:
            continue  # RFC 5322 3.6.3: nobody is to see it
        if key in _NEEDED and not field.body.strip():
            continue
        seen.add(key)
        if key in _ADDRESS_FIELDS:
            name, colon, body = field.raw.partition(b":")
            kept.append(name + colon + qualify(body, domain.encode()))
            several = several or (key == b"from" and _count(body) > 1)
        else:
            kept.append(field.raw)
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    rest = header[end:]  # begins with a line that is no field: text, from a client without a header
    now = time.time()
    if b"from" not in seen and reverse_path:
        kept.append(f"From: <{reverse_path}>\n".encode())
    if several and b"sender" not in seen and reverse_path:
        kept.append(f"Sender: <{reverse_path}>\n".encode())  # RFC 5322 3.6.2
    if b"date" not in seen:
        offset = time.localtime(now).tm_gmtoff // 60
        kept.append(f"Date: {format_date_field(now, offset)}\n".encode())
    if b"message-id" not in seen:
        kept.append(f"Message-ID: <{id_}@{domain}>\n".encode())
    if rest:
        kept += (b"\n", rest)
    return b"".join(kept)
