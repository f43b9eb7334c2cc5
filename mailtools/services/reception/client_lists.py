"""DNS lists of clients, asked together: their weights are added, and enough of them refuse.

A list that is dead, refuses to answer us or answers what is no listing counts nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from mailtools import log
from mailtools.errors import DnsTrouble, PolicyRefused
from mailtools.trust.dnsbl import DnsblVerdict, DnsList, address_query, check_address
from mailtools.trust.lookup import Lookup

COMPLAIN = 3600.0  # seconds between two log lines about a list
_REASON_MOST = 160  # characters of a list's own words in a reply


class ClientLists:
    """The lists of a site."""

    def __init__(self, lists: Sequence[DnsList], threshold: int) -> None:
        """Take the lists, and the score from which a client is refused."""
        self._lists = lists
        self._threshold = threshold
        self._complained: dict[str, float] = {}

    def ask(self, address: str, lookup: Lookup) -> DnsblVerdict:
        """Ask all lists about an IP address; trouble is logged."""
        verdict = check_address(address, self._lists, lookup)
        for problem in verdict.problems:
            zone, now = problem.split()[0].rstrip(":"), time.monotonic()
            if now - self._complained.get(zone, -COMPLAIN) >= COMPLAIN:
                self._complained[zone] = now
                log.event("trouble", list=zone, detail=problem)
        return verdict

    def refuses(self, verdict: DnsblVerdict) -> bool:
        """Whether the score is enough to refuse a client."""
        return verdict.score >= self._threshold

    def refusal(
        self, address: str, verdict: DnsblVerdict, contact: str, lookup: Lookup
    ) -> PolicyRefused:
        """Say why, in words its postmaster can use: the list, what it says, whom to ask."""
        worst = max(verdict.hits, key=lambda hit: hit.list.weight).list.zone
        try:
            said = next(iter(lookup(address_query(address, worst), "TXT").records), "")
        except DnsTrouble:
            said = ""
        words = "".join(letter if " " <= letter <= "~" else "?" for letter in said[:_REASON_MOST])
        text = f"{address} is listed by {worst}{f': {words}' if words else ''}; ask {contact}"
        return PolicyRefused(text)
