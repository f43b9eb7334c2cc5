"""DNS lists of clients, asked together: their weights are added, and enough of them refuse.

A list that is dead, refuses to answer us, lists everybody or answers what is no listing counts
nothing. Lists are asked side by side, and none is waited for longer than the others need; one that
kept a peer waiting is left alone for a while.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mailtools import log
from mailtools.errors import DnsTrouble, PolicyRefused
from mailtools.trust.dnsbl import DnsblVerdict, DnsList, address_query, check_address, joined
from mailtools.trust.lookup import Lookup

COMPLAIN = 3600.0  # seconds between two log lines about a list
WAIT = 4.0  # seconds that a peer waits for the lists: Postfix' postscreen_dnsbl_timeout is 10
SLOW = 2.0  # seconds within which a list that works has said something
PAUSE_FIRST, PAUSE_MOST = 60.0, 300.0  # seconds that a slow one is not asked; they double
_REASON_MOST = 160  # characters of a list's own words in a reply


class ClientLists:
    """The lists of a site."""

    def __init__(
        self, lists: Sequence[DnsList], threshold: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the lists, and the score from which a client is refused."""
        self._zones = {
            zone: [each for each in lists if each.zone == zone]
            for zone in dict.fromkeys(each.zone for each in lists)
        }
        self._threshold, self._clock = threshold, clock
        self._complained: dict[str, float] = {}
        self._asleep: dict[str, tuple[float, float]] = {}  # until when, and the next pause

    def ask(self, address: str, lookup: Lookup) -> DnsblVerdict:
        """Ask all lists about an IP address; trouble is logged."""
        now = self._clock()
        asked = {
            zone: partial(check_address, address, lists, lookup)
            for zone, lists in self._zones.items()
            if now >= self._asleep.get(zone, (now, 0.0))[0]
        }
        found = side_by_side(asked, WAIT)
        for zone in asked:
            verdict, seconds = found.get(zone, (None, WAIT))
            if verdict is None:
                self._complain(zone, f"{zone}: no answer in {WAIT:g} seconds")
            for problem in verdict.problems if verdict else ():
                self._complain(zone, problem)
            if seconds >= SLOW and (verdict is None or verdict.problems):
                pause = self._asleep.get(zone, (0.0, PAUSE_FIRST))[1]
                self._asleep[zone] = self._clock() + pause, min(pause * 2, PAUSE_MOST)
            else:
                self._asleep.pop(zone, None)
        return joined([verdict for verdict, _ in found.values()])

    def _complain(self, zone: str, problem: str) -> None:
        now = self._clock()
        if now - self._complained.get(zone, -COMPLAIN) >= COMPLAIN:
            self._complained[zone] = now
            log.event("trouble", list=zone, detail=problem)

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


def side_by_side(
    asked: Mapping[str, Callable[[], DnsblVerdict]], wait: float
) -> dict[str, tuple[DnsblVerdict, float]]:
    """Ask at once, and give what is said within `wait` seconds, and after how many.

    What says nothing in time goes on in a thread that nobody waits for.
    """
    found: dict[str, tuple[DnsblVerdict, float]] = {}
    faults: list[BaseException] = []
    start = time.monotonic()

    def one(zone: str, ask: Callable[[], DnsblVerdict]) -> None:
        try:
            verdict = ask()
            found[zone] = verdict, time.monotonic() - start
        except BaseException as fault:  # a mistake of ours is for who waits, not for a thread
            faults.append(fault)

    threads = []
    for item in asked.items():
        thread = threading.Thread(target=one, args=item, daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads: the list counts nothing
            thread.start()
            threads.append(thread)
    for thread in threads:
        thread.join(max(0.0, start + wait - time.monotonic()))
    if faults:
        raise faults[0]
    return {zone: found[zone] for zone in asked if zone in found}
