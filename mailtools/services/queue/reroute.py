"""Which agent takes a path of an entry: the usual one, or relay-send by the way an operator gave.

That way stands in the entry's journal, as a route and not as a command: who owns the queue must not
choose what a queue run that is root starts.
"""

import shlex

from mailtools.errors import Misconfigured
from mailtools.mail.envelope import REJECTED
from mailtools.services.queue.transports import LOCAL, RELAY, Transports
from mailtools.services.relay import by_domain
from mailtools.store.entry import Entry


def agent_of(entry: Entry, transports: Transports, address: str) -> tuple[str, str]:
    """Give the agent's command line, and the destination, for a path of an entry."""
    if REJECTED in entry.envelope.parameters:
        return LOCAL, LOCAL  # another agent would not know what that means
    way = entry.journal.way
    if way and is_way(way):
        return f"{RELAY} {shlex.quote(f'--via={way}')}", way
    return transports.find(address)


def destination_of(entry: Entry, address: str) -> str:
    """Name the destination of a path that goes elsewhere, as it stands in dest/."""
    way = entry.journal.way
    if way:
        return way
    return by_domain.sought(address.rpartition("@")[2])


def is_way(text: str) -> bool:
    """Whether a text names where relay-send can go, as `routes` has it."""
    from mailtools.services.relay.route import parse_route  # rare: only for what was rerouted

    try:
        parse_route(text)
    except Misconfigured:
        return False
    return text.isprintable() and " " not in text
