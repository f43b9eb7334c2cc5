"""Reports on their way into the queue: each once, wherever a run is cut off; many at a time.

The queue ID of a report is noted before its entry is committed, and that it is queued after; a run
that finds the first note alone looks for the entry in the queue and, since it may be delivered by
then, in the history. A batch costs two synced notes, and each of its entries its own syncs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mailtools.errors import DnsTrouble
from mailtools.mail.envelope import REPORT, SUBMITTED, Envelope, ForwardPath
from mailtools.store.history import History
from mailtools.store.report_data import SentDay, Step
from mailtools.trust.report_address import Places

if TYPE_CHECKING:
    from mailtools.services.reports.compose import Subject
    from mailtools.store.queue import Queue

ASKED = 32  # about so many reports DNS is asked at a time
BATCH = 64  # reports that are noted together
COMMITTED = 16  # of them that are written at a time


T = TypeVar("T")
Found = Places | DnsTrouble
"""Where a report goes, or why that is not known."""


def asked(items: Sequence[T], find: Callable[[T], Places]) -> Iterator[tuple[T, Found]]:
    """Find where reports go, many at a time; yield them in their order."""

    def ask(item: T) -> Found:
        try:
            return find(item)
        except DnsTrouble as trouble:
            return trouble

    crew = ThreadPoolExecutor(ASKED)
    try:
        yield from zip(items, crew.map(ask, items), strict=True)
    finally:
        crew.shutdown(cancel_futures=True)


class Letter(NamedTuple):
    """A message to be queued."""

    subject: Subject
    addresses: tuple[str, ...]
    write: Callable[[float], bytes]
    """Gives the message, of the time given."""
    id: str = ""
    there: bool = False
    """It is in the queue by now, as an earlier run left it."""


class Dispatch:
    """Queues letters, and knows what was done before."""

    def __init__(
        self, folder: str, queue: Queue, clock: Callable[[], float], bounces: str = ""
    ) -> None:
        """`folder` is reports/ of the spool; `bounces` is the reverse-path."""
        self._folder, self._queue, self._clock, self._bounces = folder, queue, clock, bounces
        self._sent: dict[str, SentDay] = {}

    def sent_of(self, day: str) -> SentDay:
        """Give what was sent of a day."""
        if day not in self._sent:
            self._sent[day] = SentDay(self._folder, day)
        return self._sent[day]

    def steps(self, subject: Subject) -> list[Step]:
        """Give the steps taken for a report."""
        return self.sent_of(subject.day).steps(subject.kind, subject.domain)

    def note(self, subjects: Sequence[Subject], step: Step, *, sync: bool = True) -> None:
        """Note a step of some reports of a day."""
        if subjects:
            steps = [(subject.kind, subject.domain, step) for subject in subjects]
            self.sent_of(subjects[0].day).note_all(steps, sync=sync)

    def mail(self, letters: Sequence[Letter], crew: ThreadPoolExecutor) -> list[Letter]:
        """Queue letters of one day; give those that were not queued before, with their IDs.

        Raises QueueFull and SystemTrouble; what is queued by then the next run finds by its ID.
        """
        now, batch = self._clock(), []
        for letter in letters:
            steps = self.steps(letter.subject)
            if any(step.word == "queued" for step in steps):
                continue
            id_ = self._queued(steps)
            batch.append(letter._replace(id=id_ or self._queue.new_id(now), there=bool(id_)))
        self._note_ids([letter for letter in batch if not letter.there], "begun")
        commits: list[Future[None]] = [
            crew.submit(self._commit, letter, now) for letter in batch if not letter.there
        ]
        faults = [fault for commit in commits if (fault := commit.exception())]
        if faults:
            raise faults[0]
        self._note_ids(batch, "queued")
        return batch

    def _commit(self, letter: Letter, now: float) -> None:
        notify = {} if self._bounces else {"NOTIFY": "NEVER"}
        paths = tuple(ForwardPath(address, notify) for address in letter.addresses)
        envelope = Envelope(self._bounces, paths, {SUBMITTED: ""}, REPORT)
        writer = self._queue.begin(envelope, letter.id)
        try:
            writer.write(letter.write(now))
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

    def _note_ids(self, letters: Sequence[Letter], word: str) -> None:
        if letters:
            steps = [
                (letter.subject.kind, letter.subject.domain, Step(word, letter.id))
                for letter in letters
            ]
            self.sent_of(letters[0].subject.day).note_all(steps)
