"""A DMARC aggregate report as it is written: values and XML (RFC 9990 3.1, appendix A).

Rows are counted by whoever collects them. Elements stand in the order of the schema's table, also
where the schema leaves it open: readers of older reports know no other.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"

_odd = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 2.2


class Published(NamedTuple):
    """The policy that was found, in the words of its record (RFC 9989 4.7); "" is left out."""

    p: str
    sp: str = ""
    np: str = ""
    adkim: str = "r"
    aspf: str = "r"
    fo: str = ""
    testing: str = "n"


class Signed(NamedTuple):
    """What became of one DKIM signature."""

    domain: str
    selector: str
    result: str
    human: str = ""


class Sent(NamedTuple):
    """What SPF said of the MAIL FROM identity."""

    domain: str
    result: str
    human: str = ""


class Row(NamedTuple):
    """What messages that are counted together have in common."""

    source: str
    """The client's IP address."""
    disposition: str
    """none, pass, quarantine or reject."""
    dkim: str
    """pass or fail: whether an aligned signature passed."""
    spf: str
    author: str
    """The domain of From."""
    envelope_from: str = ""
    envelope_to: str = ""
    reasons: tuple[tuple[str, str], ...] = ()
    """Why the disposition is another than the published policy: type and comment."""
    signed: tuple[Signed, ...] = ()
    sent: Sent | None = None


class Feedback(NamedTuple):
    """A report on one policy domain."""

    organization: str
    email: str
    id: str
    begin: int
    """Seconds since 1970."""
    end: int
    domain: str
    published: Published
    rows: tuple[tuple[Row, int], ...]
    """Each with the number of its messages."""
    errors: tuple[str, ...] = ()
    generator: str = ""


def write(report: Feedback) -> bytes:
    """Write a report as XML in UTF-8."""
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>\n',
        f'<feedback xmlns="{NAMESPACE}">\n',
        "<version>1.0</version>\n",
        _metadata(report),
        _published(report),
        *(_record(row, count) for row, count in report.rows),
        "</feedback>\n",
    ]
    return "".join(parts).encode()


def _metadata(report: Feedback) -> str:
    period = _element("begin", str(report.begin)) + _element("end", str(report.end))
    return _group(
        "report_metadata",
        [
            _element("org_name", report.organization),
            _element("email", report.email),
            _element("report_id", report.id),
            f"<date_range>{period}</date_range>",
            _optional("error", "; ".join(report.errors)),
            _optional("generator", report.generator),
        ],
    )


def _published(report: Feedback) -> str:
    found = report.published
    return _group(
        "policy_published",
        [
            _element("domain", report.domain),
            _element("discovery_method", "treewalk"),
            _element("p", found.p),
            _optional("sp", found.sp),
            _optional("np", found.np),
            _optional("fo", found.fo),
            _element("adkim", found.adkim),
            _element("aspf", found.aspf),
            _element("testing", found.testing),
        ],
    )


def _record(row: Row, count: int) -> str:
    reasons = (
        f"<reason>{_element('type', kind)}{_optional('comment', comment)}</reason>"
        for kind, comment in row.reasons
    )
    evaluated = [
        _element("disposition", row.disposition),
        _element("dkim", row.dkim),
        _element("spf", row.spf),
        *reasons,
    ]
    counted = [
        _element("source_ip", row.source),
        _element("count", str(count)),
        f"<policy_evaluated>{''.join(evaluated)}</policy_evaluated>",
    ]
    names = [
        _element("header_from", row.author),
        _element("envelope_from", row.envelope_from),  # empty for the null reverse-path
        _optional("envelope_to", row.envelope_to),
    ]
    return _group(
        "record",
        [
            f"<row>{''.join(counted)}</row>",
            f"<identifiers>{''.join(names)}</identifiers>",
            f"<auth_results>{_auth_results(row)}</auth_results>",
        ],
    )


def _auth_results(row: Row) -> str:
    parts = []
    for signature in row.signed:
        inner = [
            _element("domain", signature.domain),
            _element("selector", signature.selector),
            _element("result", signature.result),
            _optional("human_result", signature.human),
        ]
        parts.append(f"<dkim>{''.join(inner)}</dkim>")
    if row.sent is not None:
        inner = [
            _element("domain", row.sent.domain),
            _element("scope", "mfrom"),
            _element("result", row.sent.result),
            _optional("human_result", row.sent.human),
        ]
        parts.append(f"<spf>{''.join(inner)}</spf>")
    return "".join(parts)


def _group(name: str, parts: Iterable[str]) -> str:
    inner = "".join(f"  {part}\n" for part in parts if part)
    return f"<{name}>\n{inner}</{name}>\n"


def _optional(name: str, text: str) -> str:
    return _element(name, text) if text else ""


def _element(name: str, text: str) -> str:
    safe = _odd.sub("?", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{safe}</{name}>"
