"""What stands in the way of a delivery, in words: its class, whose trouble it is, what helps.

A report has a status and a text: ours (`DNS lookup of …`), or what a peer said (`… said 451 …`).
Peers say the same things in many words, so the classes of their refusals go by words first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mailtools.mail.report import DELAYED, FAILED, Report

OURS, THEIRS, BETWEEN, SENDERS = "ours", "theirs", "on the way", "the sender's"

_wrapped = re.compile(
    r"(?:Not tried, since \S+ did not answer|Given up, it was tried too long): (.*)\Z", re.DOTALL
)
_spoken = re.compile(r"\S said [2-5][0-9]{2}\b")


class Cause(NamedTuple):
    """Why a delivery was put off or refused."""

    kind: str
    """One word: dns, tcp, tls, greylist, reputation, quota …"""
    whose: str
    """Who can mend it: `ours`, `theirs`, `on the way`, `the sender's`."""
    says: str
    """One sentence."""
    helps: tuple[str, ...] = ()
    """Command lines to type, the first one first."""


class Rule(NamedTuple):
    """A class: which statuses (without their first digit) and which words of the text mean it."""

    cause: Cause
    statuses: tuple[str, ...] = ()
    words: str = ""
    spoken: bool | None = None
    """Whether it is about what a peer said; None: either."""

    def fits(self, status: str, text: str, spoken: bool) -> bool:
        if self.spoken is not None and self.spoken is not spoken:
            return False
        if status.partition(".")[2] in self.statuses:
            return True
        return bool(self.words) and re.search(self.words, text, re.IGNORECASE) is not None


_ROUTE = "mail-route {address}"
_DIAL = "mail-route --dial {address}"
_RETRY = "queue-edit retry {id}"
_AGAIN = "queue-run --domain {domain}"

_RULES = (
    Rule(
        Cause("suppressed", OURS, "An earlier message to it was refused: no such mailbox there.",
              ("queue-edit unsuppress {address}",)),
        words=r"\ANot tried, since this address was refused as unknown",
    ),
    Rule(
        Cause("expired", SENDERS, "The postmaster, or its sender's deadline, gave it up.",
              ("queue-edit replay {id}",)),
        ("4.7",), spoken=False,
    ),
    Rule(
        Cause("greylist", THEIRS,
              "Their host takes mail from strangers at a second try, minutes later.", (_RETRY,)),
        words=r"gr[ae]y-? ?list", spoken=True,
    ),
    Rule(
        Cause("authentication", OURS,
              "They miss proof of who we are: reverse DNS, SPF, DKIM or DMARC.", ("mail-check",)),
        ("7.20", "7.21", "7.22", "7.23", "7.24", "7.25", "7.26", "7.27"),
        r"\b(?:spf|dkim|dmarc|ptr|rdns|reverse.dns|reverse (?:host)?name|unauthenticated)\b",
        spoken=True,
    ),
    Rule(
        Cause("reputation", OURS,
              "They distrust this host's address or the message; their words say whom to ask.",
              ("mail-check",)),
        words=r"spamhaus|(?:block|black|deny).?list|\brbl\b|dnsbl|reputation|\bspam|unsolicited"
        r"|\blisted\b|\bbanned\b|suspicious|complaint",
        spoken=True,
    ),
    Rule(
        Cause("rate", THEIRS, "They limit how fast we may send; it is tried again more slowly"
              " (control file destination-limits)."),
        ("7.28",), r"rate.?limit|too (?:many|fast|much|frequent)|throttl|slow down|\bquickly\b",
        spoken=True,
    ),
    Rule(
        Cause("quota", THEIRS, "The mailbox over there is full; only its user can make room."),
        ("2.2",), r"quota|mailbox.{0,20}\bfull|insufficient (?:system )?storage|out of space",
        spoken=True,
    ),
    Rule(Cause("quota", OURS, "The mailbox here is full.", (_ROUTE,)), ("2.2",), spoken=False),
    Rule(
        Cause("space", OURS, "The disk here is full.", ("mail-check",)), ("3.1",), spoken=False
    ),
    Rule(
        Cause("tls", BETWEEN, "They had TLS before, and have none now (tls-memory).",
              (_DIAL, _RETRY)),
        words=r"; it was encrypted on \d{4}-",
    ),
    Rule(
        Cause("tls", BETWEEN, "The TLS that tls-policy, DANE or MTA-STS asks for was not reached.",
              (_DIAL, _RETRY)),
        ("7.4", "7.5", "7.10", "7.30"), r"\btls\b|starttls|certificate|\bdane\b|mta-sts",
    ),
    Rule(
        Cause("size", SENDERS, "The message is too big for them."),
        ("3.4", "2.3"), r"(?:message|size).{0,30}(?:too (?:big|large)|exceed)",
    ),
    Rule(
        Cause("address", SENDERS, "There is no such mailbox over there."),
        ("1.0", "1.1", "1.3", "1.6", "2.1"),
        r"(?:user|recipient|mailbox|address|account)\b.{0,40}"
        r"(?:unknown|not exist|not found|unavailable|disabled|invalid|rejected)"
        r"|(?:no such|unknown|invalid) (?:user|recipient|mailbox|address|account)",
        spoken=True,
    ),
    Rule(
        Cause("address", SENDERS, "There is no such mailbox here.", (_ROUTE,)),
        ("1.1", "1.3", "1.6", "2.1"), spoken=False,
    ),
    Rule(Cause("domain", SENDERS, "The domain takes no mail.", (_ROUTE,)),
          ("1.2", "1.10"), spoken=False),
    Rule(Cause("dns", THEIRS, "DNS gave no answer that can be used.", (_ROUTE, _RETRY)),
          ("4.3", "4.4"), spoken=False),
    Rule(Cause("tcp", THEIRS, "No host of theirs can be reached.", (_DIAL, _AGAIN)),
          ("4.1",), spoken=False),
    Rule(Cause("connection", BETWEEN, "The connection broke, or the other side fell silent.",
                (_DIAL, _RETRY)),
          ("4.2",), spoken=False),
    Rule(Cause("loop", OURS, "The mail came, or would come, back to this host.",
                (_ROUTE, "mail-check")),
          ("4.6",), spoken=False),
    Rule(Cause("login", OURS, "Our login at their host failed: see route-credentials.",
                ("mail-check", _RETRY)),
          ("7.0", "7.8"), spoken=False),
    Rule(Cause("login", OURS, "Our login at their host failed: see route-credentials.",
                ("mail-check", _RETRY)),
          ("7.8",), r"\(to AUTH\)", spoken=True),
    Rule(Cause("configuration", OURS, "A setting here is wrong.", ("mail-check", _RETRY)),
          ("3.5",), spoken=False),
    Rule(
        Cause("content", SENDERS, "They do not take this content."),
        ("6.0", "6.1", "6.2", "6.3", "6.6", "6.7", "7.1"), spoken=True,
    ),
)  # fmt: skip
_TEMPORARY = Cause("busy", THEIRS, "They put it off; it is tried again.", (_RETRY,))
_PERMANENT = Cause("refused", THEIRS, "They refuse it, for the reason they give.")
_HERE = Cause("here", OURS, "Something failed here; the log says more.", ("mail-check", _RETRY))


def cause_of(report: Report) -> Cause | None:
    """Give the class of a report; None for one that is well."""
    if report.action not in (DELAYED, FAILED):
        return None
    text = report.text
    while wrapped := _wrapped.match(text):
        text = wrapped[1]
    spoken = _spoken.search(text) is not None
    found = first_of(_RULES, report.status, text, spoken=spoken)
    if found:
        return found
    if not spoken:
        return _HERE
    return _TEMPORARY if report.action == DELAYED or report.status[:1] == "4" else _PERMANENT


def first_of(rules: Iterable[Rule], status: str, text: str, *, spoken: bool) -> Cause | None:
    """Give the cause of the first rule that fits a status and a text; None where none does."""
    return next((rule.cause for rule in rules if rule.fits(status, text, spoken)), None)


def helps(cause: Cause, id_: str, address: str) -> list[str]:
    """Give the command lines that help with an entry and one of its forward-paths."""
    words = {"id": id_, "address": quoted(address), "domain": address.rpartition("@")[2]}
    return [line.format(**words) for line in cause.helps]


def quoted(word: str) -> str:
    """Write a word for a shell's command line."""
    import shlex

    return shlex.quote(word)
