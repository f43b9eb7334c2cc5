"""SMTP TLS reports as they come (RFC 8460 4.4)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from mailtools.services.reports.read_unpack import Unreadable
from mailtools.services.reports.read_values import (
    TLS,
    Incoming,
    Sessions,
    clean,
    count_of,
    domain,
    moment,
    word,
)

JSON_MOST = 8 * 1024 * 1024  # octets; a stranger's objects take 30 times that in memory
POLICIES_MOST = 1000
DETAILS_MOST = 100_000
FAULTS_MOST = 20
UNTOLD = "not-told"  # failures that a report counts, and says nothing of


def read(data: bytes) -> Incoming:
    """Read a report; raise Unreadable."""
    if len(data) > JSON_MOST:
        raise Unreadable(f"it is larger than a TLS report: {JSON_MOST} octets")
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"its JSON is broken: {clean(str(error))}") from None
    if not isinstance(whole, dict) or not isinstance(whole.get("policies"), list):
        raise Unreadable("it is JSON, but no TLS report: it has no policies")
    rows: list[Sessions] = []
    faults: list[str] = []
    for policy in whole["policies"][:POLICIES_MOST]:
        try:
            rows += _policy(policy if isinstance(policy, dict) else {})
        except ValueError as fault:
            if len(faults) < FAULTS_MOST:
                faults.append(f"a policy is left out: {fault}")
    period = _dict(whole, "date-range")
    begin = _seconds(period.get("start-datetime"))
    return Incoming(
        TLS,
        _text(whole, "organization-name") or _text(whole, "contact-info") or "-",
        _text(whole, "report-id"),
        next((row.domain for row in rows), ""),
        begin,
        _seconds(period.get("end-datetime")) or begin,
        " ".join(dict.fromkeys(row.policy for row in rows)),
        tuple(rows),
        tuple(faults),
    )


def _policy(found: dict[str, Any]) -> list[Sessions]:
    policy, summary = _dict(found, "policy"), _dict(found, "summary")
    kind, name = word(_text(policy, "policy-type")), domain(_text(policy, "policy-domain"))
    good = _count(summary, "total-successful-session-count")
    failed = _count(summary, "total-failure-session-count")
    rows = [Sessions(kind, name, "", good)] if good else []
    details = found.get("failure-details")
    told = 0
    for detail in (details if isinstance(details, list) else [])[:DETAILS_MOST]:
        if not isinstance(detail, dict):
            continue
        one = Sessions(
            kind,
            name,
            word(_text(detail, "result-type")) or UNTOLD,
            _count(detail, "failed-session-count"),
            domain(_text(detail, "receiving-mx-hostname")) or _text(detail, "receiving-ip"),
            _text(detail, "sending-mta-ip"),
            _text(detail, "failure-reason-code") or _text(detail, "additional-information"),
        )
        told += one.number
        rows.append(one)
    if failed > told:
        rows.append(Sessions(kind, name, UNTOLD, failed - told))
    return rows


def _dict(found: dict[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _text(found: dict[str, Any], name: str) -> str:
    value = found.get(name)
    return clean(value) if isinstance(value, str) else ""


def _count(found: dict[str, Any], name: str) -> int:
    value = found.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{name} is no number")
    try:
        return count_of(str(value))
    except ValueError as fault:  # also a number that is too long to be written
        raise ValueError(f"{name}: {clean(str(fault))[:80]}") from None


def _seconds(value: object) -> float:
    """Read a time as RFC 3339 has it; 0.0 for what is none."""
    try:
        when = datetime.fromisoformat(value if isinstance(value, str) else "")
        return moment((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return 0.0
