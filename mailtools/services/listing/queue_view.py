"""The queue as people see it: one row an entry, chosen by sender, recipient, age and state."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from mailtools.errors import BadEntry, NoQueue, NoSuchEntry, SystemTrouble
from mailtools.mail.report import FAILED
from mailtools.services.access.become import closed_to_us
from mailtools.store.entry import Entry, Place, State
from mailtools.store.kept import Kept
from mailtools.store.queue import Queue
from mailtools.store.queue_id import arrival, is_id


class Pending(NamedTuple):
    """A forward-path that waits or failed, and why ("" where it was not tried yet).

    Of a message that is over also those that got it, without a reason.
    """

    address: str
    status: str
    reason: str


class Row(NamedTuple):
    """An entry as it is listed."""

    id: str
    state: State
    arrival: float
    """Seconds since 1970."""
    size: int
    """Octets of the message."""
    reverse_path: str
    pending: tuple[Pending, ...]
    due: float | None
    """When it is tried next; None where it is not (held, or set aside)."""
    attempts: int
    fault: str = ""
    """Why a bad entry cannot be read."""
    held_by: str = ""
    """Who or what holds it, where it is held and that is known."""
    way: str = ""
    """Where an operator wants it to go instead of the usual way."""

    @property
    def reason(self) -> str:
        """Why it waits: what holds it, or the reason of the first forward-path that has one."""
        held = f"held by {self.held_by}" if self.held_by else ""
        reasons = (one.reason for one in self.pending if one.reason)
        reason = self.fault or held or next(reasons, "")
        if not self.way:
            return reason
        return f"goes via {self.way}: {reason}" if reason else f"goes via {self.way}"


class Choice(NamedTuple):
    """Which entries: all that fit everything that is given. Addresses may hold `*` and `?`."""

    reverse_path: str | None = None
    """`<>` or "" is the null one."""
    forward_path: str | None = None
    older: float = 0.0
    """Seconds since it arrived, at least."""
    state: State | None = None

    def fits(self, row: Row, now: float) -> bool:
        """Whether a row is chosen."""
        if self.state is not None and row.state is not self.state:
            return False
        if now - row.arrival < self.older:
            return False
        wanted = self.reverse_path
        if wanted is not None and not _like(row.reverse_path, "" if wanted == "<>" else wanted):
            return False
        to = self.forward_path
        return to is None or any(_like(one.address, to) for one in row.pending)


def rows(
    queue: Queue,
    choice: Choice | None = None,
    now: float | None = None,
    watch: Callable[[Sequence[Place]], Iterable[Place]] = iter,
) -> Iterator[Row]:
    """Yield the chosen entries, oldest first within each state; raise NoQueue, SystemTrouble.

    Those that are over and kept are listed where that state is asked for.

    `watch` passes on the entries of each state, and so learns how far the listing is.
    """
    choice = choice or Choice()
    moment = time.time() if now is None else now
    need_queue(queue.path)
    listings: dict[State, Callable[[], Iterator[Place]]] = {
        State.NEW: queue.new,
        State.WAIT: queue.waiting,
        State.HOLD: queue.held,
        State.BAD: queue.bad,
        State.DONE: Kept(queue).all,
    }
    for state, listing in listings.items():
        if choice.state is state or (choice.state is None and state is not State.DONE):
            for place in watch(sorted(listing(), key=lambda place: place.id)):
                row = row_of(queue, place)
                if row is not None and choice.fits(row, moment):
                    yield row


def need_queue(path: str) -> None:
    """Raise NoQueue where there is none at `path`, SystemTrouble where it may not be read.

    To say that it is empty would hide a slip in --spool, or a disk that is not mounted.
    """
    if closed := closed_to_us(path):
        raise SystemTrouble(detail=closed)
    if os.path.isdir(path):
        return
    raise NoQueue(f"There is no mail queue {path}: the first message, or a server, makes it")


def row_of(queue: Queue, place: Place) -> Row | None:
    """Read one entry as a row; None when it is gone meanwhile."""
    try:
        entry = queue.open(place)
        size = entry.size
    except (NoSuchEntry, FileNotFoundError):
        return None
    except BadEntry as failure:
        return _bad_row(place, failure.text)
    due = {State.NEW: entry.arrival, State.WAIT: place.due}.get(place.state)
    return Row(
        entry.id,
        place.state,
        entry.arrival,
        size,
        entry.envelope.reverse_path,
        tuple(_pending(entry)),
        due,
        len({when for when, _ in entry.journal.attempts}),
        held_by=entry.journal.held_by if place.state is State.HOLD else "",
        way=entry.journal.way,
    )


def _bad_row(place: Place, fault: str) -> Row | None:
    try:
        about = os.stat(place.path)
    except FileNotFoundError:
        return None
    came = arrival(place.id) if is_id(place.id) else about.st_mtime
    return Row(place.id, State.BAD, came, about.st_size, "", (), None, 0, fault)


def _pending(entry: Entry) -> Iterator[Pending]:
    over = entry.state is State.DONE
    for path in entry.envelope.forward_paths if over else entry.pending:
        report = entry.journal.last.get(path.address)
        if report is None:
            yield Pending(path.address, "", "")
        else:
            reason = report.text if not over or report.action == FAILED else ""
            yield Pending(path.address, report.status, reason)


def _like(address: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase  # only where something is looked for

    return fnmatchcase(address.lower(), pattern.lower())
