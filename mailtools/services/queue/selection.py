"""What an operator asks to be tried now: entries by ID, or all that goes to some domains."""

from collections.abc import Iterator
from typing import NamedTuple

from mailtools.errors import BadAddress, BadEntry, NoSuchEntry
from mailtools.mail.address import ascii_domain
from mailtools.services.queue.holding import HoldRules
from mailtools.services.queue.reroute import agent_of
from mailtools.services.queue.transports import Transports
from mailtools.services.queue.worker import Assignment
from mailtools.store.destinations import Destinations
from mailtools.store.queue import Place, Queue, State


class Selection(NamedTuple):
    """IDs and domains, as `ascii_domain` writes them; an empty set of domains means all.

    `.example.org` stands for the subdomains of example.org.
    """

    ids: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()

    def wants(self, forward_path: str) -> bool:
        """Whether a forward-path goes to one of the domains."""
        if not self.domains:
            return True
        domain = forward_path.rpartition("@")[2]
        try:
            domain = ascii_domain(domain)
        except BadAddress:
            return False
        return domain in self.domains or any(
            domain.endswith(wanted) for wanted in self.domains if wanted[:1] == "."
        )

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
                path for path in assignment.forward_paths if self.wants(path)
            ]
            assignment.missing = set(assignment.forward_paths)
        return bool(assignment.forward_paths)


def hand_over(queue: Queue, selection: Selection) -> int:
    """Make what was selected due for the queue run that is there; give how many entries."""
    silent = Destinations(f"{queue.path}/dest")
    found = 0
    for place in list(selection.places(queue)):
        if selection.domains:
            paths = _going_to(queue, place, selection)
            if not paths:
                continue
            for path in paths:
                silent.answered(path.rpartition("@")[2].lower())
        try:
            queue.retry(place.id)
        except NoSuchEntry:
            continue  # it was settled just now
        found += 1
    return found


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
            agent, destination = agent_of(entry, transports, path.address)
            if not selection or selection.wants(path.address):
                yield f"{place.id}\t{agent}\t{destination}\t{path.address}"


def _going_to(queue: Queue, place: Place, selection: Selection) -> list[str]:
    try:
        pending = queue.open(place).pending
    except (BadEntry, NoSuchEntry):
        return []
    return [path.address for path in pending if selection.wants(path.address)]
