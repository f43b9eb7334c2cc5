"""Whom to believe: by what smtpd-accept judges peers that are not known to it (stranger.py).

With `enforce` off nothing is refused, put off or moved: it is found out, written on top of the
message and logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailtools.errors import DnsTrouble
from mailtools.services.reception.client_lists import ClientLists
from mailtools.services.reception.greylist import Greylist
from mailtools.trust.lookup import Answer, Lookup

if TYPE_CHECKING:
    from mailtools.services.local.batv import Batv
    from mailtools.services.reports.dmarc_data import DmarcData
    from mailtools.services.reports.failure_data import FailureData

PATIENCE = 20.0  # seconds for the questions of one check: RFC 7208 4.6.4 wants no less for SPF


@dataclass(frozen=True, slots=True)
class Belief:
    """What is the same for all connections."""

    me: str
    authserv_id: str
    """Who says it, in Authentication-Results."""
    contact: str
    """Whom a postmaster may ask."""
    lookup: Lookup
    scratch: str
    """The folder for messages too large for memory: the queue's tmp/."""
    batv: Batv | None = None
    """Knows DSNs for what was never sent."""
    enforce: bool = False
    """Refuse, put off and quarantine; else only find out, write and log."""
    quarantine: str = "junk"
    """What becomes of DMARC's quarantine: `junk`, `mark` or `reject`."""
    arc_trusted: frozenset[str] = frozenset()
    lists: ClientLists | None = None
    greylist: Greylist | None = None
    reports: DmarcData | None = None
    """Notes what becomes of messages, for the reports of their author domains."""
    failures: FailureData | None = None
    """Notes messages that fail, for reports at once."""
    clock: Callable[[], float] = time.time

    def patient(self) -> Lookup:
        """Give the lookup for one check, which ends in time."""
        return patient(self.lookup)


def patient(lookup: Lookup, seconds: float = PATIENCE) -> Lookup:
    """Give a lookup that asks nothing more once `seconds` are over: DnsTrouble."""
    end = time.monotonic() + seconds

    def ask(name: str, rrtype: str) -> Answer:
        if time.monotonic() > end:
            raise DnsTrouble("DNS took too long")
        return lookup(name, rrtype)

    return ask
