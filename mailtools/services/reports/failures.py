"""Failure reports: what was noted of messages that failed, sent soon (RFC 9991, RFC 6591).

Messages that failed alike, from one client and in one author's name, are one report with their
number (RFC 9991 8.1). Of a domain, with all below it, few reports go out in a day, and none to who
did not agree. What is noted is set aside first, file by file; a file goes when all in it is done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mailtools import log
from mailtools.errors import DnsTrouble
from mailtools.services.reports.compose import DAY, FAILURE, Reporter, Subject
from mailtools.services.reports.dispatch import BATCH, COMMITTED, Dispatch, Letter, asked
from mailtools.services.reports.failure_message import Incident, Told, read_incident, write_message
from mailtools.store import disk
from mailtools.store.report_data import Collected, Step, day_of, family
from mailtools.trust.lookup import Lookup, is_name
from mailtools.trust.report_address import Places, failure_places

if TYPE_CHECKING:
    from mailtools.store.queue import Queue

OF_DOMAIN_MOST = 50  # reports in a UTC day on a domain and all below it
OF_DAY_MOST = 2000  # reports in a UTC day
KEPT_DAYS = 1  # what could not be sent until then is dropped: it is old news
KEY_SIZE = 32  # octets


class Failed(NamedTuple):
    """Messages that failed alike."""

    subject: Subject
    """Its `domain` is the policy domain, a slash and a digest: what is noted of it is its own."""
    domain: str
    incident: Incident
    """The first of them."""
    number: int


class FailureSending:
    """Sends what was noted of failures."""

    def __init__(
        self,
        folder: str,
        queue: Queue,
        reporter: Reporter,
        lookup: Lookup,
        *,
        clock: Callable[[], float],
        bounces: str = "",
        passed_over: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Take what Sending takes."""
        self._folder, self._reporter, self._lookup = folder, reporter, lookup
        self._clock, self._passed_over = clock, passed_over
        self._collected = Collected(folder, FAILURE, 0)
        self._dispatch = Dispatch(folder, queue, clock, bounces)
        self._sent_today: Counter[str] = Counter()

    def waiting(self) -> list[Failed]:
        """Give what a run would send now."""
        names = [*self._collected.taken(), *self._collected.untaken()]
        return [each for name in names for each in self._alike(name)]

    def places(self, failed: Failed) -> Places:
        """Find where a report goes; raise DnsTrouble."""
        return failure_places(failed.domain, self._lookup)

    def message(self, failed: Failed, places: Places, now: float) -> bytes:
        """Write the message of a report; raise DnsTrouble, SystemTrouble."""
        spf = failed.incident.spf
        texts = self._lookup(spf, "TXT").records if spf else ()
        record = next((text for text in texts if text.lower().startswith("v=spf1")), "")
        told = Told(_id(failed), failed.domain, failed.incident, failed.number, record)
        return write_message(self._reporter, told, to=places.addresses, key=self._key(), now=now)

    def send(self) -> bool:
        """Send all that waits; False where something has to be tried again.

        Raises QueueFull and SystemTrouble.
        """
        self._collected.take(self._clock())
        well, before = True, day_of(self._clock() - KEPT_DAYS * DAY)
        for name in self._collected.taken():
            done = self._send_file(name)
            if done or name[:10] < before:
                self._collected.drop(name)
            well = well and done
        return well

    def _send_file(self, name: str) -> bool:
        day = name[:10]
        self._sent_today = Counter(
            family(domain.partition("/")[0])
            for kind, domain, step in self._dispatch.sent_of(day).all_steps()
            if kind == FAILURE and step.word == "queued"
        )
        left = False
        waiting = [each for each in self._alike(name) if not self._is_done(each)]
        answers = asked(waiting, self.places)
        with ThreadPoolExecutor(COMMITTED) as crew:
            while batch := [each for each, _ in zip(answers, range(BATCH), strict=False)]:
                letters, done = [], []
                for failed, found in batch:
                    if isinstance(found, DnsTrouble):
                        self._unreported(failed, found.text)
                        left = True
                        continue
                    done.append(failed.subject)
                    if self._goes(failed, found):
                        write = partial(self._written, failed, found)
                        letters.append(Letter(failed.subject, found.addresses, write))
                self._mail(letters, {each.subject: each for each, _ in batch}, crew)
                self._dispatch.note(done, Step("done"), sync=False)
        return not left

    def _goes(self, failed: Failed, places: Places) -> bool:
        for fault in places.faults:
            self._unreported(failed, fault)
        if not places.addresses:
            return False
        home, sent = family(failed.domain), self._sent_today
        if sent[home] >= OF_DOMAIN_MOST or sent.total() >= OF_DAY_MOST:
            self._unreported(failed, "too many reports")
            return False
        sent[home] += 1
        return True

    def _written(self, failed: Failed, places: Places, now: float) -> bytes:
        try:
            return self.message(failed, places, now)
        except DnsTrouble:  # its SPF record can be left out
            bare = failed._replace(incident=failed.incident._replace(spf=""))
            return self.message(bare, places, now)

    def _mail(
        self, letters: Sequence[Letter], about: dict[Subject, Failed], crew: ThreadPoolExecutor
    ) -> None:
        if letters:
            self._key()  # made before threads want it
        for letter in self._dispatch.mail(letters, crew):
            failed = about[letter.subject]
            log.event(
                "reported",
                id=letter.id,
                kind=FAILURE,
                domain=failed.domain,
                day=failed.subject.day,
                to=",".join(letter.addresses),
                of=failed.number,
                report=f"{_id(failed)}@{self._reporter.me}",
            )

    def _is_done(self, failed: Failed) -> bool:
        return any(step.word in ("done", "queued") for step in self._dispatch.steps(failed.subject))

    def _alike(self, name: str) -> Iterator[Failed]:
        """Yield what a file has, those that failed alike together, in their order."""
        groups: dict[tuple[str, ...], Failed] = {}
        day = name[:10]
        for domain, facts in self._collected.lines(name).items():
            if not is_name(domain) or self._passed_over(domain):
                continue
            for texts in facts.values():
                for text, number in texts.items():
                    incident = read_incident(text)
                    if incident is None:
                        continue
                    key = (domain, *incident.likeness)
                    known = groups.get(key)
                    if known is not None:
                        groups[key] = known._replace(number=known.number + number)
                        continue
                    digest = hashlib.sha256(json.dumps([name, *key]).encode()).hexdigest()[:20]
                    subject = Subject(FAILURE, f"{domain}/{digest}", day)
                    groups[key] = Failed(subject, domain, incident, number)
        yield from groups.values()

    def _key(self) -> bytes:
        """Give the key by which local-parts are hidden; it is made where it is missing."""
        path = f"{self._folder}/redaction-key"
        try:
            with open(path, "rb") as file:
                key = file.read(KEY_SIZE)
        except FileNotFoundError:
            key = b""
        except OSError as error:
            raise disk.trouble(error, "read", path) from error
        if len(key) < KEY_SIZE:
            key = os.urandom(KEY_SIZE)
            disk.replace(path, key)
        return key

    def _unreported(self, failed: Failed, reason: str) -> None:
        day = failed.subject.day
        log.event("unreported", kind=FAILURE, domain=failed.domain, day=day, reason=reason)


def _id(failed: Failed) -> str:
    """Give what stands before the @ of a report's Message-ID: the same if it is made again."""
    domain, _, digest = failed.subject.domain.partition("/")
    return f"{domain}.{digest}"
