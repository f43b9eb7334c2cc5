"""A message from this host's own users and programs, made ready: what sendmail(1) does.

Text of any line ends comes in; an envelope and a complete message come out. Nothing is put into
the queue here (`services/submit/drop.py` does that), and nothing is read but what is given.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from mailtools.errors import BadAddress, BadMessage, MailLoop, MessageTooBig
from mailtools.mail import fields
from mailtools.mail.address import Address, ascii_domain, parse_address
from mailtools.mail.address_list import parse_address_list
from mailtools.mail.dates import format_date_field
from mailtools.mail.dsn_wishes import original_recipient, xtext
from mailtools.mail.envelope import NO_PARAMETERS, SUBMITTED, Envelope, ForwardPath
from mailtools.mail.qualify import qualify

CHUNK = 65536

_dot_line = re.compile(rb"\n\.\r?\n")
_line_end = re.compile(rb"(?<!\r)\r+\n")  # tried at the first of many CRs only
_header = re.compile(rb"(?:[!-9;-~]+[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*)*")
_from_line = re.compile(rb"(?:>?From ([^ \n]+)[^\n]*\n)*")
_atoms = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*\Z")

_ORIGINATORS = frozenset((b"from", b"sender", b"reply-to", b"resent-from", b"resent-sender"))
_RECIPIENTS = frozenset((b"to", b"cc", b"resent-to", b"resent-cc"))
_DROPPED = frozenset((b"bcc", b"resent-bcc", b"return-path", b"content-length"))
_TO = frozenset((b"to", b"cc", b"bcc"))
_RESENT_TO = frozenset((b"resent-to", b"resent-cc", b"resent-bcc"))


class Place(NamedTuple):
    """What this host is called, and what it takes."""

    me: str
    """Put behind addresses that have no domain."""
    masquerade: str = ""
    """Put there instead for senders, and instead of `me` and `host`; "" for none."""
    host: str = ""
    """This host's own name, where `me` is another."""
    size: int = 0
    """The largest message in octets; 0 for any."""
    hops: int = 100
    """The most Received fields."""


class Order(NamedTuple):
    """What the caller wants; see commands/sendmail_flags.py for the flags it comes from."""

    user: str
    """The login of whoever calls."""
    user_name: str = ""
    """The full name, for From where there is none."""
    recipients: tuple[str, ...] = ()
    from_header: bool = False
    sender: str | None = None
    """The reverse-path: "" is the null one, None is the user's."""
    notify: str = ""
    returning: str = ""
    envelope_id: str = ""
    body: str = ""
    parameters: Mapping[str, str] = NO_PARAMETERS
    """Further MAIL parameters."""


class Letter(NamedTuple):
    """A message that can go: its envelope, its header (complete but for Received), its body.

    `id` is the queue ID it gets where it is put into the queue here.
    """

    id: str
    envelope: Envelope
    header: bytes
    body: bytes


def read_text(read: Callable[[int], bytes], *, ignore_dots: bool, most: int) -> bytes:
    """Read a message to its end: the end of file or, unless `ignore_dots`, a dot on a line.

    `read` gives up to so many octets; `most` is how many are taken (0: any number). Raises
    MessageTooBig.
    """
    text = bytearray(b"\n")
    while chunk := read(CHUNK):
        start = max(len(text) - 3, 0)
        text += chunk
        end = None if ignore_dots else _dot_line.search(text, start)
        if end:
            del text[end.start() + 1 :]
        if most and len(text) > most + 1:
            raise MessageTooBig(f"The message is larger than {most} octets")
        if end:
            break
    return bytes(text[1:])


def prepare(text: bytes, order: Order, place: Place, *, new_id: str) -> Letter:
    """Make a message ready: find its recipients, complete its header, make its envelope.

    `new_id` becomes its queue ID, and its Message-ID where it has none. Raises BadAddress with
    every bad address, BadMessage where nobody is named, MailLoop.
    """
    header, body = split(text)
    if header.lower().count(b"\nreceived:") + header[:9].lower().count(b"received:") > place.hops:
        raise MailLoop(f"Too many hops: more than {place.hops} Received fields")
    paths = _forward_paths(order, header, place)
    origin = place.masquerade or place.me
    reverse_path = _reverse_path(order, origin, place)
    complete = complete_header(header, order, place, reverse_path, new_id)
    parameters = {**order.parameters, SUBMITTED: ""}
    if order.returning:
        parameters["RET"] = order.returning
    if order.envelope_id:
        parameters["ENVID"] = xtext(order.envelope_id)
    if not (complete.isascii() and body.isascii()):
        parameters["BODY"] = "8BITMIME"
    elif order.body:
        parameters["BODY"] = order.body
    if not all(text.isascii() for text in (reverse_path, *(path.address for path in paths))):
        parameters["SMTPUTF8"] = ""
    envelope = Envelope(reverse_path, paths, parameters, f"local {order.user}")
    return Letter(new_id, envelope, complete, body)


def split(text: bytes) -> tuple[bytes, bytes]:
    """Split a text of any line ends into header and body, with LF, a line end last and no NUL.

    A CR alone ends a line in the body; in the header, where a line end could smuggle in a field,
    it is a space. The header ends at the first line that is no field, whether or not it is empty.
    """
    text = _line_end.sub(b"\n", text.replace(b"\0", b""))
    if text and not text.endswith(b"\n"):
        text += b"\n"
    mbox = _from_line.match(text)
    if mbox:
        text = text[mbox.end() :]
    match = _header.match(text)
    assert match  # it matches the empty header
    body = text[match.end() :].removeprefix(b"\n")
    return match[0].replace(b"\r", b" "), body.replace(b"\r", b"\n")


def mbox_sender(text: bytes) -> str:
    """Give the address in a leading `From ADDRESS date` line, rmail's way to say it; "" for none.

    The nearest of several stands last; `host!user` is user@host.
    """
    match = _from_line.match(text)
    if not match or not match[1]:
        return ""
    host, bang, user = match[1].decode("utf-8", "replace").rpartition("!")
    return f"{user}@{host.rpartition('!')[2]}" if bang else user


def complete_header(
    header: bytes, order: Order, place: Place, reverse_path: str, new_id: str
) -> bytes:
    """Give the header what it lacks (RFC 5322 3.6), and take away what nobody is to see."""
    seen: set[bytes] = set()
    kept: list[bytes] = []
    for one in fields.fields(header):
        if one.key in _DROPPED:
            continue
        seen.add(one.key)
        kept.append(_with_domains(one, place))
    if b"from" not in seen:
        kept.append(_from_field(order, place, reverse_path))
    now = time.time()
    resent = b"Resent-" if any(key.startswith(b"resent-") for key in seen) else b""
    for prefix in filter(None, (b"", resent)) if resent else (b"",):
        kept += _dated(prefix, seen, now, f"{new_id}@{place.me}".encode())
    if resent and b"resent-from" not in seen:
        kept.append(b"Resent-" + _from_field(order, place, reverse_path))
    return b"".join(kept)


def _dated(prefix: bytes, seen: set[bytes], now: float, new_id: bytes) -> Iterator[bytes]:
    if prefix.lower() + b"date" not in seen:
        offset = time.localtime(now).tm_gmtoff // 60
        yield prefix + b"Date: " + format_date_field(now, offset).encode() + b"\n"
    if prefix.lower() + b"message-id" not in seen:
        yield prefix + b"Message-ID: <" + new_id + b">\n"


def _with_domains(one: fields.Field, place: Place) -> bytes:
    if one.key not in _ORIGINATORS | _RECIPIENTS:
        return one.raw
    name, colon, body = one.raw.partition(b":")
    if one.key in _RECIPIENTS:
        return name + colon + qualify(body, place.me.encode())
    body = qualify(body, (place.masquerade or place.me).encode())
    if place.masquerade:
        # The host's own name, whole: not that of a host below it.
        names = b"|".join(re.escape(name.encode()) for name in (place.me, place.host) if name)
        own = re.compile(rb"@(?:" + names + rb")(?![A-Za-z0-9.-])", re.IGNORECASE)
        body = own.sub(lambda match: b"@" + place.masquerade.encode(), body)
    return name + colon + body


def _from_field(order: Order, place: Place, reverse_path: str) -> bytes:
    name = order.user_name
    address = reverse_path
    if not address:
        name, address = "Mail Delivery System", f"MAILER-DAEMON@{place.me}"
    if not name:
        return f"From: {address}\n".encode()
    return f"From: {phrase(name)} <{address}>\n".encode()


def phrase(name: str) -> str:
    """Write a display name: as it is, quoted, or as an encoded word (RFC 5322 3.2.5, RFC 2047)."""
    name = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if _atoms.match(name):
        return name
    if name.isascii():
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    from binascii import b2a_base64  # rare: a name with letters beyond ASCII

    octets = name.encode("utf-8", "replace")
    words, start = [], 0
    while start < len(octets):
        end = min(start + 42, len(octets))  # 75 characters a word at most, RFC 2047 2
        while end < len(octets) and octets[end] & 0xC0 == 0x80:
            end -= 1  # never within a character
        encoded = b2a_base64(octets[start:end], newline=False).decode()
        words.append(f"=?utf-8?b?{encoded}?=")
        start = end
    return " ".join(words)


# -- the envelope ---------------------------------------------------------------------------------


def _forward_paths(order: Order, header: bytes, place: Place) -> tuple[ForwardPath, ...]:
    faults: list[str] = []
    found = list(_addresses((text.encode() for text in order.recipients), place, faults))
    if order.from_header:
        all_fields = list(fields.fields(header))
        resent = any(one.key in _RESENT_TO for one in all_fields)
        wanted = _RESENT_TO if resent else _TO  # RFC 5322 3.6.6: a resent one goes there alone
        found += _addresses((one.body for one in all_fields if one.key in wanted), place, faults)
    if faults:
        raise BadAddress("Bad recipient address", detail="\n".join(faults))
    if not found:
        raise BadMessage("No recipients: none named, and none in To, Cc or Bcc")
    texts = dict.fromkeys(str(address) for address in found)
    return tuple(ForwardPath(text, _rcpt_parameters(order, text)) for text in texts)


def _rcpt_parameters(order: Order, address: str) -> dict[str, str]:
    if not order.notify:
        return {}
    return {"NOTIFY": order.notify, "ORCPT": original_recipient(address)}


def _addresses(bodies: Iterable[bytes], place: Place, faults: list[str]) -> Iterator[Address]:
    for body in bodies:
        for mailbox in parse_address_list(body):
            if mailbox.local is None or mailbox.domain is None:
                continue  # the begin or end of a group
            local = mailbox.local.decode("utf-8", "surrogateescape")
            domain = mailbox.domain.decode("utf-8", "surrogateescape") or place.me
            shown = body.decode("utf-8", "replace").strip()
            if not local:
                faults.append(f"{shown or 'an empty address'}: not an address")
                continue
            try:
                yield parse_address(str(Address(local, domain)))
            except BadAddress as fault:
                faults.append(f"{shown}: {fault.text}")


def _reverse_path(order: Order, origin: str, place: Place) -> str:
    if order.sender == "":
        return ""
    text = order.user if order.sender is None else order.sender
    faults: list[str] = []
    found = list(_addresses([text.encode()], Place(origin), faults))
    if faults or len(found) != 1:
        raise BadAddress(f"Bad sender address: {text}", status="5.1.7")
    address = found[0]
    ours = {ascii_domain(name) for name in (place.me, place.host) if name}
    if place.masquerade and ascii_domain(address.domain) in ours:
        address = Address(address.local, place.masquerade)
    return str(address)
