"""What is known of one message here: an entry of the queue, or what the history says of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from mailtools.errors import BadEntry, NoSuchEntry
from mailtools.mail import fields
from mailtools.mail.envelope import JUDGED, JUNK, SCREENED, SUBMITTED
from mailtools.mail.report import ACTIONS, EXPANDED, FAILED, Report
from mailtools.services.queue.classes import Classes
from mailtools.services.queue.schedule import Schedule
from mailtools.services.why.log_lines import LogLine, read_facts
from mailtools.store import history
from mailtools.store.entry import Entry, Place, State
from mailtools.store.history import Record
from mailtools.store.journal import COPIED, NOTIFIED, REPLAYED, TURNS, Notice, Turn
from mailtools.store.queue import Queue
from mailtools.store.queue_id import arrival, is_id

FINISHED, REMOVED, LOGGED, DISCARDED = "finished", "removed", "logged", "discarded"
HEADER_MOST = 65536  # octets of header looked at
JUNKED = "junk"  # what the checks say of a message for the folder Junk
JUNKED_BY = 99  # and a content program

_id = r"[0-9]{1,12}\.M[0-9]{1,6}P[0-9]+R[0-9A-Za-z]+"
_sent_on = re.compile(rf" as ({_id}(?: {_id})*)\Z")
_trace = re.compile(
    r"from\s+(?P<from>\S+(?:\s+\([^)]*\))?)\s.*?\bby\s+(?P<by>\S+)"
    r"(?:.*?\bid\s+(?P<id>[^\s;]+))?.*;\s*(?P<date>[^;]+)\Z",
    re.DOTALL | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Hop:
    """A host the message came through before: who gave it, who took it, when (as it says)."""

    giver: str
    taker: str
    date: str


@dataclass(slots=True)
class Story:
    """A message that is or was here; times in seconds since 1970."""

    id: str
    state: str
    """A State of the queue, `finished`, `removed`; as the log tells, `logged` or `discarded`."""
    arrival: float
    reverse_path: str = ""
    client: str = ""
    """Whom it came from: address and name, `local user`, or our own `bounce`."""
    size: int = 0
    message_id: str = ""
    due: float | None = None
    expires: float | None = None
    """When it is given up, as long as it waits."""
    forward_paths: dict[str, None] = field(default_factory=dict)
    pending: dict[str, None] = field(default_factory=dict)
    reports: list[tuple[float, Report]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    """When it was held and why, let go, given another way, or made of another message."""
    judged: dict[str, str] = field(default_factory=dict)
    """What the checks found when it came: the facts of the event `judged`."""
    screened: list[tuple[str, int]] = field(default_factory=list)
    """The content programs that looked at it, with their exit codes."""
    junk: bool = False
    """Whether it is known to be for the folder Junk."""
    submitted: bool = False
    """Whether it is known to have begun here."""
    begins: float | None = None
    """When its sender wants it to go, where that is later than its arrival."""
    way: str = ""
    """By which protocol it came, and as which user, where the log says so."""
    logged: list[LogLine] = field(default_factory=list)
    """What the log says of it, where one was given."""
    hops: list[Hop] = field(default_factory=list)
    fault: str = ""
    ended: float | None = None
    """When its last report was written, or it was removed."""
    origin: str = ""
    """The entry it comes from, where its own trace fields say so."""
    retries: dict[str, str] = field(default_factory=dict)
    """When pending paths are tried whose destinations have times of their own."""
    kept: bool = False
    """Whether it is over, still there to be sent again, and was not."""
    _by_path: dict[str, list[tuple[float, Report]]] = field(default_factory=dict)
    """The reports by forward-path, the first `_sorted` of them."""
    _sorted: int = 0

    def last(self, forward_path: str) -> Report | None:
        """Give the last report on a forward-path."""
        found = self.reports_on(forward_path)
        return found[-1][1] if found else None

    def reports_on(self, forward_path: str) -> list[tuple[float, Report]]:
        """Give the reports on a forward-path, with their times."""
        for when, report in self.reports[self._sorted :]:
            self._by_path.setdefault(report.forward_path, []).append((when, report))
        self._sorted = len(self.reports)
        return self._by_path.get(forward_path, [])

    @property
    def children(self) -> dict[str, str]:
        """The entries that came of it: ID, and what it is."""
        found: dict[str, str] = {}
        for _, report in self.reports:
            match = _sent_on.search(report.text) if report.action == EXPANDED else None
            for id_ in match[1].split(" ") if match else ():
                found.setdefault(id_, "sent on")
        for notice in self.notices:
            found.setdefault(notice.id, f"DSN: {notice.action}")
        for turn in self.turns:
            if turn.word == COPIED:
                found.setdefault(turn.why, "a copy")
        return found

    @property
    def copy_of(self) -> str:
        """The entry an operator made it of; "" where none did."""
        return next((turn.why for turn in self.turns if turn.word == REPLAYED), "")

    @property
    def failed(self) -> bool:
        """Whether it failed for somebody."""
        last = (self.last(path) for path in self.forward_paths)
        return any(report is not None and report.action == FAILED for report in last)

    @property
    def outcome(self) -> str:
        """One word: what became of it as a whole."""
        if self.state not in (FINISHED, LOGGED):
            return self.state
        actions = [report.action for path in self.forward_paths if (report := self.last(path))]
        if FAILED in actions:
            return FAILED if set(actions) == {FAILED} else "partly failed"
        return actions[0] if len(set(actions)) == 1 else self.state


def of_place(queue: Queue, place: Place, schedule: Schedule, classes: Classes) -> Story | None:
    """Read an entry as a story; None when it is gone meanwhile."""
    try:
        entry = queue.open(place)
    except NoSuchEntry:
        return None
    except BadEntry as failure:
        came = arrival(place.id) if is_id(place.id) else 0.0
        return Story(place.id, State.BAD, came, fault=failure.text)
    return _of_entry(entry, place, schedule, classes)


def _of_entry(entry: Entry, place: Place, schedule: Schedule, classes: Classes) -> Story:
    envelope, journal = entry.envelope, entry.journal
    hops, origin = _hops(entry)
    found, pending = envelope.parameters, dict.fromkeys(path.address for path in entry.pending)
    own = {path: classes.find(schedule, path) for path in pending}
    times = [one.terms(envelope, entry.arrival) for one in own.values()]
    terms = max(times, key=lambda one: one.expires, default=schedule.terms(envelope, entry.arrival))
    story = Story(
        entry.id,
        place.state,
        entry.arrival,
        envelope.reverse_path,
        envelope.client,
        entry.size,
        entry.message_id,
        {State.NEW: entry.arrival, State.WAIT: place.due}.get(place.state),
        terms.expires,
        dict.fromkeys(path.address for path in envelope.forward_paths),
        pending,
        list(journal.attempts),
        list(journal.notices),
        list(journal.turns),
        read_facts(found.get(JUDGED, "")),
        _programs(found.get(SCREENED, "")),
        JUNK in found,
        SUBMITTED in found,
        terms.start if terms.start > entry.arrival else None,
        hops=hops,
        retries={path: str(one) for path, one in own.items() if one is not schedule},
    )
    story.origin = story.copy_of or origin
    return story


def _programs(text: str) -> list[tuple[str, int]]:
    """Read what content programs made of it: `name:exit`, blanks between."""
    pairs = (word.rpartition(":") for word in text.split())
    return [(name, int(code)) for name, _, code in pairs if code.removeprefix("-").isdecimal()]


def _hops(entry: Entry) -> tuple[list[Hop], str]:
    """Give the hosts before us, the first one first, and the entry of ours it came of."""
    try:
        with open(entry.path, "rb", buffering=0) as file:
            file.seek(entry.offset)
            header, _ = fields.split_message(file.read(HEADER_MOST))
    except OSError:  # gone, or moved, meanwhile
        return [], ""
    hops, origin = [], ""
    for number, trace in enumerate(fields.find(header, b"received")):
        match = _trace.match(trace.body.decode("utf-8", "replace"))
        if not match:
            continue
        id_ = match["id"] or ""
        if number == 0 and id_ != entry.id and is_id(id_):
            origin = id_
        if number or id_ != entry.id:
            hops.append(Hop(" ".join(match["from"].split()), match["by"], match["date"].strip()))
    return hops[::-1], origin


def of_records(records: Iterable[Record]) -> Story | None:
    """Read what the history says of one message; None where the beginning is missing."""
    story: Story | None = None
    for record in records:
        if record.word == history.FROM and len(record.fields) >= 4:
            story = _begin(record)
        elif record.word == history.REMOVED:
            story = story or Story(record.id, REMOVED, _arrival(record.id))
            story.state, story.ended = REMOVED, record.time
            for path in record.fields[:1]:
                story.forward_paths.setdefault(path)
        elif story is None:
            continue
        elif record.word in TURNS:
            story.turns.append(Turn(record.time, record.word, "".join(record.fields[:1])))
        elif record.word == NOTIFIED and len(record.fields) >= 2:
            story.notices.append(Notice(record.time, record.fields[0], record.fields[1]))
        elif record.word in ACTIONS and len(record.fields) >= 3:
            path, status, text = record.fields[:3]
            story.reports.append((record.time, Report(path, record.word, status, text)))
            story.ended = record.time
            story.forward_paths.setdefault(path)
    if story is not None:
        story.origin = story.copy_of
    return story


def _begin(record: Record) -> Story:
    reverse_path, size, message_id, client = record.fields[:4]
    octets = int(size) if size.isdigit() else 0
    one = Story(record.id, FINISHED, record.time, reverse_path, client, octets, message_id)
    judged, screened, junk = (*record.fields[4:7], "", "", "")[:3]
    one.judged, one.screened = read_facts(judged), _programs(screened)
    one.junk = junk == JUNKED
    return one


def _arrival(id_: str) -> float:
    return arrival(id_) if is_id(id_) else 0.0
