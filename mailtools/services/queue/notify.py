"""Telling senders what became of their messages: which DSNs are due, and their commit."""

import os

from mailtools import log
from mailtools.errors import NoSuchEntry
from mailtools.mail import dsn
from mailtools.mail.dsn import Notification
from mailtools.mail.dsn_wishes import wanted
from mailtools.mail.report import DELAYED, DELIVERED, FAILED, Report
from mailtools.mail.verp import XVERP, personal
from mailtools.store.entry import Entry
from mailtools.store.queue import Queue
from mailtools.store.tally import Tally

BOUNCE = "bounce"
"""The client of a DSN of ours; when it fails, the postmaster hears of it."""
DOUBLE_BOUNCE = "double-bounce"
"""The client of what the postmaster is told; when it fails, nobody hears of it."""
DOUBLES_MOST = 20  # to the postmaster in an hour

Told = list[tuple[float, Report]]


class Notifier:
    """Writes DSNs into the queue."""

    def __init__(self, queue: Queue, me: str, postmaster: str) -> None:
        """`me` is the reporting host; `postmaster` is told of DSNs that could not be delivered."""
        self._queue, self._me, self._postmaster = queue, me, postmaster
        self._doubles = Tally(f"{os.path.dirname(queue.path)}/double-bounces")
        self._one_by_one: dict[tuple[str, str, str], str] = {}

    def due(self, entry: Entry) -> Told:
        """Give the settled reports that somebody is to be told of."""
        untold = entry.journal.untold
        if not untold:
            return []
        if not entry.envelope.reverse_path:
            # RFC 5321 4.5.5: never to the null reverse-path.
            failed = [item for item in untold if item[1].action == FAILED]
            return failed if entry.envelope.client == BOUNCE else []
        paths = {path.address: path for path in entry.envelope.forward_paths}
        by = entry.envelope.parameters.get("BY", "")
        return [
            (when, report)
            for when, report in untold
            if report.forward_path in paths and wanted(report, paths[report.forward_path], by)
        ]

    def tell(self, entry: Entry, told: Told, now: float) -> None:
        """Commit one DSN for settled reports, which the journal holds; then note it there."""
        action = FAILED if any(report.action == FAILED for _, report in told) else DELIVERED
        if entry.envelope.reverse_path:
            if XVERP in entry.envelope.parameters:
                self._tell_each(entry, told, now)
                return
            id_ = self._commit(entry, entry.envelope.reverse_path, told, now, client=BOUNCE)
        elif self._may_double(now):
            id_ = self._commit(entry, self._postmaster, told, now, client=DOUBLE_BOUNCE)
        else:
            log.event("withheld", id=entry.id, to=self._postmaster, most=DOUBLES_MOST)
            return
        self._queue.record_notice(entry, action, id_, now)

    def warn(self, entry: Entry, now: float, until: float) -> None:
        """Tell the sender once that a message is delayed, where it wants to know."""
        to = entry.envelope.reverse_path
        if not to or entry.journal.told(DELAYED):
            return
        told = [
            (now, entry.journal.last[path.address])
            for path in entry.pending
            if path.address in entry.journal.last and wanted(entry.journal.last[path.address], path)
        ]
        if told and XVERP in entry.envelope.parameters:
            self._tell_each(entry, told, now, until)
        elif told:
            id_ = self._commit(entry, to, told, now, client=BOUNCE, until=until)
            self._queue.record_notice(entry, DELAYED, id_, now)

    def _tell_each(self, entry: Entry, told: Told, now: float, until: float = 0.0) -> None:
        """Commit a DSN for each recipient, to the reverse-path it had; then note them all.

        Noted at once, since a crash between two must rather tell twice than not at all.
        """
        ids: dict[tuple[str, str, str], str] = {}
        for when, report in told:
            key = (entry.id, report.action, report.forward_path)
            if key not in self._one_by_one:  # else the disk refused one of the others meanwhile
                to = personal(entry.envelope, report.forward_path)
                id_ = self._commit(entry, to, [(when, report)], now, client=BOUNCE, until=until)
                self._one_by_one[key] = id_
            ids[key] = self._one_by_one[key]
        for key in ids:
            del self._one_by_one[key]
        sent = [
            (action if action in (FAILED, DELAYED) else DELIVERED, id_)
            for (_, action, _), id_ in ids.items()
        ]
        self._queue.record_notices(entry, sent, now)

    def _may_double(self, now: float) -> bool:
        # Counted on disk: a queue run may be one of cron's, with nothing to remember.
        return self._doubles.add(self._postmaster, 1, now) <= DOUBLES_MOST

    def _commit(
        self, entry: Entry, to: str, told: Told, now: float, *, client: str, until: float = 0.0
    ) -> str:
        try:
            message = entry.message()
        except NoSuchEntry:  # an operator moved it meanwhile
            place = self._queue.find(entry.id)
            message = self._queue.open(place).message() if place else b""
        id_ = self._queue.new_id(now)
        notification = Notification(
            self._me, id_, now, to, entry.envelope, entry.arrival, tuple(told), message, until
        )
        body = dsn.compose(notification)
        writer = self._queue.begin(dsn.envelope_for(notification, body, client), id_)
        try:
            writer.write(body)
            writer.commit()
        except BaseException:
            writer.abort()
            raise
        actions = sorted({report.action for _, report in told})
        log.event("notified", id=entry.id, of=",".join(actions), to=to, dsn=id_)
        return id_
