"""What a cause is, and the rules that find one: its class, whose trouble it is, what helps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

OURS, THEIRS, BETWEEN, SENDERS = "ours", "theirs", "on the way", "the sender's"

ROUTE = "mail-route {address}"
DIAL = "mail-route --dial {address}"
RETRY = "queue-edit retry {id}"
AGAIN = "queue-run --domain {domain}"
CHECK = "mail-check"


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

    def fits(self, status: str, text: str) -> bool:
        if status.partition(".")[2] in self.statuses:
            return True
        return bool(self.words) and re.search(self.words, text, re.IGNORECASE) is not None


def first_of(rules: Iterable[Rule], status: str, text: str) -> Cause | None:
    """Give the cause of the first rule that fits a status and a text; None where none does."""
    return next((rule.cause for rule in rules if rule.fits(status, text)), None)


def helps(cause: Cause, id_: str, address: str) -> list[str]:
    """Give the command lines that help with an entry and one of its forward-paths."""
    words = {"id": id_, "address": quoted(address), "domain": address.rpartition("@")[2]}
    return [line.format(**words) for line in cause.helps]


def quoted(word: str) -> str:
    """Write a word for a shell's command line."""
    import shlex

    return shlex.quote(word)
