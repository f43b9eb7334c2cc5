"""An SMTP TLS report as it is written: values and JSON (RFC 8460 4)."""

from __future__ import annotations

from typing import NamedTuple

STS, TLSA, NO_POLICY = "sts", "tlsa", "no-policy-found"
"""The types of policy (RFC 8460 4.4)."""

# What can fail (RFC 8460 4.3).
NO_STARTTLS = "starttls-not-supported"
HOST_MISMATCH = "certificate-host-mismatch"
EXPIRED = "certificate-expired"
NOT_TRUSTED = "certificate-not-trusted"
VALIDATION = "validation-failure"
TLSA_INVALID = "tlsa-invalid"
DNSSEC_INVALID = "dnssec-invalid"
DANE_REQUIRED = "dane-required"
STS_FETCH = "sts-policy-fetch-error"
STS_INVALID = "sts-policy-invalid"
STS_WEBPKI = "sts-webpki-invalid"


class Applied(NamedTuple):
    """The policy that counted for a session."""

    domain: str
    kind: str
    """sts, tlsa or no-policy-found."""
    lines: tuple[str, ...] = ()
    """The policy's lines, or the TLSA records."""
    patterns: tuple[str, ...] = ()
    """Of the exchangers, for sts."""


class Session(NamedTuple):
    """What sessions that are counted together have in common."""

    result: str = ""
    """What failed; "" for one that did as the policy wants."""
    exchanger: str = ""
    address: str = ""
    """The exchanger's IP address."""
    source: str = ""
    """Our own."""
    reason: str = ""


class TlsReport(NamedTuple):
    """A report on one policy domain; days as 2026-11-23."""

    organization: str
    contact: str
    id: str
    day: str
    policies: tuple[tuple[Applied, tuple[tuple[Session, int], ...]], ...]
    """Each with its sessions and their numbers."""


def write(report: TlsReport) -> bytes:
    """Write a report as JSON."""
    import json

    whole = {
        "organization-name": report.organization,
        "date-range": {
            "start-datetime": f"{report.day}T00:00:00Z",
            "end-datetime": f"{report.day}T23:59:59Z",
        },
        "contact-info": report.contact,
        "report-id": report.id,
        "policies": [_policy(applied, sessions) for applied, sessions in report.policies],
    }
    return (json.dumps(whole, indent=1) + "\n").encode()


def _policy(applied: Applied, sessions: tuple[tuple[Session, int], ...]) -> dict[str, object]:
    about: dict[str, object] = {"policy-type": applied.kind}
    if applied.kind != NO_POLICY:
        about["policy-string"] = list(applied.lines)
    about["policy-domain"] = applied.domain
    if applied.patterns:
        about["mx-host"] = list(applied.patterns)
    failed = [(session, count) for session, count in sessions if session.result]
    successes = sum(count for session, count in sessions if not session.result)
    found: dict[str, object] = {
        "policy": about,
        "summary": {
            "total-successful-session-count": successes,
            "total-failure-session-count": sum(count for _, count in failed),
        },
    }
    if failed:
        found["failure-details"] = [_detail(session, count) for session, count in failed]
    return found


def _detail(session: Session, count: int) -> dict[str, object]:
    texts = {
        "result-type": session.result,
        "sending-mta-ip": session.source,
        "receiving-mx-hostname": session.exchanger,
        "receiving-ip": session.address,
        "failure-reason-code": session.reason,
    }
    found: dict[str, object] = {name: text for name, text in texts.items() if text}
    found["failed-session-count"] = count
    return found
