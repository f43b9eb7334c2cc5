"""What received reports come to, as tables for people."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from mailtools.services.reports.read_values import (
    DMARC,
    FAILURE,
    TLS,
    Complaint,
    Incoming,
    Mail,
    Sessions,
)

NameOf = Callable[[str], str]
"""Gives the name of an IP address, "" where it has none or nobody asks."""

# What mends a failed session (RFC 8460 4.3).
_HINTS = {
    "starttls-not-supported": "that exchanger must offer STARTTLS",
    "certificate-host-mismatch": "its certificate must name the exchanger as MX does",
    "certificate-expired": "renew its certificate",
    "certificate-not-trusted": "send the whole chain, of an authority that others trust",
    "validation-failure": "see the reason they give",
    "tlsa-invalid": "publish the TLSA record of a new certificate before it is used",
    "dnssec-invalid": "mend DNSSEC of the zone: its signatures do not hold",
    "dane-required": "they want DANE: publish TLSA records, or mend them",
    "sts-policy-fetch-error": "https://mta-sts.DOMAIN/.well-known/mta-sts.txt must answer",
    "sts-policy-invalid": "mend the text of the MTA-STS policy",
    "sts-webpki-invalid": "mta-sts.DOMAIN needs a certificate that others trust",
    "not-told": "they do not say why",
}


def tables(reports: Sequence[Incoming], most: int, name_of: NameOf) -> Iterator[str]:
    """Yield the lines of all tables, an empty line between; `most` (0: any number) rows in each."""
    shapes: dict[str, Callable[[list[Incoming]], Iterator[str]]] = {
        DMARC: lambda found: _dmarc(found, most, name_of),
        TLS: lambda found: _tls(found, most),
        FAILURE: lambda found: _failures(found, most, name_of),
    }
    first = True
    for kind, shape in shapes.items():
        found = [report for report in reports if report.kind == kind]
        if found:
            if not first:
                yield ""
            first = False
            yield from shape(found)


# -- DMARC ----------------------------------------------------------------------------------------


class _Source:
    """What came from one address."""

    def __init__(self) -> None:
        self.messages = self.passed = self.spf = self.dkim = 0
        self.done: Counter[str] = Counter()
        self.authors: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()

    def add(self, mail: Mail) -> None:
        self.messages += mail.number
        self.passed += mail.number * mail.passed
        self.spf += mail.number * (mail.spf == "pass")
        self.dkim += mail.number * (mail.dkim == "pass")
        self.done[mail.disposition or "-"] += mail.number
        self.authors[mail.author or "-"] += mail.number
        if not mail.passed:
            self.notes[_note(mail)] += mail.number


def _note(mail: Mail) -> str:
    """Say what a message that failed may have been."""
    reasons = [reason for reason in mail.reasons if reason != "other"]
    if reasons:
        return ", ".join(reasons)
    if mail.signed:
        return f"signs as {mail.signed[0]}"
    if mail.sent:
        return f"bounces to {mail.sent[0]}"
    return "forged, or yours and unsigned"


def _dmarc(reports: list[Incoming], most: int, name_of: NameOf) -> Iterator[str]:
    sources: dict[str, _Source] = {}
    days: dict[tuple[str, str], _Source] = {}
    for report in reports:
        for row in report.rows:
            if isinstance(row, Mail):
                sources.setdefault(row.source, _Source()).add(row)
                days.setdefault((report.domain, report.day), _Source()).add(row)
    total = sum(one.messages for one in sources.values())
    passed = sum(one.passed for one in sources.values())
    yield f"DMARC: {_heading(reports)}: {_many(total, 'message')}, {_share(passed, total)} pass"
    yield ""
    rows = [
        (domain, day, one.messages, one.passed, one.messages - one.passed, _done(one))
        for (domain, day), one in sorted(days.items())
    ]
    yield from _table(("DOMAIN", "DAY", "MESSAGES", "PASS", "FAIL", "DONE"), rows, 0)
    yield ""
    # Failures first: they are what somebody must look at.
    worst = sorted(
        sources.items(), key=lambda item: (item[1].passed - item[1].messages, -item[1].messages)
    )
    shown = [
        (
            " ".join(filter(None, (source, name_of(source)))),
            one.messages,
            one.spf,
            one.dkim,
            one.messages - one.passed,
            _done(one),
            _first(one.authors),
            _first(one.notes),
        )
        for source, one in worst[: most or None]
    ]
    yield from _table(
        ("SOURCE", "MESSAGES", "SPF", "DKIM", "FAIL", "DONE", "FROM", "WHY"), shown, 0
    )
    yield from _rest(len(worst) - len(shown), "source")


def _done(one: _Source) -> str:
    return ", ".join(f"{word} {count}" for word, count in one.done.most_common(3))


def _first(words: Counter[str]) -> str:
    more = f" +{len(words) - 1}" if len(words) > 1 else ""
    return f"{words.most_common(1)[0][0]}{more}" if words else ""


# -- TLS ------------------------------------------------------------------------------------------


class _Failed(NamedTuple):
    domain: str
    failure: str
    exchanger: str


def _tls(reports: list[Incoming], most: int) -> Iterator[str]:
    days: dict[tuple[str, str, str], list[int]] = {}
    failed: Counter[_Failed] = Counter()
    reasons: dict[_Failed, str] = {}
    for report in reports:
        for row in report.rows:
            if isinstance(row, Sessions):
                counts = days.setdefault((row.domain, report.day, row.policy), [0, 0])
                counts[bool(row.failure)] += row.number
                if row.failure:
                    what = _Failed(row.domain, row.failure, row.exchanger)
                    failed[what] += row.number
                    reasons.setdefault(what, row.reason)
    good, bad = (sum(counts[n] for counts in days.values()) for n in (0, 1))
    share = _share(good, good + bad)
    yield f"TLS: {_heading(reports)}: {_many(good + bad, 'session')}, {share} went well"
    yield ""
    rows = [(*key, *counts) for key, counts in sorted(days.items())]
    yield from _table(("DOMAIN", "DAY", "POLICY", "WELL", "FAILED"), rows, 0)
    if not failed:
        return
    yield ""
    shown = [
        (
            what.domain,
            what.failure,
            count,
            what.exchanger or "-",
            reasons[what] or "-",
        )
        for what, count in failed.most_common(most or None)
    ]
    yield from _table(("DOMAIN", "FAILURE", "SESSIONS", "EXCHANGER", "REASON"), shown, 0)
    kinds = dict.fromkeys(what.failure for what, _ in failed.most_common(most or None))
    for kind in kinds:
        if kind in _HINTS:
            yield f"  {kind}: {_HINTS[kind]}"
    yield from _rest(len(failed) - len(shown), "failure")


# -- feedback -------------------------------------------------------------------------------------


def _failures(reports: list[Incoming], most: int, name_of: NameOf) -> Iterator[str]:
    complaints = [
        (report, row) for report in reports for row in report.rows if isinstance(row, Complaint)
    ]
    total = sum(row.number for _, row in complaints)
    yield f"Feedback: {_heading(reports)}: {_many(total, 'message')}"
    yield ""
    newest = sorted(complaints, key=lambda item: item[0].begin, reverse=True)[: most or None]
    rows = [
        (
            report.day,
            report.domain or "-",
            " ".join(filter(None, (row.what, row.failure))),
            " ".join(filter(None, (row.source or "-", name_of(row.source)))),
            f"<{row.reverse_path}>",
            f"<{row.forward_path}>" if row.forward_path else "-",
            row.subject[:60],
        )
        for report, row in newest
    ]
    yield from _table(("DAY", "DOMAIN", "WHAT", "SOURCE", "FROM", "TO", "SUBJECT"), rows, 0)
    yield from _rest(len(complaints) - len(rows), "report")


# -- tables ---------------------------------------------------------------------------------------


def _heading(reports: list[Incoming]) -> str:
    """Say how many reports, of whom, on what, from when to when."""
    domains = sorted({report.domain for report in reports if report.domain})
    on = ", ".join(domains[:3]) + (f" and {len(domains) - 3} more" if len(domains) > 3 else "")
    begins = [report.begin for report in reports if report.begin]
    ends = [report.end for report in reports if report.end]
    days = f", {_day(min(begins))} to {_day(max(ends, default=0.0))}" if begins else ""
    who = _many(len({report.reporter for report in reports}), "reporter")
    return f"{_many(len(reports), 'report')} of {who} on {on or '-'}{days}"


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _share(part: int, whole: int) -> str:
    """Say a share in percent; only all of it is "all", and only nothing "none"."""
    if part in (0, whole):
        return "all" if part else "none"
    return f"{min(max(round(100 * part / whole), 1), 99)}%"


def _rest(number: int, thing: str) -> Iterator[str]:
    if number > 0:
        yield f"  and {number} more {thing}{'' if number == 1 else 's'}: --most 0"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], indent: int) -> Iterator[str]:
    """Yield a table: numbers to the right, texts to the left."""
    lines = [tuple(map(str, row)) for row in rows]
    numbers = [all(line[n].isdigit() for line in lines) for n in range(len(heads))]
    widths = [max(map(len, column)) for column in zip(heads, *lines, strict=True)]
    for line in (heads, *lines):
        cells = (
            f"{text:>{width}}" if number else f"{text:<{width}}"
            for text, width, number in zip(line, widths, numbers, strict=True)
        )
        yield (" " * indent + "  ".join(cells)).rstrip()
