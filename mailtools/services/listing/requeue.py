"""Trying now what waits: queue-edit retry, and sendmail -q with its choice.

Whoever asks knows why: what was noted of destinations that did not answer is forgotten, so that
the attempt is made.
"""

from mailtools.errors import BadEntry, NoSuchEntry
from mailtools.services.access.become import acting_for
from mailtools.services.queue.reroute import destination_of
from mailtools.store.destinations import Destinations
from mailtools.store.entry import Entry, Place
from mailtools.store.queue import Queue


def make_due(path: str, letter: str = "", needle: str = "") -> bool:
    """Make waiting entries due: all, or those with `needle` in what `letter` names.

    `I` is the ID, `R` a pending forward-path, `S` the reverse-path, compared without case. Tell
    whether a queue run was there to hear of it. Held entries stay held.
    """
    queue, destinations = Queue(path, many=True), Destinations(f"{path}/dest")
    with acting_for(path):  # for a while only: a queue run may follow, which needs root
        for place in list(queue.waiting()):
            if not needle or _has(queue, place, letter, needle.lower()):
                try_now(queue, place, destinations)
        return queue.pull()


def try_now(queue: Queue, place: Place, destinations: Destinations) -> None:
    """Make an entry due now, and its destinations worth an attempt."""
    try:
        entry = queue.open(place)
        for path in entry.pending:
            destinations.answered(destination_of(entry, path.address))
    except BadEntry:
        pass  # the queue run sets it aside
    except NoSuchEntry:
        return  # it went out meanwhile
    try:
        queue.retry(place.id)
    except NoSuchEntry:
        pass


def _has(queue: Queue, place: Place, letter: str, needle: str) -> bool:
    if letter == "I":
        return needle in place.id.lower()
    try:
        entry = queue.open(place)
    except (BadEntry, NoSuchEntry):
        return False
    return any(needle in text.lower() for text in _texts(entry, letter))


def _texts(entry: Entry, letter: str) -> list[str]:
    if letter == "S":
        return [entry.envelope.reverse_path]
    return [path.address for path in entry.pending]
