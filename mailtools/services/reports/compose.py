"""A day's data as a report, and a report as a message (RFC 9990 3.5.2, RFC 8460 5).

Everything about a report but its Date follows from the data: one that has to be made again after a
crash has the same Report-ID, file name and Message-ID, so that its reader knows it.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mailtools import __version__
from mailtools.mail import dmarc_report, tls_report
from mailtools.mail.dates import days_since_1970, format_date_field
from mailtools.mail.dmarc_report import Feedback, Published, Row, Sent, Signed
from mailtools.mail.tls_report import Applied, Session, TlsReport

if TYPE_CHECKING:
    from mailtools.store.report_data import Facts

DMARC, TLS, FAILURE = "dmarc", "tls", "failure"
KINDS = (DMARC, TLS)

ROWS_MOST = 20_000  # of a report: 10 MB of XML, under 1 MB as it is sent
DAY = 86400


class Reporter(NamedTuple):
    """Who reports."""

    me: str
    organization: str
    email: str


class Subject(NamedTuple):
    """What a report is about."""

    kind: str
    domain: str
    day: str
    """As 2026-11-23, UTC."""
    full_since: str = ""
    """When the day's data reached its limit, as 14:05."""


class Report(NamedTuple):
    """A report, ready to be sent."""

    subject: Subject
    id: str
    file_name: str
    media_type: str
    plain: bytes
    packed: bytes
    number: int
    """Of messages or sessions."""


def make(reporter: Reporter, subject: Subject, facts: Facts) -> Report:
    """Make the report of a day's facts."""
    begin = day_begin(subject.day)
    end = begin + DAY - 1
    id_ = f"{begin}.{subject.kind}.{subject.domain}@{reporter.me}"
    name = f"{reporter.me}!{subject.domain}!{begin}!{end}"
    if subject.kind == DMARC:
        plain, count = _dmarc(reporter, subject, facts, id_)
        name, media = f"{name}.xml.gz", "application/gzip"
    else:
        plain, count = _tls(reporter, subject, facts, id_)
        name, media = f"{name}.json.gz", "application/tlsrpt+gzip"
    return Report(subject, id_, name, media, plain, gzip.compress(plain, mtime=0), count)


def day_begin(day: str) -> int:
    """Give when a day begins, in seconds since 1970; raise ValueError for what is no day."""
    year, month, number = (int(part) for part in day.split("-"))
    return days_since_1970((year, month, number)) * DAY


# -- DMARC ----------------------------------------------------------------------------------------


def _dmarc(reporter: Reporter, subject: Subject, facts: Facts, id_: str) -> tuple[bytes, int]:
    counted: Counter[str] = Counter()
    for texts in facts.values():
        counted.update(texts)
    most = counted.most_common(ROWS_MOST)
    rows = [(row, count) for text, count in most if (row := _row(text))]
    errors = []
    if subject.full_since:
        errors.append(f"messages after {subject.full_since} UTC are left out: too many")
    if len(most) < len(counted):
        rest = counted.total() - sum(count for _, count in most)
        errors.append(f"{len(counted) - len(most)} rows with {rest} messages are left out")
    begin = day_begin(subject.day)
    feedback = Feedback(
        reporter.organization,
        reporter.email,
        id_,
        begin,
        begin + DAY - 1,
        subject.domain,
        _published(next(reversed(facts))),  # RFC 9990 3.1: the last one that was seen
        tuple(rows),
        tuple(errors),
        f"mailtools {__version__}",
    )
    return dmarc_report.write(feedback), sum(count for _, count in rows)


def _published(text: str) -> Published:
    try:
        return Published(**{name: str(value) for name, value in json.loads(text).items()})
    except (ValueError, TypeError, AttributeError):
        return Published("none")


def _row(text: str) -> Row | None:
    try:
        found = json.loads(text)
        reasons = tuple((str(kind), str(comment)) for kind, comment in found.pop("reasons"))
        signed = tuple(Signed(*map(str, each)) for each in found.pop("signed"))
        sent = found.pop("sent")
        return Row(
            **{name: str(value) for name, value in found.items()},
            reasons=reasons,
            signed=signed,
            sent=Sent(*map(str, sent)) if sent else None,
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None  # not a line of ours


# -- TLS ------------------------------------------------------------------------------------------


def _tls(reporter: Reporter, subject: Subject, facts: Facts, id_: str) -> tuple[bytes, int]:
    policies = []
    for policy, texts in facts.items():
        applied = _applied(policy)
        sessions = [(session, n) for text, n in texts.most_common() if (session := _session(text))]
        if applied is not None and sessions:
            policies.append((applied, tuple(sessions[:ROWS_MOST])))
    report = TlsReport(reporter.organization, reporter.email, id_, subject.day, tuple(policies))
    count = sum(n for _, sessions in policies for _, n in sessions)
    return tls_report.write(report), count


def _applied(text: str) -> Applied | None:
    try:
        found = json.loads(text)
        lines, patterns = (tuple(map(str, found[name])) for name in ("lines", "patterns"))
        return Applied(str(found["domain"]), str(found["kind"]), lines, patterns)
    except (ValueError, TypeError, KeyError):
        return None


def _session(text: str) -> Session | None:
    try:
        return Session(**{name: str(value) for name, value in json.loads(text).items()})
    except (ValueError, TypeError, AttributeError):
        return None


# -- the message ----------------------------------------------------------------------------------


def message(reporter: Reporter, report: Report, to: Sequence[str], now: float) -> bytes:
    """Write the message that brings a report to some addresses, with LF line ends."""
    subject, boundary = report.subject, f"report-{report.subject.kind}-{report.subject.day}"
    lines = [
        f"Date: {format_date_field(now)}",
        f"From: <{reporter.email}>",
        "To: " + ",\n\t".join(f"<{address}>" for address in to),
        f"Subject: Report Domain: {subject.domain}",
        f"\tSubmitter: {reporter.me}",
        f"\tReport-ID: <{report.id}>",
        f"Message-ID: <{report.id}>",
        "Auto-Submitted: auto-generated",  # RFC 3834 5
        "MIME-Version: 1.0",
    ]
    kind = "mixed"
    if subject.kind == TLS:
        kind = 'report; report-type="tlsrpt"'
        lines += [
            f"TLS-Report-Domain: {subject.domain}",
            f"TLS-Report-Submitter: {reporter.me}",
            "TLS-Required: No",  # RFC 8460 3: whatever fails there must not stop it; RFC 8689 3
        ]
    lines += [
        f'Content-Type: multipart/{kind};\n\tboundary="{boundary}"',
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        _explanation(reporter, report),
        f"--{boundary}",
        f'Content-Type: {report.media_type};\n\tname="{report.file_name}"',
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment;\n\tfilename="{report.file_name}"',
        "",
        base64.encodebytes(report.packed).decode("ascii").rstrip("\n"),
        "",
        f"--{boundary}--",
        "",
    ]
    return "\n".join(lines).encode("ascii", "replace")


def _explanation(reporter: Reporter, report: Report) -> str:
    subject = report.subject
    if subject.kind == DMARC:
        said = (
            f"what {reporter.me} received on {subject.day} (UTC) from {subject.domain},\nby DMARC"
        )
        things = "message"
    else:
        said = (
            f"how TLS went when {reporter.me} sent mail to\n{subject.domain} on {subject.day} (UTC)"
        )
        things = "session"
    text = f"This is an aggregate report on {said}: {report.number} {things}"
    text += "s.\n" if report.number != 1 else ".\n"
    if subject.full_since:
        text += f"It is not complete: what came after {subject.full_since} UTC was too much.\n"
    return text
