"""What smtpd-accept notes of a message that fails, for a failure report (RFC 9991).

Only where the domain asks for them (ruf=, fo=) and the operator for their sending. What is noted is
redacted when it is sent: until then it lies in the spool, as the message itself would.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import Failure
from mailtools.mail.fields import first
from mailtools.services.reports.dmarc_data import Judgement, is_report
from mailtools.trust.authres import AuthenticationResults, format_payload
from mailtools.trust.dkim import Dkim
from mailtools.trust.dmarc import Dmarc
from mailtools.trust.findings import spf_finding
from mailtools.trust.spf import Spf

if TYPE_CHECKING:
    from mailtools.store.report_data import Collected
    from mailtools.trust.dmarc_record import DmarcRecord

HEADER_MOST = 6000  # octets of a header that are noted
RESULTS_MOST = 3000  # characters of Authentication-Results
DONE = {"accept": "delivered", "junk": "spam", "refuse": "reject"}
"""What an action of ours is in the words of RFC 6591 3.2.2."""


class FailureData:
    """Notes failures in the day's file."""

    def __init__(self, collected: Collected, clock: Callable[[], float], authserv_id: str) -> None:
        """Take where they go."""
        self._collected, self._clock, self._authserv_id = collected, clock, authserv_id

    def note(self, judged: Judgement) -> None:
        """Note a message, where its domain wants to know; what goes wrong is logged."""
        record = judged.verdicts.dmarc.record
        if record is None or not wants(record, judged) or breeds_loops(judged):
            return
        fact = json.dumps(self._fact(judged), ensure_ascii=False, separators=(",", ":"))
        try:
            if not self._collected.add(record.domain, "{}", fact, self._clock()):
                log.event("overfull", kind="failure")
        except Failure as failure:
            log.event("trouble", detail=failure.detail or failure.text)

    def _fact(self, judged: Judgement) -> dict[str, object]:
        dmarc, spf = judged.verdicts.dmarc, judged.spf
        found = [
            spf_finding(spf, judged.reverse_path, spf.domain),
            *judged.verdicts.findings(judged.address),
        ]
        payload = format_payload(AuthenticationResults(self._authserv_id, tuple(found)))
        failed = [name for name, well in (("dkim", dmarc.dkim), ("spf", dmarc.spf)) if not well]
        signed = [
            (each.domain, each.identity, each.selector)
            for each in judged.verdicts.dkim
            if each.result is not Dkim.PASS and _is_near(each.domain, judged)
        ]
        return {
            "at": int(self._clock()),
            "source": judged.address,
            "author": dmarc.author,
            "from": judged.reverse_path,
            "results": payload[:RESULTS_MOST],
            "failed": ",".join(failed) or "none",
            "signed": signed[:1],
            "spf": spf.domain if "spf" in failed and _is_near(spf.domain, judged) else "",
            "done": DONE[judged.action],
            "header": judged.header[:HEADER_MOST].decode("latin-1"),
        }


def wants(record: DmarcRecord, judged: Judgement) -> bool:
    """Whether a domain wants to know of a message (RFC 9989 4.7 fo=; RFC 9991 2 for psd=)."""
    if not record.ruf or record.psd == "y":
        return False
    dmarc = judged.verdicts.dmarc
    if dmarc.result not in (Dmarc.PASS, Dmarc.FAIL):
        return False
    options = set(record.fo) & {"0", "1", "d", "s"} or {"0"}
    unsigned = any(each.result in (Dkim.FAIL, Dkim.PERMERROR) for each in judged.verdicts.dkim)
    return (
        ("0" in options and dmarc.result is Dmarc.FAIL)
        or ("1" in options and not (dmarc.dkim and dmarc.spf))
        or ("d" in options and unsigned)
        or ("s" in options and judged.spf.result in (Spf.FAIL, Spf.SOFTFAIL, Spf.PERMERROR))
    )


def breeds_loops(judged: Judgement) -> bool:
    """Whether a message may be an answer to a report of ours, or a report (RFC 9991 5.1)."""
    if not judged.reverse_path or is_report(judged):
        return True
    kind = first(judged.header, b"content-type")
    return kind is not None and kind.body.lower().startswith(b"multipart/report")


def _is_near(domain: str, judged: Judgement) -> bool:
    """Whether a domain would be aligned if it had passed, relaxed (RFC 9989 4.4)."""
    home = judged.verdicts.dmarc.organizational
    return bool(domain) and (domain == home or domain.lower().endswith(f".{home}"))
