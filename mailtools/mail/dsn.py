"""Delivery status notifications: multipart/report for people and programs (RFC 3464, 3461, 6522).

Whether a sender asked to hear of a report, `dsn_wishes` says; `compose` writes the message.
Addresses beyond ASCII go in the forms of RFC 6533. What is returned of the message is its header,
or all of it where the sender asked for that (RET=FULL) and a path failed.
"""

import binascii
import re
from typing import NamedTuple

from mailtools.mail import fields
from mailtools.mail.address import ascii_domain
from mailtools.mail.dates import format_date_field
from mailtools.mail.envelope import SUBMITTED, Envelope, ForwardPath
from mailtools.mail.reply import one_line
from mailtools.mail.report import DELAYED, DELIVERED, EXPANDED, FAILED, RELAYED, Report

RETURNED_MOST = 256 * 1024  # octets; a larger message is returned as its header only

_LINE = 76
_words = re.compile(r"[^ ]{1,240}")  # a longer one is cut: RFC 5322 2.1.1 has lines of 998 octets
_xtext = re.compile(r"\+([0-9A-F]{2})")
_unicode_xtext = re.compile(r"\\x\{([0-9A-F]{1,6})\}")
_said = re.compile(
    r"(?:Given up, it was tried too long: )?"
    r"(?=[\w[])([A-Za-z0-9_.-]*)(?:\[([0-9A-Fa-f.:]+)\])?(?::[0-9]+)? said ([2-5][0-9]{2}[ -].*)\Z",
    re.DOTALL,
)

_INTRODUCTIONS = {
    FAILED: "Your message could not be delivered to:",
    DELAYED: "Your message has not been delivered yet, and is still being tried, to:",
    DELIVERED: "Your message was delivered to:",
    RELAYED: "Your message was handed to another host, which may send no further word, for:",
    EXPANDED: "Your message was delivered to a list or alias, and sent on from there:",
}
_OURS = (DELIVERED, EXPANDED)  # what is said of these is for the log: whose account, whom else
_SUBJECTS = {
    FAILED: "Undelivered mail returned to sender",
    DELAYED: "Delayed mail (still being tried)",
}


class Notification(NamedTuple):
    """What a DSN is made of; times in seconds since 1970."""

    me: str
    """The host that reports."""
    id: str
    """The DSN's own queue ID."""
    time: float
    to: str
    """Who is told: the reverse-path of the message, or a postmaster."""
    envelope: Envelope
    """The message's envelope."""
    arrival: float
    reports: tuple[tuple[float, Report], ...]
    """What is told, each with its time."""
    message: bytes
    """The message with LF line ends; its header is enough where `returns_all` is false."""
    until: float = 0.0
    """Until when delayed paths are tried."""


def returns_all(envelope: Envelope, reports: list[Report], size: int) -> bool:
    """Whether the whole message is returned, not its header alone (RFC 3461 4.3, RFC 8689 5)."""
    return (
        envelope.parameters.get("RET", "").upper() == "FULL"
        and "REQUIRETLS" not in envelope.parameters
        and size <= RETURNED_MOST
        and any(report.action == FAILED for report in reports)
    )


def envelope_for(notification: Notification, body: bytes, client: str) -> Envelope:
    """Make the envelope of a DSN: from the null reverse-path, and never answered itself."""
    parameters = {SUBMITTED: ""}
    if not body.isascii():
        parameters["BODY"] = "8BITMIME"
    if not notification.to.isascii():
        parameters["SMTPUTF8"] = ""
    if "MT-PRIORITY" in notification.envelope.parameters:  # RFC 6710 4.4: as the message had it
        parameters["MT-PRIORITY"] = notification.envelope.parameters["MT-PRIORITY"]
    if "REQUIRETLS" in notification.envelope.parameters:
        # RFC 8689 5: it tells of the message, so it is protected as that was.
        parameters["REQUIRETLS"] = ""
    to = ForwardPath(notification.to, {"NOTIFY": "NEVER"})
    return Envelope("", (to,), parameters, client)


def compose(notification: Notification) -> bytes:
    """Write the DSN as a message with LF line ends."""
    me = ascii_domain(notification.me)
    boundary = notification.id
    parts = [_explanation(notification), _status(notification), _returned(notification)]
    while any(boundary.encode() in part for part in parts):
        boundary += "="
    inner = b"".join(b"--" + boundary.encode() + b"\n" + part + b"\n" for part in parts)
    head = _header(notification, me, boundary, inner.isascii())
    return head + inner + f"--{boundary}--\n".encode()


def _header(notification: Notification, me: str, boundary: str, ascii_only: bool) -> bytes:
    actions = {report.action for _, report in notification.reports}
    kind = next((action for action in (FAILED, DELAYED) if action in actions), "")
    reply_to = fields.first(fields.split_message(notification.message)[0], b"message-id")
    lines = [
        f"Date: {format_date_field(notification.time)}",
        f"From: Mail delivery <MAILER-DAEMON@{me}>",
        f"To: <{notification.to}>",
        f"Subject: {_SUBJECTS.get(kind, 'Delivery report')}",
        f"Message-ID: <{notification.id}@{me}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 5
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\n\tboundary="{boundary}"',
    ]
    if reply_to and re.fullmatch(rb"<[!-~]{3,900}>", reply_to.body):
        original = reply_to.body.decode()
        lines[5:5] = [f"In-Reply-To: {original}", f"References: {original}"]
    if not ascii_only:
        lines.append("Content-Transfer-Encoding: 8bit")
    return ("\n".join(lines) + "\n\n").encode()


def _part(kind: str, body: bytes) -> bytes:
    encoding = "" if body.isascii() else "\nContent-Transfer-Encoding: 8bit"
    return f"Content-Type: {kind}{encoding}\n\n".encode() + body


# -- for people -----------------------------------------------------------------------------------


def _explanation(notification: Notification) -> bytes:
    text = [f"This is the mail system at {notification.me}.\n"]
    paths = {path.address: path for path in notification.envelope.forward_paths}
    for action, introduction in _INTRODUCTIONS.items():
        reports = [report for _, report in notification.reports if report.action == action]
        if not reports:
            continue
        text.append(f"{introduction}\n")
        for report in reports:
            path = paths.get(report.forward_path, ForwardPath(report.forward_path))
            text.append(f"  <{report.forward_path}>{_sent_from(path)}")
            if action not in _OURS:
                text += _folded(report.text, "      ")
            text.append("")
        if action == DELAYED and notification.until:
            date = format_date_field(notification.until)
            text.append(f"You need not send it again. It will be tried until\n{date}.\n")
        if action == FAILED:
            postmaster = f"postmaster@{ascii_domain(notification.me)}"
            text.append("If this does not tell what to do, please send all of this notification to")
            text.append(f"{postmaster} and ask.\n")
    body = "\n".join(text).encode("utf-8", "replace")
    charset = "us-ascii" if body.isascii() else "utf-8"
    return _part(f"text/plain; charset={charset}", body)


def _sent_from(path: ForwardPath) -> str:
    """Name the address the sender knows, where an alias led from that to another."""
    known = _plain(path.parameters.get("ORCPT", "").partition(";")[2])
    if not known or known.lower() == path.address.lower():
        return ""
    return f",\n  to which mail for <{known}> is sent on"


# -- for programs ---------------------------------------------------------------------------------


def _status(notification: Notification) -> bytes:
    envelope = notification.envelope
    groups = [[f"Reporting-MTA: dns; {ascii_domain(notification.me)}"]]
    if envelope.parameters.get("ENVID"):
        groups[0].append(f"Original-Envelope-Id: {_plain(envelope.parameters['ENVID'])}")
    groups[0].append(f"Arrival-Date: {format_date_field(notification.arrival)}")
    seconds = envelope.parameters.get("BY", "").partition(";")[0]
    if seconds.lstrip("+-").isdecimal():  # RFC 2852 5
        deadline = notification.arrival + int(seconds)
        groups[0].append(f"Deliver-By-Date: {format_date_field(deadline)}")
    paths = {path.address: path for path in envelope.forward_paths}
    for when, report in notification.reports:
        path = paths.get(report.forward_path, ForwardPath(report.forward_path))
        until = notification.until if report.action == DELAYED else 0.0
        groups.append(_recipient(when, report, path, until))
    lines = ["\n".join(_field(line) for line in group) + "\n" for group in groups]
    body = "\n".join(lines).encode("utf-8", "replace")
    # RFC 6533 3: the form for addresses beyond ASCII.
    word = "delivery-status" if body.isascii() else "global-delivery-status"
    return _part(f"message/{word}", body)


def _recipient(when: float, report: Report, path: ForwardPath, until: float) -> list[str]:
    lines = []
    original = path.parameters.get("ORCPT", "")
    if original:
        kind, _, address = original.partition(";")
        lines.append(f"Original-Recipient: {one_line(kind)}; {_plain(address)}")
    kind = "rfc822" if report.forward_path.isascii() else "utf-8"
    lines += [
        f"Final-Recipient: {kind}; {report.forward_path}",
        f"Action: {report.action}",
        f"Status: {report.status}",
    ]
    said = _said.match(report.text)
    if said:
        literal = f"[IPv6:{said[2]}]" if ":" in (said[2] or "") else f"[{said[2]}]"
        lines.append(f"Remote-MTA: dns; {said[1] or literal}")
        lines.append(f"Diagnostic-Code: smtp; {_ascii(said[3])}")
    elif report.text and report.action not in _OURS:
        lines.append(f"Diagnostic-Code: X-mailtools; {_ascii(report.text)}")
    lines.append(f"Last-Attempt-Date: {format_date_field(when)}")
    if until:
        lines.append(f"Will-Retry-Until: {format_date_field(until)}")
    return lines


def _plain(text: str) -> str:
    """Undo xtext and utf-8-addr-xtext (RFC 3461 4, RFC 6533 3), safe for one line."""
    text = _xtext.sub(lambda match: chr(int(match[1], 16)), text)
    text = _unicode_xtext.sub(lambda match: _character(int(match[1], 16)), text)
    return one_line(text)


def _character(code: int) -> str:
    return chr(code) if code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "?"


def _ascii(text: str) -> str:
    # RFC 3464 2.3.6: ASCII, unless the report is in the global form; so always ASCII.
    return text.encode("ascii", "replace").decode()


def _field(line: str) -> str:
    return "\n".join(_folded(line, "", "    "))


def _folded(text: str, first: str, rest: str = "") -> list[str]:
    lines: list[str] = []
    indent, line = first, ""
    for word in _words.findall(text):
        if line and len(indent) + len(line) + 1 + len(word) > _LINE:
            lines.append(indent + line)
            indent, line = rest or first, word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, indent + line]


# -- what comes back ------------------------------------------------------------------------------


def _returned(notification: Notification) -> bytes:
    envelope, message = notification.envelope, notification.message
    utf8 = "SMTPUTF8" in envelope.parameters
    reports = [report for _, report in notification.reports]
    if returns_all(envelope, reports, len(message)):
        return _part("message/global" if utf8 else "message/rfc822", message)
    header = fields.split_message(message)[0]
    if header.isascii():
        return _part("text/rfc822-headers", header)
    if utf8:
        return _part("message/global-headers", header)
    # 8-bit where none may be: kept legible, and harmless on the way.
    encoded = binascii.b2a_qp(header, istext=True)
    kind = b"Content-Type: text/rfc822-headers\nContent-Transfer-Encoding: quoted-printable\n\n"
    return kind + encoded
