"""The entries in hand: what happens to each from being due to being gone or put off.

Here is the order that makes a crash harmless (mailtools-queue(5)): reports are journalled before a
DSN tells of them, the DSN is committed before the journal says so, and the entry is removed after
that. An entry whose paths are all settled by one attempt, with nobody to tell, needs no journal:
its removal is the record. Whatever the disk refuses is tried again; until then the entry stays in
hand with what is known of it.
"""

import time
from collections.abc import Callable

from mailtools import log
from mailtools.errors import BadEntry, Failure, NoSuchEntry
from mailtools.mail.envelope import REJECTED, ForwardPath
from mailtools.mail.report import DELAYED, FAILED, Report
from mailtools.mail.verp import XVERP, personal
from mailtools.services.queue.classes import Classes
from mailtools.services.queue.holding import HoldRules
from mailtools.services.queue.notify import Notifier
from mailtools.services.queue.reroute import agent_of
from mailtools.services.queue.schedule import Schedule, Terms, is_greylisting, priority
from mailtools.services.queue.transports import Transports, is_local
from mailtools.services.queue.worker import Assignment
from mailtools.store import history
from mailtools.store.destinations import Silence
from mailtools.store.entry import Entry, Place, State
from mailtools.store.history import History
from mailtools.store.kept import Kept
from mailtools.store.queue import Queue
from mailtools.store.suppressed import Suppressed, Suppression

UNKNOWN = frozenset(("5.1.1", "5.1.6", "5.1.10"))  # RFC 3463 3.2, RFC 7505: no such mailbox
FACTS = ("tls", "tls_wanted")  # what agents may add to the line of a report
TIME_EXPIRED = "4.4.7"  # RFC 3463: delivery time expired


class Work:
    """An entry in hand."""

    __slots__ = ("by_path", "entry", "left", "not_before", "terms", "untried")

    def __init__(self, entry: Entry, terms: Terms) -> None:
        self.entry = entry
        self.terms = terms
        self.by_path: dict[str, Terms] = {}
        """The times of each path, where destinations have retry classes."""
        self.left = 0
        """Assignments that are not over yet."""
        self.not_before: dict[str, float] = {}
        """Until when a path's destination is left alone."""
        self.untried = False
        """Whether some paths were given back untried: then it stays where it is."""

    def terms_of(self, path: str) -> Terms:
        """Give the times of a path."""
        return self.by_path.get(path, self.terms)


class Attempts:
    """All entries in hand, by ID."""

    def __init__(
        self,
        queue: Queue,
        notifier: Notifier,
        schedule: Schedule,
        transports: Transports,
        jitter: Callable[[], float],
    ) -> None:
        """`jitter` gives random numbers from 0 to 1."""
        self.rules = HoldRules()
        """What is held before its first attempt."""
        self.suppress = 0.0
        """How long an address is not tried that another host refused as unknown; 0: it is."""
        self.keep_failed = self.keep_delivered = 0.0
        """How long a message is kept after its end, where it failed for somebody, and else."""
        self.classes = Classes()
        """Destinations with a schedule of their own."""
        self.suppressed = Suppressed(f"{queue.path}/suppress")
        self.schedule, self.transports, self.notifier = schedule, transports, notifier
        self.in_hand: dict[str, Work] = {}
        self.stuck: list[Work] = []
        """Entries whose end the disk refused; see `unstick`."""
        self._senders: dict[str, int] = {}
        self.next_due = 0.0
        """No later than the earliest entry that waits is due; infinity where none does."""
        self._queue, self._jitter = queue, jitter
        self._history = History(f"{queue.path}/history")
        self._kept = Kept(queue)
        self._finished: list[Work] = []

    # -- begin ------------------------------------------------------------------------------------

    def take(self, place: Place, now: float, *, asked: bool = False) -> list[Assignment]:
        """Take an entry in hand; give what agents are to do for it.

        Nothing when it cannot be read, is gone, is not to be tried yet, or has nothing pending.
        `asked`: somebody wants this one tried, so that no rule holds it.
        """
        try:
            entry = self._queue.open(place)
        except NoSuchEntry:
            return []
        except BadEntry as failure:
            self._queue.set_aside(place)
            log.event("damaged", id=place.id, why=failure.text)
            return []
        if not asked and (rule := self.rules.catch(entry)):
            self._queue.hold(entry.id, f"the rule {rule!r} of the control file hold")
            log.event("held", id=entry.id, rule=rule)
            return []
        terms = self.schedule.terms(entry.envelope, entry.arrival)
        if now < terms.start and terms.start > entry.arrival:  # not: a clock that went back
            log.event("held", id=entry.id, until=f"{terms.start:.0f}")
            self._defer(entry, terms.start)
            return []
        work = self.in_hand[entry.id] = Work(entry, terms)
        sender = entry.envelope.reverse_path
        self._senders[sender] = self._senders.get(sender, 0) + 1
        if self.classes:
            for path in entry.pending:
                schedule = self.classes.find(self.schedule, path.address)
                work.by_path[path.address] = schedule.terms(entry.envelope, entry.arrival)
        assignments = self._assignments(work, now, asked=asked)
        work.left = len(assignments)
        if not assignments:
            self._end(work, now)
        return assignments

    def _assignments(self, work: Work, now: float, *, asked: bool) -> list[Assignment]:
        entry = work.entry
        if self.suppress and not entry.journal.way:
            self._fail_suppressed(work, now)
        for path in entry.pending:
            terms = work.terms_of(path.address)
            if terms.returns and now >= terms.expires:
                # RFC 2852 4.1.2: by-mode R is not tried after its time.
                text = "The time its sender gave for delivery is over"
                self._note(work, Report(path.address, FAILED, "5.4.7", text), now)
        pending = entry.pending
        if work.by_path and len(pending) > 1 and not asked:
            pending = self._due_paths(work, now)
        if not pending:
            return []
        paths: dict[tuple[str, str], list[str]] = {}
        for address in dict.fromkeys(path.address for path in pending):
            paths.setdefault(agent_of(entry, self.transports, address), []).append(address)
        level = priority(entry.envelope) if entry.envelope.parameters else 0
        sender = entry.envelope.reverse_path
        if XVERP in entry.envelope.parameters:
            return [
                Assignment(
                    entry.id,
                    entry.path,
                    personal(entry.envelope, address),
                    [address],
                    agent=agent,
                    destination=destination,
                    priority=level,
                    sender=sender,
                )
                for (agent, destination), addresses in paths.items()
                for address in addresses
            ]
        return [
            Assignment(
                entry.id,
                entry.path,
                sender,
                addresses,
                agent=agent,
                destination=destination,
                priority=level,
            )
            for (agent, destination), addresses in paths.items()
        ]

    def _due_paths(self, work: Work, now: float) -> list[ForwardPath]:
        """Give the pending paths whose time has come: others wait by a class of their own.

        All of them where the entry is not in its place by its time, but an operator's.
        """
        entry = work.entry
        if entry.state is not State.WAIT or entry.due > now:
            return entry.pending
        return [p for p in entry.pending if self._next(work, p.address, now, 0.0) <= now]

    def _next(self, work: Work, path: str, now: float, jitter: float) -> float:
        """When a pending path is to be tried next; at once where it never was."""
        schedule = self.classes.find(self.schedule, path)
        last = now
        if work.by_path:
            journal = work.entry.journal
            times = [when for when, r in journal.attempts if r.forward_path == path]
            if not times:
                return now
            last = times[-1]
        greylisted = is_greylisting(work.entry.journal.last.get(path))
        not_before = work.not_before.get(path, 0.0)
        return schedule.next_attempt(
            work.terms_of(path), last, jitter, not_before, greylisted=greylisted
        )

    def _fail_suppressed(self, work: Work, now: float) -> None:
        for path in work.entry.pending:
            if is_local(self.transports.find(path.address)[0]):
                continue
            one = self.suppressed.find(path.address)
            if one and one.since > now - self.suppress:
                since = time.strftime("%Y-%m-%d", time.gmtime(one.since))
                # For the sender, who reads it in a DSN; what lifts it, mail-why tells.
                text = (
                    f"Not tried, since this address was refused as unknown on {since}: {one.text}"
                )
                self._note(work, Report(path.address, FAILED, one.status, text), now)

    # -- reports ----------------------------------------------------------------------------------

    def reported(self, id_: str, report: Report, now: float) -> None:
        """Take in a report on a path of an entry in hand, and log it."""
        self._note(self.in_hand[id_], report, now)

    def learn(self, assignment: Assignment, report: Report, now: float) -> None:
        """Note an address that another host refused as unknown, so that it is not tried again."""
        if report.action != FAILED or report.status not in UNKNOWN or not self.suppress:
            return
        if is_local(assignment.agent):
            return
        one = Suppression(report.forward_path, now, report.status, report.text)
        try:
            self.suppressed.add(one)
        except Failure as failure:  # it is a hint
            log.event("trouble", id=assignment.id, detail=failure.detail or failure.text)
        else:
            log.event("suppressed", id=assignment.id, to=report.forward_path, status=report.status)

    def over(self, id_: str, now: float) -> None:
        """Note that an assignment is over; with its last one, the entry's attempt ends."""
        work = self.in_hand[id_]
        work.left -= 1
        if work.left or work.untried:
            self._guarded(work, lambda: self._queue.record(work.entry, (), now))
            if not work.left:
                self.forget(id_)
        else:
            self._end(work, now)

    def put_off(self, assignment: Assignment, silence: Silence, now: float) -> None:
        """Let an assignment wait, untried, since its destination did not answer others."""
        work = self.in_hand[assignment.id]
        for path in assignment.forward_paths:
            work.not_before[path] = silence.until
            text = f"Not tried, since {assignment.destination} did not answer: {silence.text}"
            self._note(work, Report(path, DELAYED, silence.status, text), now)
        self.over(assignment.id, now)

    def leave_alone(self, assignment: Assignment, path: str, until: float) -> None:
        """Note that a path's destination did not answer just now."""
        self.in_hand[assignment.id].not_before[path] = until

    def forget(self, id_: str) -> None:
        """Let go of an entry: it stays where it is."""
        sender = self.in_hand.pop(id_).entry.envelope.reverse_path
        self._senders[sender] -= 1
        if not self._senders[sender]:
            del self._senders[sender]

    def of_sender(self, reverse_path: str) -> int:
        """How many entries of a sender are in hand."""
        return self._senders.get(reverse_path, 0)

    def give_back(self, assignment: Assignment, now: float) -> None:
        """Take back an assignment that nobody has begun: its paths wait for another pass."""
        self.in_hand[assignment.id].untried = True
        self.over(assignment.id, now)

    def _note(self, work: Work, report: Report, now: float) -> None:
        entry = work.entry
        terms = work.terms_of(report.forward_path)
        if report.action == DELAYED and now >= terms.expires:
            status = "5.4.7" if terms.returns else report.status or TIME_EXPIRED
            text = f"Given up, it was tried too long: {report.text}"
            report = report._replace(action=FAILED, status=status, text=text)
        entry.journal.add(now, report)
        log.event(
            report.action,
            id=entry.id,
            to=report.forward_path,
            status=report.status,
            age=f"{max(now - work.terms.start, 0):.2f}",
            **_known_facts(report.facts),
            text=report.text,
        )

    # -- the end of an attempt --------------------------------------------------------------------

    def _end(self, work: Work, now: float) -> None:
        self._guarded(work, lambda: self._finish(work, now))

    def _guarded(self, work: Work, action: Callable[[], None]) -> None:
        try:
            action()
        except Failure as failure:
            log.event("trouble", id=work.entry.id, detail=failure.detail or failure.text)
            if not work.left and work not in self.stuck:
                self.stuck.append(work)

    def _finish(self, work: Work, now: float) -> None:
        entry = work.entry
        pending = entry.pending
        told = self.notifier.due(entry)
        if told or pending or self._keeps(entry):
            self._queue.record(entry, (), now)
        if told:
            self.notifier.tell(entry, told, now)
        if not pending:
            self._finished.append(work)
            return
        marks = [work.terms_of(path.address) for path in pending]
        if now >= min(terms.warn for terms in marks):
            self.notifier.warn(entry, now, min(terms.expires for terms in marks))
        jitter = self._jitter()
        self._defer(entry, min(self._next(work, path.address, now, jitter) for path in pending))
        self.forget(entry.id)

    def _defer(self, entry: Entry, when: float) -> None:
        try:
            self.next_due = min(self.next_due, self._queue.defer(entry, when))
        except NoSuchEntry:  # an operator removed it while it was tried
            self._queue.settle(entry)

    def unstick(self, now: float) -> None:
        """Try again to end the attempts whose end the disk refused."""
        stuck, self.stuck = self.stuck, []
        for work in stuck:
            self._end(work, now)

    def flush(self, now: float) -> None:
        """Write the history of the entries that are finished, and remove them."""
        finished, self._finished = self._finished, []
        if not finished:
            return
        try:
            lines = b"".join([history.lines_of(work.entry) for work in finished])
            self._history.append(lines, now)
        except Failure as failure:  # a history that cannot be written must not keep the mail
            log.event("trouble", detail=failure.detail or failure.text)
        for work in finished:
            try:
                if not self._keep(work.entry, now):
                    self._queue.settle(work.entry)
            except Failure as failure:
                log.event("trouble", id=work.entry.id, detail=failure.detail or failure.text)
                self.stuck.append(work)
                continue
            log.event("removed", id=work.entry.id)
            self.forget(work.entry.id)

    def _keeps(self, entry: Entry) -> float:
        """How long a message is kept after its end; what nobody would send again is not."""
        if not entry.envelope.reverse_path or REJECTED in entry.envelope.parameters:
            return 0.0
        failed = any(report.action == FAILED for report in entry.journal.last.values())
        return self.keep_failed if failed else self.keep_delivered

    def _keep(self, entry: Entry, now: float) -> bool:
        span = self._keeps(entry)
        if not span:
            return False
        try:
            return self._kept.put(entry, now + span)
        except Failure as failure:  # then it goes: it was over
            log.event("trouble", id=entry.id, detail=failure.detail or failure.text)
            return False


def _known_facts(facts: str) -> dict[str, str]:
    """Read the facts of a report: those that a log line may have, whatever an agent says."""
    pairs = (word.partition("=") for word in facts.split())
    return {key: value for key, _, value in pairs if key in FACTS and value}
