"""What an operator asks to be tried now: entries by ID, or all that goes to some domains."""

from collections.abc import Iterator
from typing import NamedTuple

from mailtools.errors import BadAddress, BadEntry, NoSuchEntry
from mailtools.mail.address import ascii_domain
from mailtools.services.queue.holding import HoldRules
from mailtools.services.queue.reroute import agent_of, destination_of
from mailtools.services.queue.transports import Transports
from mailtools.services.queue.worker import Assignment
from mailtools.store.destinations import Destinations
from mailtools.store.entry import Place, State
from mailtools.store.queue import Queue


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
    """Make what was selected due for the queue run that is there; give how many entries.

    As where we do it ourselves: also what is held, where its ID is given, and whether or not its
    destinations have answered lately.
    """
    silent = Destinations(f"{queue.path}/dest")
    found = 0
    for place in list(selection.places(queue)):
        try:
            if _make_due(queue, place, selection, silent):
                found += 1
        except NoSuchEntry:
            continue  # it was settled just now
    return found


def _make_due(queue: Queue, place: Place, selection: Selection, silent: Destinations) -> bool:
    try:
        entry = queue.open(place)
    except BadEntry:  # then the queue run sets it aside, where it was asked for itself
        paths = []
    else:
        paths = [path.address for path in entry.pending if selection.wants(path.address)]
        for path in paths:
            silent.answered(destination_of(entry, path))
    if selection.domains and not paths:
        return False
    if place.state is State.HOLD:
        queue.release(place.id)
    else:
        queue.retry(place.id)
    return True


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
