"""Feedback reports as they come: complaints (RFC 5965) and authentication failures (RFC 6591)."""

from __future__ import annotations

import email.utils

from mailtools.mail.fields import find, split_message
from mailtools.mail.mime_words import decode_words
from mailtools.services.reports.read_unpack import Unreadable
from mailtools.services.reports.read_values import (
    FAILURE,
    Complaint,
    Incoming,
    address,
    clean,
    count_of,
    domain,
    moment,
    word,
)

HEADER_MOST = 256 * 1024  # octets of either header that are looked at


def read(data: bytes, message: bytes) -> Incoming:
    """Read the fields of a report and the message it is about; raise Unreadable."""
    said = data.strip(b"\r\n")[:HEADER_MOST] + b"\n"
    header = split_message(message[:HEADER_MOST])[0]
    what = word(_text(said, b"feedback-type"))
    if not what:
        raise Unreadable("its feedback report has no Feedback-Type")
    about = domain(_text(said, b"reported-domain")) or domain(_text(said, b"dkim-domain"))
    if not about:
        about = domain(email.utils.parseaddr(_text(header, b"from"))[1].rpartition("@")[2])
    faults, incidents = [], 1
    try:
        incidents = count_of(_text(said, b"incidents") or "1")
    except ValueError as fault:
        faults.append(f"Incidents is taken for 1: {fault}")
    one = Complaint(
        what,
        word(_text(said, b"auth-failure")),
        address(_text(said, b"source-ip")),
        _text(said, b"original-mail-from").strip("<>"),
        _text(said, b"original-rcpt-to").strip("<>"),
        _text(header, b"subject"),
        _text(header, b"message-id"),
        incidents,
    )
    when = _seconds(_text(said, b"arrival-date") or _text(said, b"received-date"))
    when = when or _seconds(_text(header, b"date"))
    reporter = _text(said, b"reporting-mta").rpartition(";")[2].strip()
    return Incoming(
        FAILURE,
        reporter or _text(said, b"user-agent") or "-",
        one.message_id,
        about,
        when,
        when,
        word(_text(said, b"delivery-result")),
        (one,),
        tuple(faults),
    )


def _text(header: bytes, name: bytes) -> str:
    for field in find(header, name):
        return clean(decode_words(field.body))
    return ""


def _seconds(text: str) -> float:
    """Read a date field; 0.0 for what is none."""
    try:
        return moment(email.utils.parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return 0.0
