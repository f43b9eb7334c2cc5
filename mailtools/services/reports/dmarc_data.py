"""What smtpd-accept notes of each message that DMARC judged, for its author domain's report.

Only where the domain asks for reports (rua=) and the operator for their sending.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from mailtools import log
from mailtools.errors import BadAddress, Failure
from mailtools.mail.address import ascii_domain
from mailtools.mail.dmarc_report import Published, Row, Sent, Signed
from mailtools.mail.fields import first
from mailtools.trust.dkim import Dkim
from mailtools.trust.dmarc import Dmarc
from mailtools.trust.dmarc_record import Policy

if TYPE_CHECKING:
    from mailtools.store.report_data import Collected
    from mailtools.trust.dkim import DkimResult
    from mailtools.trust.dmarc import DmarcResult
    from mailtools.trust.dmarc_record import DmarcRecord
    from mailtools.trust.examine import Verdicts
    from mailtools.trust.spf import SpfResult

HUMAN_MOST = 100  # characters of what is said for people
SIGNATURES_MOST = 10  # RFC 9990 3.1.3 allows a hundred; dkim.py looks at ten

_report_subject = re.compile(rb"Report[ \t]+Domain:.*Submitter:", re.IGNORECASE | re.DOTALL)

DONE = {"accept": "none", "junk": "quarantine", "refuse": "reject"}
"""What an action of ours is in the words of a report."""


class Judgement(NamedTuple):
    """A message, as far as reports want to know it."""

    address: str
    """The client's."""
    reverse_path: str
    to: str
    """The domain of its recipients; "" where they have several."""
    header: bytes
    spf: SpfResult
    verdicts: Verdicts
    action: str
    """What was done: accept, junk or refuse."""
    reason: str = ""
    """Why, where it is not what the domain wants."""
    vouched: bool = False
    """A trusted ARC handler spoke for it."""


class DmarcData:
    """Notes judgements in the day's file."""

    def __init__(self, collected: Collected, clock: Callable[[], float]) -> None:
        """Take where they go."""
        self._collected, self._clock = collected, clock

    def note(self, judged: Judgement) -> None:
        """Note a message; what goes wrong is logged, since mail comes first."""
        dmarc = judged.verdicts.dmarc
        record = dmarc.record
        if record is None or not record.rua or is_report(judged):
            return
        policy = json.dumps(_published(record)._asdict(), separators=(",", ":"))
        fact = json.dumps(row_of(judged)._asdict(), separators=(",", ":"))
        try:
            if not self._collected.add(record.domain, policy, fact, self._clock()):
                log.event("overfull", kind="dmarc")
        except Failure as failure:
            log.event("trouble", detail=failure.detail or failure.text)


def is_report(judged: Judgement) -> bool:
    """Tell whether a message is itself a report, from whom it says: reports breed no reports."""
    if judged.verdicts.dmarc.result is not Dmarc.PASS:
        return False
    subject = first(judged.header, b"subject")
    return subject is not None and bool(_report_subject.match(subject.body))


def row_of(judged: Judgement) -> Row:
    """Give what a report says of a message."""
    dmarc, spf = judged.verdicts.dmarc, judged.spf
    disposition, reasons = _disposition(judged)
    return Row(
        judged.address,
        disposition,
        "pass" if dmarc.dkim else "fail",
        "pass" if dmarc.spf else "fail",
        dmarc.author,
        _ascii(judged.reverse_path.rpartition("@")[2]),
        _ascii(judged.to),
        reasons,
        tuple(_signed(judged)),
        Sent(spf.domain, spf.result, spf.problem[:HUMAN_MOST]) if spf.domain else None,
    )


def _ascii(domain: str) -> str:
    """Give a domain with A-labels, as the other ones of a report have them; "" for none."""
    try:
        return ascii_domain(domain) if domain else ""
    except BadAddress:
        return domain.lower()


def _disposition(judged: Judgement) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Say what was done, and why it is not what was published (RFC 9990 3.1.1.9, 3.1.6)."""
    dmarc, done = judged.verdicts.dmarc, DONE[judged.action]
    if dmarc.result is Dmarc.PASS:
        return "none" if dmarc.policy is Policy.NONE else "pass", ()
    if done == dmarc.policy:
        return done, ()
    if dmarc.result is not Dmarc.FAIL:
        return done, (("other", f"DMARC {dmarc.result}"),)
    if dmarc.record and dmarc.record.testing and done == dmarc.disposition:
        return done, (("policy_test_mode", ""),)
    if judged.vouched:
        return done, (("trusted_forwarder", judged.reason[:HUMAN_MOST]),)
    return done, (("local_policy", judged.reason[:HUMAN_MOST]),)


def _signed(judged: Judgement) -> list[Signed]:
    """Give the signatures, those that count most first (RFC 9990 3.1.3)."""
    dmarc = judged.verdicts.dmarc
    ranked = sorted(judged.verdicts.dkim, key=lambda each: _rank(each, dmarc))
    return [
        Signed(each.domain, each.selector, each.result, each.problem[:HUMAN_MOST])
        for each in ranked
        if each.domain and each.selector
    ][:SIGNATURES_MOST]


def _rank(found: DkimResult, dmarc: DmarcResult) -> int:
    if found.result is not Dkim.PASS:
        return 3
    if found.domain == dmarc.author:
        return 0
    return 1 if found.domain in dmarc.dkim else 2


def _published(record: DmarcRecord) -> Published:
    return Published(
        record.p,
        record.p if record.sp is None else record.sp,
        "" if record.np is None else record.np,
        "s" if record.strict_dkim else "r",
        "s" if record.strict_spf else "r",
        ":".join(record.fo),
        "y" if record.testing else "n",
    )
