"""What stands in the way of a delivery, from the last report on it.

A report has a status and a text: ours (`DNS lookup of …`), or what a peer said (`… said 451 …`).
"""

from __future__ import annotations

import re

from mailtools.mail.report import DELAYED, FAILED, Report
from mailtools.services.why.cause import (
    AGAIN,
    BETWEEN,
    CHECK,
    DIAL,
    OURS,
    RETRY,
    ROUTE,
    SENDERS,
    THEIRS,
    Cause,
    Rule,
    first_of,
)
from mailtools.services.why.peer_cause import cause_of_reply

_wrapped = re.compile(
    r"(?:Not tried, since \S+ did not answer|Given up, it was tried too long): (.*)\Z", re.DOTALL
)
_spoken = re.compile(r"\S said [2-5][0-9]{2}\b")

# Whether or not a peer said something with it.
_EARLIER = (
    Rule(
        Cause("suppressed", OURS, "An earlier message to it was refused: no such mailbox there.",
              ("queue-edit unsuppress {address}",)),
        words=r"\ANot tried, since this address was refused as unknown",
    ),
    Rule(
        Cause("tls", BETWEEN, "They had TLS before, and have none now (tls-memory).",
              (DIAL, RETRY)),
        words=r"; it was encrypted on \d{4}-",
    ),
)  # fmt: skip
_RULES = (
    Rule(
        Cause("expired", SENDERS, "The postmaster, or its sender's deadline, gave it up."),
        ("4.7",),
    ),
    Rule(Cause("quota", OURS, "The mailbox here is full.", (ROUTE,)), ("2.2",)),
    Rule(Cause("space", OURS, "The disk here is full.", (CHECK,)), ("3.1",)),
    Rule(
        Cause("authentication", SENDERS, "It fails the DMARC policy of its author's domain, which"
              " asks for refusal, so it is not sent on."),
        ("7.26",),
    ),
    Rule(
        Cause("tls", BETWEEN, "The TLS that tls-policy, DANE or MTA-STS asks for was not reached.",
              (DIAL, RETRY)),
        ("7.4", "7.5", "7.10", "7.30"), r"\btls\b|starttls|certificate|\bdane\b|mta-sts",
    ),
    Rule(Cause("size", SENDERS, "The message is too big for them."), ("3.4", "2.3")),
    Rule(
        Cause("utf8", THEIRS, "Their host takes no addresses or header beyond ASCII (SMTPUTF8).",
              (DIAL,)),
        ("6.7",),
    ),
    Rule(
        Cause("features", THEIRS, "Their host lacks an extension that the message needs.", (DIAL,)),
        ("3.3", "6.1", "6.3"),
    ),
    Rule(
        Cause("address", SENDERS, "There is no such mailbox here.", (ROUTE,)),
        ("1.1", "1.3", "1.6", "2.1"),
    ),
    Rule(Cause("domain", SENDERS, "The domain takes no mail.", (ROUTE,)), ("1.2", "1.10")),
    Rule(Cause("dns", THEIRS, "DNS gave no answer that can be used.", (ROUTE, RETRY)),
         ("4.3", "4.4")),
    Rule(Cause("tcp", THEIRS, "No host of theirs can be reached.", (DIAL, AGAIN)),
         ("4.0", "4.1")),
    Rule(Cause("connection", BETWEEN, "The connection broke, or the other side fell silent.",
               (DIAL, RETRY)),
         ("4.2", "5.0")),
    Rule(Cause("loop", OURS, "The mail came, or would come, back to this host.", (ROUTE, CHECK)),
         ("4.6",)),
    Rule(Cause("login", OURS, "Our login at their host failed: see route-credentials.",
               (CHECK, RETRY)),
         ("7.0", "7.8")),
    Rule(Cause("configuration", OURS, "A setting here is wrong.", (CHECK, RETRY)), ("3.5",)),
    Rule(Cause("policy", OURS, "A rule here refuses it.", (ROUTE,)), ("7.1", "7.2")),
)  # fmt: skip
_HERE = Cause("here", OURS, "Something failed here; the log says more.", (CHECK, RETRY))


def cause_of(report: Report) -> Cause | None:
    """Give the class of a report; None for one that is well."""
    if report.action not in (DELAYED, FAILED):
        return None
    status, text = report.status, report.text
    while wrapped := _wrapped.match(text):
        text = wrapped[1]
    earlier = first_of(_EARLIER, status, text)
    if earlier:
        return earlier
    if _spoken.search(text):
        return cause_of_reply(status, text, delayed=report.action == DELAYED)
    return first_of(_RULES, status, text) or _HERE
