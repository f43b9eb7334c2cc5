"""Sending the reports of the days that are over: what is left, where it goes, and that it went.

A report is queued once, wherever a run is cut off. Its queue ID is noted before the entry is
committed, and that it is queued after; a run that finds the first note alone looks for the entry in
the queue and, since it may be delivered by then, in the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from mailtools import log
from mailtools.errors import DnsTrouble, Failure
from mailtools.mail.envelope import REPORT, SUBMITTED, Envelope, ForwardPath
from mailtools.services.reports.compose import (
    DAY,
    DMARC,
    KINDS,
    Report,
    Reporter,
    Subject,
    make,
    message,
)
from mailtools.store.history import History
from mailtools.store.queue import Queue
from mailtools.store.report_data import Collected, Facts, SentDay, Step, day_of, sweep_sent
from mailtools.trust.lookup import Lookup, is_name
from mailtools.trust.report_address import Places, dmarc_places, tls_places

GRACE = 300  # seconds of a day for what was noted at the end of the one before
KEPT_DAYS = 7  # what could not be sent until then is dropped
REPORTS_MOST = 10_000  # of a kind and day, most messages first: one domain of many names is no more

Post = Callable[[str, Report], None]
"""Gives a report to an HTTPS URI; raises NoAnswer, TlsTrouble, ConnectionDied."""


class Item(NamedTuple):
    """A report that is to be sent."""

    subject: Subject
    facts: Facts

    @property
    def number(self) -> int:
        """How many messages or sessions it is about."""
        return sum(texts.total() for texts in self.facts.values())


class Sending:
    """Sends what was collected."""

    def __init__(
        self,
        folder: str,
        queue: Queue,
        reporter: Reporter,
        lookup: Lookup,
        post: Post,
        *,
        clock: Callable[[], float],
        bounces: str = "",
        passed_over: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """`folder` is reports/ of the spool; `bounces` is the reverse-path.

        `passed_over` tells which domains get none: our own.
        """
        self._folder, self._queue, self._reporter = folder, queue, reporter
        self._lookup, self._post, self._clock = lookup, post, clock
        self._bounces, self._passed_over = bounces, passed_over
        self._sent: dict[str, SentDay] = {}
        self.make_room: Callable[[], None] = lambda: None
        """Called before a line is logged: a bar on the terminal steps aside."""

    # -- what there is ----------------------------------------------------------------------------

    def days(self, kind: str) -> list[str]:
        """Give the days that are over and have data, oldest first."""
        today = day_of(self._clock() - GRACE)
        return [day for day in self._collected(kind).days() if day < today]

    def items(self, kind: str, day: str) -> Iterator[Item]:
        """Yield what is still to be sent of a day, most messages first."""
        collected, sent = self._collected(kind), self._sent_of(day)
        full = collected.full_since(day)
        found = [
            Item(Subject(kind, domain, day, full), facts)
            for domain, facts in collected.read(day).items()
            if is_name(domain) and not self._passed_over(domain) and not sent.done(kind, domain)
        ]
        found.sort(key=lambda item: (-item.number, item.subject.domain))
        for item in found[REPORTS_MOST:]:
            self._unreported(item.subject, "too many reports")
        yield from found[:REPORTS_MOST]

    def places(self, subject: Subject) -> Places:
        """Find where a report goes; raise DnsTrouble."""
        find = dmarc_places if subject.kind == DMARC else tls_places
        return find(subject.domain, self._lookup)

    def report(self, item: Item) -> Report:
        """Make a report."""
        return make(self._reporter, item.subject, item.facts)

    def message(self, report: Report, places: Places) -> bytes:
        """Write the message a report goes out in."""
        return message(self._reporter, report, places.addresses, self._clock())

    # -- sending ----------------------------------------------------------------------------------

    def send(self, item: Item) -> bool:
        """Send a report to all its places; False where that has to be tried again.

        Raises QueueFull and SystemTrouble.
        """
        subject = item.subject
        try:
            places = self.places(subject)
        except DnsTrouble as trouble:
            self._unreported(subject, trouble.text)
            return False
        for fault in places.faults:
            self._unreported(subject, fault)
        if not places:
            if not places.faults:
                self._unreported(subject, "the domain asks for none any more")
        else:
            report = self.report(item)
            if not report.number:  # no line of it was ours
                places = Places()
            if places.addresses:
                self._send_mail(report, places)
            left = [uri for uri in places.uris if not self._send_post(report, uri)]
            if left:
                return False
        self._note(subject, "done", sync=False)
        return True

    def sweep(self) -> int:
        """Drop the data of days long gone, sent or not; give how many files."""
        before = day_of(self._clock() - KEPT_DAYS * DAY)
        dropped = sum(self._collected(kind).sweep(before) for kind in KINDS)
        return dropped + sweep_sent(self._folder, before)

    def _send_mail(self, report: Report, places: Places) -> None:
        subject = report.subject
        steps = self._steps(subject)
        if any(step.word == "queued" for step in steps):
            return
        id_ = self._queued(steps)
        if not id_:
            now = self._clock()
            id_ = self._queue.new_id(now)
            self._note(subject, "begun", id_)
            self._commit(id_, report, places, now)
        self._note(subject, "queued", id_)
        self._reported(report, ",".join(places.addresses), id_)

    def _commit(self, id_: str, report: Report, places: Places, now: float) -> None:
        notify = {} if self._bounces else {"NOTIFY": "NEVER"}
        paths = tuple(ForwardPath(address, notify) for address in places.addresses)
        envelope = Envelope(self._bounces, paths, {SUBMITTED: ""}, REPORT)
        writer = self._queue.begin(envelope, id_)
        try:
            writer.write(message(self._reporter, report, places.addresses, now))
            writer.commit()
        except BaseException:
            writer.abort()
            raise

    def _queued(self, steps: list[Step]) -> str:
        """Give the ID of an entry that a run committed before it was cut off; "" for none."""
        history = History(f"{self._queue.path}/history")
        for id_ in (step.what for step in steps if step.word == "begun"):
            needle = id_.lower().encode()
            if self._queue.find(id_) or any(
                any(history.find(day, [needle])) for day in history.days()
            ):
                return id_
        return ""

    def _send_post(self, report: Report, uri: str) -> bool:
        subject = report.subject
        if Step("posted", uri) in self._steps(subject):
            return True
        try:
            self._post(uri, report)
        except Failure as failure:
            self._unreported(subject, failure.text)
            # What no further try can mend is dropped.
            return failure.permanent
        self._note(subject, "posted", uri)
        self._reported(report, uri)
        return True

    # -- notes ------------------------------------------------------------------------------------

    def _collected(self, kind: str) -> Collected:
        return Collected(self._folder, kind, 0)

    def _sent_of(self, day: str) -> SentDay:
        if day not in self._sent:
            self._sent[day] = SentDay(self._folder, day)
        return self._sent[day]

    def _steps(self, subject: Subject) -> list[Step]:
        return self._sent_of(subject.day).steps(subject.kind, subject.domain)

    def _note(self, subject: Subject, word: str, what: str = "", *, sync: bool = True) -> None:
        sent = self._sent_of(subject.day)
        sent.note(subject.kind, subject.domain, word, what, sync=sync)

    def _reported(self, report: Report, to: str, id_: str = "") -> None:
        subject = report.subject
        self.make_room()
        log.event(
            "reported",
            id=id_ or None,
            kind=subject.kind,
            domain=subject.domain,
            day=subject.day,
            to=to,
            of=report.number,
            report=report.id,
        )

    def _unreported(self, subject: Subject, reason: str) -> None:
        self.make_room()
        log.event(
            "unreported", kind=subject.kind, domain=subject.domain, day=subject.day, reason=reason
        )
