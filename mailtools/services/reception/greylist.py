"""Greylisting (RFC 6647): who is not known yet is asked to come again; most senders of spam do not.

What counts is the client, the reverse-path and the forward-path. The client is the domain that SPF
proved, so that a pool of hosts is one client, or else its network (/24, /64). Nobody waits who

- is in `greylist-exempt`, by network or by a domain that SPF, DKIM or DMARC proves;
- is in good standing: his mail was good on several days, and next to none of it junk or refused;
- was written to by somebody here;
- came again before, or sent a message that passed DMARC, as long as he is not in bad standing.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from mailtools import log
from mailtools.errors import Failure, PolicyRefused
from mailtools.services.access.networks import NOBODY, Networks
from mailtools.store.greylist import Marks
from mailtools.store.standing import Note, Standings
from mailtools.trust.ip import read_ip

if TYPE_CHECKING:
    from mailtools.protocol.smtp.session import Sink

RETURN_MOST = 2 * 86400.0  # seconds within which a sender must come again
KNOWN_FOR = 35 * 86400.0  # seconds: a monthly newsletter is still known
REFRESH = 86400.0  # seconds between two notes that a client is still there
STANDING_FOR = 60 * 86400.0  # seconds that a note about a sender counts
WROTE_FOR = 90 * 86400.0  # seconds within which an answer is expected
GOOD_LEAST = 3  # good messages that make a standing
DAYS_LEAST = 2  # days they came on
BAD_MOST = 10  # one in so many may be bad
BAD_LEAST = 2  # bad ones that make a bad standing, where at least half of all are
WRITTEN_MOST = 100  # recipients of a message that are noted: more is a list
GOOD, BAD = "good", "bad"


class Exempt(NamedTuple):
    """Who never waits: networks, and domains that are proved."""

    networks: Networks = NOBODY
    domains: frozenset[str] = frozenset()


class Sender(NamedTuple):
    """Who is there, as far as it is known before the message."""

    address: str
    client: str
    """As `client_name` gives it."""
    reverse_path: str
    forged: bool = False
    """SPF says that the reverse-path is not his."""


def client_name(address: str, spf_domain: str = "") -> str:
    """Name who is there: the domain SPF proved, else the network of its IP address."""
    if spf_domain:
        return spf_domain.lower().rstrip(".")
    ip = read_ip(address)
    return str(ipaddress.ip_network(f"{ip}/{24 if ip.version == 4 else 64}", strict=False))


class Greylist:
    """The greylist of a site; trouble with its files lets mail pass."""

    def __init__(
        self, folder: str, delay: float, *, frozen: bool = False, exempt: Exempt | None = None
    ) -> None:
        """Take where it remembers, how long a sender waits in seconds, and if nothing is noted."""
        self._delay = delay
        self._exempt = exempt or Exempt()
        self._first = Marks(f"{folder}/first", RETURN_MOST, frozen=frozen)
        self._known = Marks(f"{folder}/known", KNOWN_FOR, frozen=frozen)
        self._wrote = Marks(f"{folder}/wrote", WROTE_FOR, frozen=frozen)
        self._standings = Standings(f"{folder}/standing", STANDING_FOR, frozen=frozen)

    def knows(self, sender: Sender, now: float) -> bool:
        """Whether a sender need not wait, by what is known before the message."""
        exempt = self._exempt
        if sender.client in exempt.domains or sender.address in exempt.networks:
            return True
        try:
            standing = standing_of(self._standings.notes(sender.client, now))
            if standing:
                return standing == GOOD
            if not sender.forged and self._wrote.find(sender.reverse_path.lower(), now) is not None:
                return True
            return self._known.find(sender.client, now) is not None
        except Failure as failure:
            _complain(sender.client, failure)
            return True

    def trusts(self, domains: Iterable[str], now: float) -> bool:
        """Whether one of the domains that a message proves is exempt or in good standing."""
        try:
            return any(
                domain in self._exempt.domains
                or standing_of(self._standings.notes(domain, now)) == GOOD
                for domain in domains
            )
        except Failure as failure:
            _complain("", failure)
            return True

    def check(self, client: str, reverse_path: str, forward_path: str, now: float) -> None:
        """Raise PolicyRefused (451) unless who is not known has waited."""
        try:
            wait = self._wait(client, f"{client} <{reverse_path}> <{forward_path}>".lower(), now)
        except Failure as failure:
            _complain(client, failure)
            return
        if wait > 0:
            text = f"Greylisted: we do not know you yet, try again in {math.ceil(wait)} seconds"
            raise PolicyRefused(text, status="4.7.1", reply=451)

    def _wait(self, client: str, triplet: str, now: float) -> float:
        first = self._first.find(triplet, now)
        if first is None:
            self._first.put(triplet, now)
            return self._delay
        if now - first >= self._delay:
            self._known.put(client, now)
            return 0
        return self._delay - (now - first)

    # -- what is remembered -----------------------------------------------------------------------

    def vouch(self, client: str, now: float) -> None:
        """Note that a client sent a message that passed DMARC."""
        _refresh(self._known, client, now)

    def note(self, names: Iterable[str], word: str, now: float) -> None:
        """Note what became of a message, for each name of its sender: `GOOD` or `BAD`."""
        try:
            for name in dict.fromkeys(names):
                self._standings.add(name, word, now)
        except Failure as failure:
            _complain("", failure)


class Correspondents:
    """To whom users here write: an answer to them never waits."""

    def __init__(self, folder: str) -> None:
        """Take the folder of the greylist."""
        self._wrote = Marks(f"{folder}/wrote", WROTE_FOR)

    def note(self, forward_paths: Iterable[str], now: float) -> None:
        """Note the recipients of a message of a user's."""
        for _, path in zip(range(WRITTEN_MOST), forward_paths, strict=False):
            _refresh(self._wrote, path.lower(), now)

    def sink(self, sink: Sink, forward_paths: Iterable[str]) -> NotedSink:
        """Give where a user's message goes, to be noted when it is taken."""
        return NotedSink(self, sink, forward_paths)


class NotedSink:
    """The sink of one message of a user's (protocol/smtp/session.py)."""

    def __init__(self, notes: Correspondents, sink: Sink, forward_paths: Iterable[str]) -> None:
        """Take where to note, where the message goes, and to whom."""
        self._notes, self._sink, self._paths = notes, sink, forward_paths
        self.write, self.abort = sink.write, sink.abort

    def commit(self) -> str:
        """Take the message, then note the recipients."""
        answer = self._sink.commit()
        self._notes.note(self._paths, time.time())
        return answer


def standing_of(notes: list[Note]) -> str:
    """Say the standing of a sender: `GOOD`, `BAD` or "" where too little is known."""
    days = [note.day for note in notes if note.word == GOOD]
    bad = sum(note.word == BAD for note in notes)
    if bad >= BAD_LEAST and bad >= len(days):
        return BAD
    if len(days) >= GOOD_LEAST and len(set(days)) >= DAYS_LEAST and bad * BAD_MOST <= len(days):
        return GOOD
    return ""


def _refresh(marks: Marks, text: str, now: float) -> None:
    try:
        known = marks.find(text, now)
        if known is None or now - known > REFRESH:
            marks.put(text, now)
    except Failure as failure:
        _complain(text, failure)


def _complain(client: str, failure: Failure) -> None:
    log.event("trouble", client=client or None, detail=failure.detail or failure.text)
