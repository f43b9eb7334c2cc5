"""A failure report as a message: the Abuse Reporting Format (RFC 5965, RFC 6591, RFC 9991 4).

Of the message it is about it has the header only, redacted (mail/redact.py), and no recipient.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mailtools import __version__
from mailtools.mail.dates import format_date_field
from mailtools.mail.redact import redact_header, redact_text
from mailtools.trust.lookup import is_name

if TYPE_CHECKING:
    from mailtools.services.reports.compose import Reporter

LINE_MOST = 900  # characters: RFC 5322 2.1.1 allows 998
_odd = re.compile(r"[^\x20-\x7e]")
_address = re.compile(r"[0-9A-Fa-f.:]{2,45}\Z")


class Incident(NamedTuple):
    """A message that failed."""

    at: float
    source: str
    author: str
    reverse_path: str
    results: str
    failed: str
    """Which of dkim and spf gave no aligned identity, with a comma between; or `none`."""
    signed: tuple[str, str, str]
    """Domain, identity and selector of a signature that failed; empty where there is none."""
    spf: str
    """The domain whose SPF failed, where it could have been aligned."""
    done: str
    header: str

    @property
    def likeness(self) -> tuple[str, ...]:
        """What messages that failed alike have in common."""
        return (self.source, self.author, self.failed, *self.signed, self.spf, self.done)


def read_incident(text: str) -> Incident | None:
    """Read what smtpd-accept noted; None for what it did not."""
    try:
        found = json.loads(text)
        signed = found["signed"][0] if found["signed"] else ("", "", "")
        domain, identity, selector = (_plain(str(each)) for each in signed)
        names = ("source", "author", "from", "results", "failed", "spf", "done", "header")
        source, author, path, results, failed, spf, done, header = (
            str(found[name]) for name in names
        )
        known = Incident(
            float(found["at"]), source, author, path, results, failed,
            (domain, identity, selector), spf, done, header,
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        return None
    well = (
        _address.match(source)
        and is_name(author)
        and (not spf or is_name(spf))
        and failed in ("dkim,spf", "dkim", "spf", "none")
        and done in ("delivered", "spam", "reject")
        and 0 <= known.at < 1 << 40
    )
    return known if well else None


class Told(NamedTuple):
    """What a report is about."""

    id: str
    domain: str
    """The policy domain."""
    incident: Incident
    number: int
    """Of messages that failed like this one."""
    spf_record: str
    """What the SPF domain has in DNS; "" where that is not known."""


def write_message(
    reporter: Reporter, told: Told, *, to: Sequence[str], key: bytes, now: float
) -> bytes:
    """Write the message of a report, with LF line ends, ASCII; `key` hides local-parts."""
    id_, domain, incident, number, _ = told
    boundary = f"failure-{id_[-20:]}"
    header = redact_header(incident.header.encode("latin-1", "replace"), key)
    when = format_date_field(incident.at)
    lines = [
        f"Date: {format_date_field(now)}",
        f"From: <{reporter.email}>",
        "To: " + ",\n\t".join(f"<{address}>" for address in to),
        f"Subject: DMARC failure of a message from {incident.author}",
        f"Message-ID: <{id_}@{reporter.me}>",
        "Auto-Submitted: auto-generated",  # RFC 3834 5
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=feedback-report;\n\tboundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        f"{reporter.me} received a message that says it is from {incident.author}, and that",
        f"failed the checks of {domain}: from {incident.source}, on {when}.",
        f"So did {number - 1} more alike." if number > 1 else "",
        "Names and local-parts are hidden; equal ones look equal.",
        "",
        f"--{boundary}",
        "Content-Type: message/feedback-report",
        "",
        *_feedback(reporter, told, key),
        "",
        f"--{boundary}",
        "Content-Type: text/rfc822-headers",
        "",
        header.decode("ascii"),
        f"--{boundary}--",
        "",
    ]
    return "\n".join(lines).encode("ascii", "replace")


def _feedback(reporter: Reporter, told: Told, key: bytes) -> list[str]:
    """Give the fields of the report (RFC 6591 3.1, 3.2; RFC 9991 4)."""
    incident = told.incident
    results = _folded(_hidden(incident.results, key))
    lines = [
        "Feedback-Type: auth-failure",
        f"User-Agent: mailtools/{__version__}",
        "Version: 1",
        "Auth-Failure: dmarc",
        f"Authentication-Results: {results}",
        f"Identity-Alignment: {incident.failed}",
        f"Original-Mail-From: <{_plain(_hidden(incident.reverse_path, key))}>",
        f"Source-IP: {incident.source}",
        f"Reported-Domain: {incident.author}",
        f"Reporting-MTA: dns; {reporter.me}",
        f"Arrival-Date: {format_date_field(incident.at)}",
        f"Delivery-Result: {incident.done}",
        f"Incidents: {told.number}",
    ]
    signer, identity, selector = incident.signed
    if signer:
        lines += [
            f"DKIM-Domain: {signer}",
            f"DKIM-Identity: {_hidden(identity or '@' + signer, key)}",
            f"DKIM-Selector: {selector}",
        ]
    if incident.spf and told.spf_record:
        quoted = re.sub(r'(["\\])', r"\\\1", _plain(told.spf_record))
        lines.append(f'SPF-DNS: txt : {incident.spf} : "{quoted}"')
    return [line for line in lines if max(map(len, line.split("\n"))) <= LINE_MOST]


def _hidden(text: str, key: bytes) -> str:
    return redact_text(text.encode("utf-8", "replace"), key).decode("utf-8", "replace")


def _folded(text: str) -> str:
    """Keep a folded field's body to its lines: each begins with white space."""
    first, *rest = text.split("\n")
    lines = [_plain(line.replace("\t", " ")) for line in [first, *rest]]
    return "\n".join([lines[0], *(f"\t{line.strip()}" for line in lines[1:] if line.strip())])


def _plain(text: str) -> str:
    return _odd.sub("?", text)
