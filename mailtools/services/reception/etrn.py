"""ETRN (RFC 1985): what waits for a domain is made due, and the queue run that waits is woken.

Who may relay may ask, for any domain whose mail is not delivered here, and anybody for those of
`relay-domains`; once a minute for each, since it costs a look at all that waits.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import PolicyRefused
from mailtools.services.queue.selection import Selection, hand_over
from mailtools.store.greylist import Marks

if TYPE_CHECKING:
    from mailtools.store.queue import Queue

PAUSE = 60.0  # seconds between two looks for a domain


def turn(queue: Queue, node: str, client: str, *, subdomains: bool, mark: str) -> int:
    """Make due what goes to a domain, with its subdomains; give how many messages.

    Raises PolicyRefused (458) where somebody asked a moment ago for what `mark` names.
    """
    asked, now = Marks(f"{os.path.dirname(queue.path)}/etrn", PAUSE), time.time()
    if asked.find(mark, now) is not None:
        text = f"Unable to queue messages for node {node}: once a minute is enough"
        raise PolicyRefused(text, status="4.7.0", reply=458)
    asked.put(mark, now)
    domains = frozenset((node, f".{node}") if subdomains else (node,))
    found = hand_over(queue, Selection(domains=domains))
    queue.pull()
    log.event("turned", domain=f"@{node}" if subdomains else node, entries=found, client=client)
    return found
