"""Sending the reports of the days that are over: what is left, where it goes, and that it went.

DNS is asked about many reports at once, and many are queued at once (dispatch.py): what waits for
DNS, and for the disk, waits together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple

from mailtools import log
from mailtools.errors import DnsTrouble, Failure
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
from mailtools.services.reports.dispatch import BATCH, COMMITTED, Dispatch, Found, Letter, asked
from mailtools.store.queue import Queue
from mailtools.store.report_data import (
    KEPT_DAYS,
    Collected,
    Facts,
    Step,
    day_of,
    family,
    sweep_sent,
)
from mailtools.trust.lookup import Lookup, is_name
from mailtools.trust.report_address import Places, dmarc_places, tls_places

GRACE = 300  # seconds of a day for what was noted at the end of the one before
REPORTS_MOST = 10_000  # of a kind and day: one domain of many names is no more

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
    """A report, and where it goes."""

    report: Report
    places: Places


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
        self._folder, self._reporter = folder, reporter
        self._lookup, self._post, self._clock = lookup, post, clock
        self._passed_over = passed_over
        self._dispatch = Dispatch(folder, queue, clock, bounces)
        self.make_room: Callable[[], None] = lambda: None
        """Called before a line is logged: a bar on the terminal steps aside."""

    # -- what there is ----------------------------------------------------------------------------

    def days(self, kind: str) -> list[str]:
        """Give the days that are over and have data, oldest first."""
        today = day_of(self._clock() - GRACE)
        return [day for day in self._collected(kind).days() if day < today]

    def items(self, kind: str, day: str) -> Iterator[Item]:
        """Yield what is still to be sent of a day, most messages first."""
        collected, sent = self._collected(kind), self._dispatch.sent_of(day)
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
        return asked(items, lambda item: self.places(item.subject))

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
        self._dispatch.note(done, Step("done"), sync=False)
        return [not each for each in left]

    def sweep(self) -> int:
        """Drop the data of days long gone, sent or not; give how many files."""
        before = day_of(self._clock() - KEPT_DAYS * DAY)
        dropped = sum(self._collected(kind).sweep(before) for kind in KINDS)
        return dropped + sweep_sent(self._folder, before)

    def _send_mail(self, works: Sequence[Work], crew: ThreadPoolExecutor) -> None:
        letters = [
            Letter(report.subject, places.addresses, partial(self._write, report, places))
            for report, places in works
        ]
        reports = {report.subject: report for report, _ in works}
        for letter in self._dispatch.mail(letters, crew):
            self._reported(reports[letter.subject], ",".join(letter.addresses), letter.id)

    def _write(self, report: Report, places: Places, now: float) -> bytes:
        return message(self._reporter, report, places.addresses, now)

    def _send_posts(self, works: Sequence[Work], crew: ThreadPoolExecutor) -> set[Subject]:
        """Post what goes to URIs; give what has to be tried again."""
        posts = []
        for report, places in works:
            done = self._dispatch.steps(report.subject)
            for uri in places.uris:
                if Step("posted", uri) not in done:
                    posts.append((report, uri, crew.submit(self._post, uri, report)))
        left = set()
        for report, uri, post in posts:
            fault = post.exception()
            if fault is None:
                self._dispatch.note([report.subject], Step("posted", uri))
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
