"""What an operator asks to be tried now: entries by ID, or all that goes to some domains."""

from collections.abc import Iterator
from typing import NamedTuple

from mailtools.errors import BadEntry, NoSuchEntry
from mailtools.services.queue.holding import HoldRules
from mailtools.services.queue.transports import Transports
from mailtools.services.queue.worker import Assignment
from mailtools.store.destinations import Destinations
from mailtools.store.queue import Place, Queue, State


class Selection(NamedTuple):
    """IDs and domains (lower case); an empty set of domains means all."""

    ids: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()

    def places(self, queue: Queue) -> Iterator[Place]:
        """Yield the entries; raise NoSuchEntry for an ID that is not there or is set aside."""
        if not self.ids:
            yield from queue.new()
            yield from queue.waiting()
        for id_ in sorted(self.ids):
            place = queue.find(id_)
            if place is None or place.state is State.BAD:
                raise NoSuchEntry(f"No such entry in the queue: {id_}")
            yield place

    def narrow(self, assignment: Assignment) -> bool:
        """Leave an assignment only the paths selected; tell whether there are any."""
        if self.domains:
            assignment.forward_paths = [
                path
                for path in assignment.forward_paths
                if path.rpartition("@")[2].lower() in self.domains
            ]
            assignment.missing = set(assignment.forward_paths)
        return bool(assignment.forward_paths)


def hand_over(queue: Queue, selection: Selection) -> None:
    """Make what was selected due for the queue run that is there."""
    silent = Destinations(f"{queue.path}/dest")
    for domain in selection.domains:
        silent.answered(domain)
    for place in list(selection.places(queue)):
        if not selection.domains or _goes_to(queue, place, selection):
            queue.retry(place.id)


def preview(
    queue: Queue,
    transports: Transports,
    selection: Selection | None,
    now: float,
    rules: HoldRules,
) -> Iterator[str]:
    """Say what a pass would do: ID, agent, destination, forward-paths, TAB between."""
    for place in selection.places(queue) if selection else queue.due(now):
        try:
            entry = queue.open(place)
        except BadEntry as failure:
            yield f"{place.id}\tbad\t\t{failure.text}"
            continue
        except NoSuchEntry:
            continue
        rule = "" if selection and selection.ids else rules.catch(entry)
        if rule:
            yield f"{place.id}\thold\t\t{rule}"
            continue
        for path in entry.pending:
            agent, destination = transports.find(path.address)
            domain = path.address.rpartition("@")[2].lower()
            if not selection or not selection.domains or domain in selection.domains:
                yield f"{place.id}\t{agent}\t{destination}\t{path.address}"


def _goes_to(queue: Queue, place: Place, selection: Selection) -> bool:
    try:
        pending = queue.open(place).pending
    except (BadEntry, NoSuchEntry):
        return False
    return any(p.address.rpartition("@")[2].lower() in selection.domains for p in pending)
