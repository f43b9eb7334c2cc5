"""Whether the milters of a site are there: without them its mail is put off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mailtools.services.check.finding import Finding, fault, warning
from mailtools.services.reception.milter.link import Link, Milter

_HARMLESS = ("accept",)  # what costs no mail when a milter does not answer


def milters(rows: Iterable[Milter]) -> Iterator[Finding]:
    """Connect to each, and agree on the protocol; no more is said."""
    for milter in rows:
        troubles: list[str] = []

        def note(word: str, troubles: list[str] = troubles, **facts: str) -> None:
            troubles.append(facts["detail"])

        if not Link(milter, note).probe():
            find = warning if milter.default in _HARMLESS else fault
            mend = "start it, and let the owner of the queue connect to it"
            yield find(milter.name, f"this milter does not answer: {troubles[0]}", mend)
