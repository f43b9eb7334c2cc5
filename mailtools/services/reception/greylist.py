"""Greylisting (RFC 6647): who is not known yet is asked to come again; most senders of spam do not.

What counts is the client, the reverse-path and the forward-path. The client is the domain that SPF
proved, so that a pool of hosts is one client, or else its network (/24, /64). Who came back, and
whoever sends a message that passes DMARC, is known from then on and never asked again.
"""

from __future__ import annotations

import ipaddress
import math

from mailtools import log
from mailtools.errors import Failure, PolicyRefused
from mailtools.store.greylist import Marks

RETURN_MOST = 2 * 86400.0  # seconds within which a sender must come again
KNOWN_FOR = 35 * 86400.0  # seconds: a monthly newsletter is still known
REFRESH = 86400.0  # seconds between two notes that a client is still there


def client_name(address: str, spf_domain: str = "") -> str:
    """Name who is there: the domain SPF proved, else the network of its IP address."""
    if spf_domain:
        return spf_domain.lower().rstrip(".")
    ip = ipaddress.ip_address(address)
    return str(ipaddress.ip_network(f"{ip}/{24 if ip.version == 4 else 64}", strict=False))


class Greylist:
    """The greylist of a site; trouble with its files lets mail pass."""

    def __init__(self, folder: str, delay: float, *, frozen: bool = False) -> None:
        """Take where it remembers, how long a sender waits in seconds, and if nothing is noted."""
        self._delay = delay
        self._first = Marks(f"{folder}/first", RETURN_MOST, frozen=frozen)
        self._known = Marks(f"{folder}/known", KNOWN_FOR, frozen=frozen)

    def check(self, client: str, reverse_path: str, forward_path: str, now: float) -> None:
        """Raise PolicyRefused (451) unless this client may come in at `now`."""
        try:
            wait = self._wait(client, f"{client} <{reverse_path}> <{forward_path}>".lower(), now)
        except Failure as failure:
            if failure.detail:
                log.event("trouble", client=client, detail=failure.detail)
            return
        if wait > 0:
            text = f"Greylisted: we do not know you yet, try again in {math.ceil(wait)} seconds"
            raise PolicyRefused(text, status="4.7.1", reply=451)

    def _wait(self, client: str, triplet: str, now: float) -> float:
        if self._known.find(client, now) is not None:
            return 0
        first = self._first.find(triplet, now)
        if first is None:
            self._first.put(triplet, now)
            return self._delay
        if now - first >= self._delay:
            self._known.put(client, now)
            return 0
        return self._delay - (now - first)

    def vouch(self, client: str, now: float) -> None:
        """Note that a client sent a message that passed DMARC."""
        try:
            known = self._known.find(client, now)
            if known is None or now - known > REFRESH:
                self._known.put(client, now)
        except Failure as failure:
            log.event("trouble", client=client, detail=failure.detail)
