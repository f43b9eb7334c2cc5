"""Sending the reports of the days that are over: what is left, where it goes, and that it went.

A report is queued once, wherever a run is cut off. Its queue ID is noted before the entry is
committed, and that it is queued after; a run that finds the first note alone looks for the entry in
the queue and, since it may be delivered by then, in the history.

DNS is asked about many reports at once, and many are queued at once: what waits for DNS, and for
the disk, waits together. A batch costs two synced notes, and each of its entries its own syncs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
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
from mailtools.store.report_data import (
    Collected,
    Facts,
    SentDay,
    Step,
    day_of,
    family,
    sweep_sent,
)
from mailtools.trust.lookup import Lookup, is_name
from mailtools.trust.report_address import Places, dmarc_places, tls_places

GRACE = 300  # seconds of a day for what was noted at the end of the one before
KEPT_DAYS = 7  # what could not be sent until then is dropped
REPORTS_MOST = 10_000  # of a kind and day: one domain of many names is no more
ASKED = 32  # about so many reports DNS is asked at a time
BATCH = 64  # reports that are noted together
COMMITTED = 16  # of them that are written at a time

Found = Places | DnsTrouble
"""Where a report goes, or why that is not known."""

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


class Work(NamedTuple):
    """A report, where it goes, and the ID of the entry that was or will be committed."""

    report: Report
    places: Places
    id: str = ""
    there: bool = False
    """It is in the queue by now, as an earlier run left it."""


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
        found = [
            Item(Subject(kind, domain, day, collected.full_since(day, domain)), facts)
            for domain, facts in collected.read(day).items()
            if is_name(domain) and not self._passed_over(domain) and not sent.done(kind, domain)
        ]
        found.sort(key=_most_first)
        if len(found) > REPORTS_MOST:
            found = fair(found)
        for item in found[REPORTS_MOST:]:
            self._unreported(item.subject, "too many reports")
        yield from sorted(found[:REPORTS_MOST], key=_most_first)

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

    def asked(self, items: Sequence[Item]) -> Iterator[tuple[Item, Found]]:
        """Find where reports go, many at a time; yield them in their order."""

        def ask(item: Item) -> Found:
            try:
                return self.places(item.subject)
            except DnsTrouble as trouble:
                return trouble

        crew = ThreadPoolExecutor(ASKED)
        try:
            yield from zip(items, crew.map(ask, items), strict=True)
        finally:
            crew.shutdown(cancel_futures=True)

    def send(self, items: Sequence[Item]) -> Iterator[bool]:
        """Send reports to all their places; yield False for each that has to be tried again.

        All of them are of one day. Raises QueueFull and SystemTrouble.
        """
        asked = self.asked(items)
        with ThreadPoolExecutor(COMMITTED) as crew:
            while batch := list(islice(asked, BATCH)):
                yield from self._send_batch(batch, crew)

    def _send_batch(
        self, batch: Sequence[tuple[Item, Found]], crew: ThreadPoolExecutor
    ) -> list[bool]:
        left = [isinstance(found, DnsTrouble) for _, found in batch]
        works = []
        for item, found in batch:
            if isinstance(found, DnsTrouble):
                self._unreported(item.subject, found.text)
                continue
            for fault in found.faults:
                self._unreported(item.subject, fault)
            if not found and not found.faults:
                self._unreported(item.subject, "the domain asks for none any more")
            if found and (report := self.report(item)).number:  # else no line of it was ours
                works.append(Work(report, found))
        self._send_mail([work for work in works if work.places.addresses], crew)
        unposted = self._send_posts(works, crew)
        done = []
        for number, (item, _) in enumerate(batch):
            left[number] |= item.subject in unposted
            if not left[number]:
                done.append(item.subject)
        self._note(done, Step("done"), sync=False)
        return [not each for each in left]

    def sweep(self) -> int:
        """Drop the data of days long gone, sent or not; give how many files."""
        before = day_of(self._clock() - KEPT_DAYS * DAY)
        dropped = sum(self._collected(kind).sweep(before) for kind in KINDS)
        return dropped + sweep_sent(self._folder, before)

    def _send_mail(self, works: Sequence[Work], crew: ThreadPoolExecutor) -> None:
        now, batch = self._clock(), []
        for work in works:
            steps = self._steps(work.report.subject)
            if any(step.word == "queued" for step in steps):
                continue
            id_ = self._queued(steps)
            batch.append(work._replace(id=id_ or self._queue.new_id(now), there=bool(id_)))
        self._note_ids([work for work in batch if not work.there], "begun")
        commits: list[Future[None]] = [
            crew.submit(self._commit, work, now) for work in batch if not work.there
        ]
        faults = [fault for commit in commits if (fault := commit.exception())]
        if faults:  # what is queued of the batch the next run finds by its ID
            raise faults[0]
        self._note_ids(batch, "queued")
        for work in batch:
            self._reported(work.report, ",".join(work.places.addresses), work.id)

    def _commit(self, work: Work, now: float) -> None:
        notify = {} if self._bounces else {"NOTIFY": "NEVER"}
        addresses = work.places.addresses
        paths = tuple(ForwardPath(address, notify) for address in addresses)
        envelope = Envelope(self._bounces, paths, {SUBMITTED: ""}, REPORT)
        writer = self._queue.begin(envelope, work.id)
        try:
            writer.write(message(self._reporter, work.report, addresses, now))
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

    def _send_posts(self, works: Sequence[Work], crew: ThreadPoolExecutor) -> set[Subject]:
        """Post what goes to URIs; give what has to be tried again."""
        posts = []
        for report, places, *_ in works:
            done = self._steps(report.subject)
            for uri in places.uris:
                if Step("posted", uri) not in done:
                    posts.append((report, uri, crew.submit(self._post, uri, report)))
        left = set()
        for report, uri, post in posts:
            fault = post.exception()
            if fault is None:
                self._note([report.subject], Step("posted", uri))
                self._reported(report, uri)
            elif not isinstance(fault, Failure):
                raise fault
            else:
                self._unreported(report.subject, fault.text)
                if not fault.permanent:  # what no further try can mend is dropped
                    left.add(report.subject)
        return left

    # -- notes ------------------------------------------------------------------------------------

    def _collected(self, kind: str) -> Collected:
        return Collected(self._folder, kind, 0)

    def _sent_of(self, day: str) -> SentDay:
        if day not in self._sent:
            self._sent[day] = SentDay(self._folder, day)
        return self._sent[day]

    def _steps(self, subject: Subject) -> list[Step]:
        return self._sent_of(subject.day).steps(subject.kind, subject.domain)

    def _note(self, subjects: Sequence[Subject], step: Step, *, sync: bool = True) -> None:
        """Note a step of some reports of a day."""
        if subjects:
            steps = [(subject.kind, subject.domain, step) for subject in subjects]
            self._sent_of(subjects[0].day).note_all(steps, sync=sync)

    def _note_ids(self, works: Sequence[Work], word: str) -> None:
        if works:
            subjects = [work.report.subject for work in works]
            steps = [
                (subject.kind, subject.domain, Step(word, work.id))
                for subject, work in zip(subjects, works, strict=True)
            ]
            self._sent_of(subjects[0].day).note_all(steps)

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


def _most_first(item: Item) -> tuple[int, str]:
    return -item.number, item.subject.domain


def fair(items: Sequence[Item]) -> list[Item]:
    """Order reports so that each owner of domains has its first one before others a second."""
    seen: Counter[str] = Counter()
    ranked = []
    for item in items:
        home = family(item.subject.domain)
        ranked.append((seen[home], item))
        seen[home] += 1
    return [item for _, item in sorted(ranked, key=lambda each: each[0])]
