"""Trying now what waits: sendmail -q, with its choice by ID, recipient or sender."""

from mailtools.errors import BadEntry, NoSuchEntry
from mailtools.services.people.drop import become_owner
from mailtools.store.queue import Entry, Place, Queue


def make_due(path: str, letter: str = "", needle: str = "") -> bool:
    """Make waiting entries due: all, or those with `needle` in what `letter` names.

    `I` is the ID, `R` a pending forward-path, `S` the reverse-path, compared without case. Tell
    whether a queue run was there to hear of it. Held entries stay held.
    """
    become_owner(path)
    queue = Queue(path)
    for place in list(queue.waiting()):
        if not needle or _has(queue, place, letter, needle.lower()):
            try:
                queue.retry(place.id)
            except NoSuchEntry:
                pass  # it went out meanwhile
    return queue.pull()


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
