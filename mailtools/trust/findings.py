"""What the checks found, as methods of Authentication-Results (RFC 8601 2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mailtools.trust.arc import Arc, ArcResult
from mailtools.trust.authres import MethodResult
from mailtools.trust.dkim import Dkim, DkimResult
from mailtools.trust.dmarc import DmarcResult
from mailtools.trust.iprev import IprevResult
from mailtools.trust.spf import SpfResult

if TYPE_CHECKING:
    from mailtools.trust.dkim2_checks import Dkim2Result

REASON_MOST = 200  # characters


def _reason(problem: str) -> str:
    return problem[:REASON_MOST]


def spf_finding(found: SpfResult, reverse_path: str, helo: str) -> MethodResult:
    """Tell of SPF (RFC 8601 2.7.2)."""
    identity = ("smtp.helo", helo) if found.identity == "helo" else ("smtp.mailfrom", reverse_path)
    return MethodResult("spf", found.result, (identity,), _reason(found.problem))


def dkim_findings(found: Sequence[DkimResult]) -> list[MethodResult]:
    """Tell of each signature (RFC 8601 2.7.1, RFC 6008); of none in one word."""
    if not found:
        return [MethodResult("dkim", Dkim.NONE)]
    return [
        MethodResult(
            "dkim",
            each.result,
            (
                ("header.d", each.domain),
                ("header.i", each.identity),
                ("header.s", each.selector),
                ("header.a", each.algorithm),
                ("header.b", each.value),
            ),
            _reason(each.problem),
            f"{each.bits}-bit key{', testing' if each.testing else ''}" if each.bits else "",
        )
        for each in found
    ]


def dkim2_finding(found: Dkim2Result) -> MethodResult:
    """Tell of DKIM2 (draft-gondwana-dkim2-authres): whose message it was, and what is wrong where.

    Whoever else sent it on is told in the comment.
    """
    properties = [("header.d", domain) for domain in found.domains[:1]]
    if found.signature:
        properties.append(("header.i", str(found.signature)))
    via = f"by way of {', '.join(found.domains[1:])}" if len(found.domains) > 1 else ""
    reason = _reason(found.problem or found.remark)
    return MethodResult("dkim2", found.result, tuple(properties), reason, via)


def dmarc_finding(found: DmarcResult) -> MethodResult:
    """Tell of DMARC (RFC 9989 9.1); policy.dmarc is what is asked for after t= was counted."""
    properties = [("header.from", found.author)] if found.author else []
    if found.record is not None:
        properties.append(("policy.dmarc", found.record.applied(found.policy)))
    return MethodResult("dmarc", found.result, tuple(properties), _reason(found.problem))


def arc_finding(found: ArcResult, ip: str) -> MethodResult:
    """Tell of ARC (RFC 8617 6, 10.2)."""
    properties = [("smtp.remote-ip", ip)]
    if found.result is Arc.PASS:
        properties.append(("header.oldest-pass", str(found.oldest_pass)))
    comment = f"i={found.chain.highest}" if found.chain.highest else ""
    return MethodResult("arc", found.result, tuple(properties), _reason(found.problem), comment)


def iprev_finding(found: IprevResult, ip: str) -> MethodResult:
    """Tell of reverse DNS (RFC 8601 2.7.3)."""
    comment = found.name if found.name.isascii() else ""
    properties = (("policy.iprev", ip),)
    return MethodResult("iprev", found.result, properties, _reason(found.problem), comment)


def auth_finding(user: str, mechanism: str) -> MethodResult:
    """Tell of SMTP AUTH (RFC 8601 2.7.4)."""
    return MethodResult("auth", "pass", (("smtp.auth", user),), comment=mechanism.lower())
