"""The queue on disk, mailtools-queue(5): commit, list, open, record, defer, settle, set aside.

The place of an entry's file is its state; each change of state is one rename within the queue:

    tmp/ID ──commit──▶ new/ID ◀──▶ wait/WHEN/ID ◀──▶ hold/ID        bad/ID        done/DAY/ID

Races, and how they end. Several programs commit at once: IDs are unique, so nobody meets. One
queue run at a time works on entries (`store.lock`), but an operator may move or remove one at any
moment: every move is of a name that may be gone, and whoever finds it gone looks once more where
it is now. A rename that a power cut undoes means an earlier attempt, never a loss; the same holds
for a `delayed` line in a journal, so these are not synced. A settled path is synced before
the entry moves, since forgetting it would deliver twice.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator

from mailtools.errors import BadEntry, Failure, NoSuchEntry, SystemTrouble
from mailtools.mail import envelope as envelopes
from mailtools.mail.dates import days_since_1970
from mailtools.mail.envelope import Envelope
from mailtools.mail.report import Report
from mailtools.store import disk, journal
from mailtools.store.entry import Entry, Place, State
from mailtools.store.entry_file import read_all, read_start
from mailtools.store.journal import HELD, RELEASED, REROUTED, Journal, Notice, Turn
from mailtools.store.queue_id import arrival, is_id, make_id

FOLDERS = ("tmp", "new", "wait", "hold", "log", "bad", "done", "history", "dest", "suppress")
SEARCHES = 10  # for entries one by one, before it is read where all of them wait
_minute = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z\Z")
_message_id = re.compile(rb"^message-id:[ \t]*(?:\n[ \t]+)?(\S+)", re.IGNORECASE | re.MULTILINE)


class EntryWriter:
    """A message on its way into the queue: nobody sees it before `commit` returns."""

    __slots__ = ("_head", "_queue", "_writer", "id")

    def __init__(self, queue: "Queue", id_: str, head: bytes) -> None:
        """Create tmp/ID and write the envelope; `Queue.begin` calls this."""
        self._queue, self.id, self._head = queue, id_, len(head)
        self._writer = disk.Writer(f"{queue.path}/tmp/{id_}")
        self._writer.write(head)

    @property
    def size(self) -> int:
        """Octets of message written so far."""
        return self._writer.size - self._head

    def write(self, data: bytes) -> None:
        """Add a piece of the message, with LF line ends; raise QueueFull or SystemTrouble."""
        self._writer.write(data)

    def commit(self, *, held: str = "") -> str:
        """Put it into new/: when this returns its ID, it survives a power cut; wake a queue run.

        With `held`, the reason, it goes into hold/ instead, until it is released.
        """
        if held:
            # The reason first, and not synced: a journal without an entry is litter.
            self._queue.note_turn(self.id, HELD, held)
            self._writer.publish(f"{self._queue.path}/hold/{self.id}")
            return self.id
        self._writer.publish(f"{self._queue.path}/new/{self.id}")
        self._queue.pull()
        return self.id

    def abort(self) -> None:
        """Throw it away; harmless when done twice, or after the commit."""
        self._writer.abort()


class Queue:
    """A queue folder. Making the object touches nothing on disk."""

    def __init__(self, path: str, *, many: bool = False) -> None:
        """Take the queue at `path`; with `many`, a great number of entries will be looked for."""
        self.path = path
        self._searches_left = SEARCHES if many else -1
        self._waits: dict[str, str] = {}
        """Where entries waited when that was last read, as a hint: the minute by ID."""

    # -- for those who put messages in ------------------------------------------------------------

    def create(self) -> None:
        """Make the folders and the trigger, where they are missing."""
        for name in FOLDERS:
            disk.make_directory(f"{self.path}/{name}", sync=True)
        disk.make_fifo(f"{self.path}/trigger")

    def begin(self, envelope: Envelope, id_: str = "") -> EntryWriter:
        """Begin an entry; its `id` is known at once. Raise QueueFull, SystemTrouble, BadEntry.

        `id_` is a fresh ID, where the message had to know it before (see `new_id`).
        """
        return EntryWriter(self, id_ or make_id(), envelopes.encode(envelope))

    def new_id(self, now: float) -> str:
        """Make an ID for an entry that is to come, and arrives at `now`."""
        return make_id(now)

    def pull(self) -> bool:
        """Wake a queue run that waits; tell whether there is one. Never blocks."""
        return disk.pull(f"{self.path}/trigger")

    # -- what there is ----------------------------------------------------------------------------

    def new(self) -> Iterator[Place]:
        """Yield what is due now, in no order."""
        return self._list("new", State.NEW)

    def held(self) -> Iterator[Place]:
        """Yield what the operator holds."""
        return self._list("hold", State.HOLD)

    def bad(self) -> Iterator[Place]:
        """Yield what was set aside."""
        return self._list("bad", State.BAD)

    def waiting(self) -> Iterator[Place]:
        """Yield what waits, earliest first; this costs what waits."""
        for minute in self.minutes():
            yield from self._list(f"wait/{minute}", State.WAIT, from_minute(minute))

    def all(self) -> Iterator[Place]:
        """Yield every entry that is not over (those that are: `store.kept`)."""
        for listing in (self.new, self.waiting, self.held, self.bad):
            yield from listing()

    def minutes(self) -> list[str]:
        """Give the minutes something is due in, earliest first: the folders of wait/."""
        return sorted(name for name in disk.names(f"{self.path}/wait") if _minute.match(name))

    def due(self, now: float) -> Iterator[Place]:
        """Yield what is due at `now`: the minutes that have come, then new/.

        The cost is what is due, and the number of minutes in wait/; not what waits in them.
        """
        for minute in self.minutes():
            if from_minute(minute) > now:
                break
            yield from self._list(f"wait/{minute}", State.WAIT, from_minute(minute))
        yield from self.new()

    def next_due(self, after: float = 0.0) -> float | None:
        """When the earliest waiting entry is due, of those due after `after`; None: nothing is."""
        for minute in self.minutes():
            if (when := from_minute(minute)) > after:
                return when
        return None

    def find(self, id_: str) -> Place | None:
        """Find an entry by its ID, wherever it is; None where there is none."""
        if not is_id(id_):
            return None
        for state in (State.NEW, State.HOLD, State.BAD):
            path = f"{self.path}/{state}/{id_}"
            if os.path.lexists(path):
                return Place(id_, path, state)
        for minute in self._likely_minutes(id_):
            path = f"{self.path}/wait/{minute}/{id_}"
            if os.path.lexists(path):
                return Place(id_, path, State.WAIT, from_minute(minute))
        return None

    def open(self, where: Place | str) -> Entry:
        """Read an entry's envelope and journal, by Place or ID.

        Raise NoSuchEntry when it is gone, BadEntry when it is no entry (then see `set_aside`).
        """
        place = self.find(where) if isinstance(where, str) else where
        if place is None:
            raise NoSuchEntry(f"No such entry in the queue: {where}")
        try:
            arrived = arrival(place.id)
        except ValueError:
            raise BadEntry(f"Not the name of a queue entry: {place.id!r}") from None
        envelope, offset, start, size = read_start(place.path)
        end = start.find(b"\n\n")
        match = _message_id.search(start, 0, end if end >= 0 else len(start))
        return Entry(
            place,
            arrived,
            envelope,
            offset,
            size,
            message_id=match[1].decode("utf-8", "replace") if match else "",
            journal=self.journal(place.id),
        )

    def journal(self, id_: str) -> Journal:
        """Read the journal of an entry; an empty one where there is none."""
        try:
            fd = os.open(f"{self.path}/log/{id_}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return Journal()
        except OSError as error:
            raise disk.trouble(error, "read the journal of", id_) from error
        try:
            data = read_all(fd)
        except OSError as error:
            raise disk.trouble(error, "read the journal of", id_) from error
        finally:
            os.close(fd)
        return journal.decode(data)

    # -- for the queue run ------------------------------------------------------------------------

    def record(
        self, entry: Entry, reports: Iterable[Report], now: float, *, sync: bool = True
    ) -> None:
        """Add reports to the journal, and write what it holds beyond its file.

        Synced when this returns, if one of them settles a path; without `sync` by the caller.
        """
        known = entry.journal
        for report in reports:
            known.add(now, report)
        fresh = known.attempts[known.written :]
        if fresh:
            sync = sync and any(report.settled for _, report in fresh)
            self._append(entry.id, known, journal.encode(fresh), sync=sync)
            known.written = len(known.attempts)

    def record_notice(self, entry: Entry, action: str, dsn: str, now: float) -> None:
        """Write to the journal that a DSN was committed, synced: it is sent once."""
        self.record_notices(entry, [(action, dsn)], now)

    def record_notices(self, entry: Entry, sent: Iterable[tuple[str, str]], now: float) -> None:
        """Write to the journal which DSNs were committed, action and ID of each, synced."""
        notices = [Notice(now, action, dsn) for action, dsn in sent]
        for notice in notices:
            entry.journal.add_notice(notice)  # first: should the disk refuse, none is sent again
        lines = b"".join(notice.line() for notice in notices)
        self._append(entry.id, entry.journal, lines, sync=True)

    def defer(self, entry: Entry, when: float) -> float:
        """Move an entry to the minute of `when`, rounded up; give that minute.

        An entry that an operator moved meanwhile stays where he put it; raise NoSuchEntry when it
        was removed.
        """
        minute = to_minute(when)
        target = f"{self.path}/wait/{minute}/{entry.id}"
        self._move(entry.id, entry.path, target)
        return from_minute(minute)

    def settle(self, entry: Entry) -> None:
        """Remove a finished entry, then its journal: the removal is the record."""
        if not disk.remove(entry.path):
            place = self.find(entry.id)
            if place:
                disk.remove(place.path)
        if entry.journal.on_disk:
            disk.remove(f"{self.path}/log/{entry.id}")

    def set_aside(self, place: Place) -> None:
        """Move what cannot be read to bad/."""
        try:
            disk.move(place.path, f"{self.path}/bad/{place.id}", sync=True)
        except FileNotFoundError:
            if os.path.lexists(place.path):
                raise SystemTrouble(detail=f"no folder {self.path}/bad") from None

    def tidy(self, now: float) -> None:
        """Remove the folders of minutes that have come and are empty."""
        for minute in self.minutes():
            if from_minute(minute) > now:
                break
            disk.remove_directory(f"{self.path}/wait/{minute}")

    # -- for the operator -------------------------------------------------------------------------

    def hold(self, id_: str, why: str = "the operator") -> None:
        """Keep an entry from being tried until it is released; `why` is for people."""
        if self._need(id_).state is not State.HOLD:
            self.note_turn(id_, HELD, why)
        self._change(id_, State.HOLD)

    def release(self, id_: str) -> None:
        """Let a held entry go: it is due now, and hold rules leave it alone from now on."""
        if self._need(id_).state is State.HOLD:
            # Not synced: should it be lost, the entry is held once more, and nothing else.
            self.note_turn(id_, RELEASED)
        self._change(id_, State.NEW)

    def reroute(self, id_: str, way: str) -> None:
        """Let an entry go by `way`, a route, from now on; "": the usual way. Synced."""
        self._need(id_)
        self.note_turn(id_, REROUTED, way, sync=True)

    def note_turn(self, id_: str, word: str, why: str = "", *, sync: bool = False) -> None:
        """Write to the journal that an entry is `held`, `released` or `rerouted`."""
        self._append(id_, self.journal(id_), Turn(time.time(), word, why).line(), sync=sync)

    def retry(self, id_: str) -> None:
        """Make a waiting entry due now."""
        self._change(id_, State.NEW)

    def remove(self, id_: str) -> None:
        """Remove an entry and its journal, without any DSN; raise NoSuchEntry.

        The name in the entry's folder is gone for good when the caller has synced that.
        """
        disk.remove(self._need(id_).path)
        disk.remove(f"{self.path}/log/{id_}")

    # -- how ------------------------------------------------------------------------------------

    def _likely_minutes(self, id_: str) -> Iterator[str]:
        """Yield the minutes an entry may wait in, the likely one first."""
        self._searches_left -= 1
        if not self._searches_left:
            # To look through hundreds of minutes for each of thousands would take its time.
            names = {minute: disk.names(f"{self.path}/wait/{minute}") for minute in self.minutes()}
            self._waits = {name: minute for minute, found in names.items() for name in found}
        if id_ in self._waits:
            yield self._waits[id_]
        yield from self.minutes()

    def _list(self, folder: str, state: State, due: float = 0.0) -> Iterator[Place]:
        base = f"{self.path}/{folder}"
        for name in disk.names(base):
            if not name.startswith("."):
                yield Place(name, f"{base}/{name}", state, due)

    def _need(self, id_: str) -> Place:
        place = self.find(id_)
        if place is None:
            raise NoSuchEntry(f"No such entry in the queue: {id_}")
        return place

    def _change(self, id_: str, state: State) -> None:
        place = self._need(id_)
        if place.state != state:
            self._move(id_, place.path, f"{self.path}/{state}/{id_}")
        if state is State.NEW:
            self.pull()

    def _move(self, id_: str, source: str, target: str) -> None:
        for _ in range(3):
            try:
                disk.move(source, target)
                return
            except FileNotFoundError:
                if not os.path.lexists(source):
                    if self.find(id_) is None:
                        raise NoSuchEntry(f"No such entry in the queue: {id_}") from None
                    return
                # Synced: the new folder must not vanish with what is renamed into it.
                disk.make_directory(os.path.dirname(target), sync=True)
        raise SystemTrouble(detail=f"cannot rename {source} to {target}")

    def _append(self, id_: str, about: Journal, data: bytes, *, sync: bool) -> None:
        path = f"{self.path}/log/{id_}"
        if about.torn:
            data, about.torn = b"\n" + data, False
        known, about.on_disk = about.on_disk, True
        try:
            disk.append(path, data, sync=sync)
        except Failure:
            about.torn = True  # a full disk may have taken half of it
            raise
        if sync and known:
            # An earlier line may have created the file without syncing its name.
            disk.sync_directory(f"{self.path}/log")


def to_minute(when: float) -> str:
    """Name the first UTC minute that is not before `when`."""
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(-(-when // 60) * 60))


def from_minute(minute: str) -> float:
    """When a minute begins, in seconds since 1970."""
    year, month, day = int(minute[:4]), int(minute[5:7]), int(minute[8:10])
    days = days_since_1970((year, month, day))
    return float(days * 86400 + int(minute[11:13]) * 3600 + int(minute[14:16]) * 60)
