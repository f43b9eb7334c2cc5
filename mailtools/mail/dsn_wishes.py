"""What a sender wishes to hear of its message: the parameters NOTIFY and ORCPT (RFC 3461)."""

import re
from collections.abc import Mapping

from mailtools.mail.envelope import ForwardPath
from mailtools.mail.report import DELAYED, FAILED, RELAYED, Report

NO_DSN_BEYOND = "2.1.9"
"""The status of a `relayed` report when the next host takes no NOTIFY (RFC 3463: X.1.9)."""
TOLD_BEYOND = "2.1.5"
"""The status of an `expanded` report on an alias of one address, which is told of instead."""

_NOT_XTEXT = r"[^!-*,-<>-~]"
_NOT_UNICODE_XTEXT = r"[^!-*,-<>-\[\]-~]"


def wanted(report: Report, path: ForwardPath, by: str = "") -> bool:
    """Whether the sender wants to hear of a report on `path` (RFC 3461 4.1, 5.2).

    `by` is the parameter BY of the message (RFC 2852): its sender hears of a relay where a trace
    is asked for, and where the next host knows nothing of the time.
    """
    notify = path.parameters.get("NOTIFY")
    words = notify.upper().split(",") if notify else ("FAILURE", "DELAY")
    if report.action == FAILED:
        return "FAILURE" in words
    if report.action == DELAYED:
        return "DELAY" in words
    if report.action == RELAYED and by and "NEVER" not in words:
        return by.upper().endswith("T") or report.status == NO_DSN_BEYOND
    # RFC 3461 5.2.3: a host that takes NOTIFY reports itself; 5.2.7.2: so does an alias' only end.
    if "SUCCESS" not in words or report.status == TOLD_BEYOND:
        return False
    return report.action != RELAYED or report.status == NO_DSN_BEYOND


def sent_on(parameters: Mapping[str, str], address: str, *, alone: bool) -> dict[str, str]:
    """Give the parameters of RCPT for what an alias or a user sends on (RFC 3461 5.2.7).

    `address` is where it came to, which the sender knows; `alone`: it goes to one address only, and
    stays nowhere. Otherwise SUCCESS is answered here, by an `expanded` DSN.
    """
    found = dict(parameters)
    words = found.get("NOTIFY", "").upper().split(",")
    if "SUCCESS" in words and not alone:
        found["NOTIFY"] = ",".join(word for word in words if word != "SUCCESS") or "NEVER"
    found.setdefault("ORCPT", original_recipient(address))
    return found


def original_recipient(address: str) -> str:
    """Write an address as the parameter ORCPT, always in ASCII (RFC 3461 4.2, RFC 6533 3)."""
    if address.isascii():
        return f"rfc822;{xtext(address)}"
    text = re.sub(_NOT_UNICODE_XTEXT, lambda match: f"\\x{{{ord(match[0]):X}}}", address)
    return f"utf-8;{text}"


def xtext(text: str) -> str:
    """Write a text as xtext (RFC 3461 4)."""
    octets = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return re.sub(_NOT_XTEXT, lambda match: f"+{ord(match[0]):02X}", octets)
