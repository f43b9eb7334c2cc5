"""What an operator does to entries: hold, release, retry, reroute, expire, remove, show, replay.

And to addresses that are suppressed: let them be tried again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from mailtools import log
from mailtools.errors import BadEntry, Failure, NoSuchEntry, SystemTrouble
from mailtools.mail.dates import format_date_field
from mailtools.mail.envelope import ForwardPath
from mailtools.mail.report import FAILED, Report
from mailtools.services.access.become import become_owner
from mailtools.services.listing.queue_lines import EMPTY
from mailtools.services.listing.queue_view import need_queue
from mailtools.services.listing.requeue import try_now
from mailtools.store import disk, history
from mailtools.store.destinations import Destinations
from mailtools.store.entry import Place, State
from mailtools.store.entry_file import read_from, read_head
from mailtools.store.history import History
from mailtools.store.journal import COPIED, REPLAYED, Journal
from mailtools.store.kept import Kept
from mailtools.store.queue import Queue
from mailtools.store.queue_id import is_id
from mailtools.store.suppressed import Suppressed

CHUNK = 65536
RELEASES = ("HOLDFOR", "HOLDUNTIL")  # RFC 4865
UNSYNCED_MOST = 1000  # files, before they are synced


class QueueEditor:
    """The queue, for an operator; root acts as its owner, so that no file changes hands.

    What is done to an entry survives a power cut when `finish` returns, or before: to sync a
    thousand together costs little more than to sync one.
    """

    def __init__(self, path: str, me: str = "localhost") -> None:
        """Take the queue at `path`; `me` is what this host is called in trace fields."""
        self._me = me
        self._unsynced: list[str] = []
        self._folders: set[str] = set()
        need_queue(path)
        become_owner(path)
        self._queue = Queue(path, many=True)
        self._kept = Kept(self._queue)
        self._destinations = Destinations(f"{path}/dest")

    def hold(self, id_: str) -> None:
        """Keep an entry from being tried until it is released."""
        self._queue.hold(self._readable(id_))

    def release(self, id_: str) -> None:
        """Let a held entry go; one that is not held stays as it is."""
        if self._place(id_).state is State.HOLD:
            self._queue.release(id_)

    def retry(self, id_: str) -> None:
        """Make a waiting entry due now; a held one stays held."""
        place = self._place(self._readable(id_))
        if place.state is State.WAIT:
            try_now(self._queue, place, self._destinations)

    def reroute(self, id_: str, way: str) -> None:
        """Let an entry go by `way`, written as in `routes`, from now on; "": the usual way.

        One that waits is due now; a held one stays held. It ends on disk with the entry.
        """
        self._queue.reroute(self._readable(id_), way)
        place = self._place(id_)
        if place.state is State.WAIT:
            try_now(self._queue, place, self._destinations)

    def expire(self, id_: str) -> None:
        """Give an entry up: its pending paths fail, and its sender is told by the next queue run.

        For one that a queue run is delivering at this moment, what it reports comes first or last;
        at worst a path that was delivered is said to have failed.
        """
        entry = self._queue.open(self._readable(id_))
        text = "Given up by the postmaster before its time was over"
        reports = [Report(path.address, FAILED, "5.4.7", text) for path in entry.pending]
        self._queue.record(entry, reports, time.time(), sync=False)
        self._unsynced.append(f"{self._queue.path}/log/{id_}")
        self._folders.add(f"{self._queue.path}/log")
        self._queue.retry(id_)
        if len(self._unsynced) >= UNSYNCED_MOST:
            self.finish()

    def remove(self, id_: str) -> None:
        """Remove an entry; nobody is told, but the history says so. One that is over goes, too."""
        now, place = time.time(), self._anywhere(id_)
        if place.state is State.DONE:
            self._kept.remove(id_)
            return
        try:
            lines = history.lines_of_removed(self._queue.open(place), now)
        except BadEntry:
            lines = b""
        self._queue.remove(id_)
        self._folders.add(os.path.dirname(place.path))
        try:
            if lines:
                History(f"{self._queue.path}/history").append(lines, now)
        except Failure as failure:  # on a full disk it is removed all the same
            log.event("trouble", id=id_, detail=failure.detail or failure.text)

    def show(self, id_: str) -> Iterator[bytes]:
        """Yield an entry's file as it is, and its journal behind it."""
        place = self._anywhere(id_)
        yield from _pieces(place.path)
        try:
            journal = read_from(f"{self._queue.path}/log/{id_}", 0)
        except NoSuchEntry:
            return
        yield b"\n-- journal --\n" + journal

    def replay(self, source: str, *, failed: bool = False, to: Sequence[str] = ()) -> str:
        """Commit a copy of an entry, as if it came now; give the new ID.

        `source` is an ID, of one that is over and kept, too; or, with a `/` in it, the path of an
        entry's file from anywhere. It goes to all forward-paths, to those it `failed` for, or to
        other addresses, `to`. Its first trace field and its journal say what it is.
        """
        path = source if "/" in source else self._anywhere(source).path
        try:
            envelope, offset = read_head(path)
        except NoSuchEntry:
            raise NoSuchEntry(f"There is no file {path}") from None
        old = os.path.basename(path)
        journal = self._queue.journal(old) if is_id(old) else Journal()
        paths = tuple(ForwardPath(address) for address in to) or envelope.forward_paths
        if failed:
            paths = tuple(path for path in paths if journal.failed(path.address))
            if not paths:
                raise BadEntry(f"{source} failed for nobody, as far as its journal says")
        # Its sender's wish to wait was met, or an operator wants it now.
        parameters = {k: v for k, v in envelope.parameters.items() if k not in RELEASES}
        writer = self._queue.begin(envelope._replace(forward_paths=paths, parameters=parameters))
        try:
            writer.write(self._trace(old, writer.id))
            for piece in _pieces(path, offset):
                writer.write(piece)
            self._queue.note_turn(writer.id, REPLAYED, old)
            new = writer.commit()
        except BaseException:
            writer.abort()
            raise
        if path != source:
            self._note_copy(old, new)
        return new

    def _note_copy(self, old: str, new: str) -> None:
        """Write down that a copy was made, for mail-why; it was, whatever becomes of the note."""
        try:
            self._queue.note_turn(old, COPIED, new)
        except Failure as failure:
            log.event("trouble", id=old, detail=failure.detail or failure.text)

    def _trace(self, old: str, new: str) -> bytes:
        """Write the mark of a copy, which also counts as a hop, so that copies of copies end."""
        now = time.time()
        date = format_date_field(now, time.localtime(now).tm_gmtoff // 60)
        what = f"replay of {old}" if is_id(old) else "replay of a file"
        field = f"Received: by {self._me} (mailtools, {what})\n\twith local id {new}; {date}\n"
        return field.encode()

    def unsuppress(self, address: str) -> None:
        """Let an address be tried again that another host refused as unknown."""
        if not Suppressed(f"{self._queue.path}/suppress").lift(address):
            raise NoSuchEntry(f"This address is not suppressed: {address}")

    def finish(self) -> None:
        """Sync what was done; raise a Failure."""
        files, self._unsynced = self._unsynced, []
        folders, self._folders = self._folders, set()
        for path in files:
            disk.sync_file(path)
        for path in folders:
            disk.sync_directory(path)

    def _place(self, id_: str) -> Place:
        place = self._queue.find(id_)
        if place is None and self._kept.find(id_):
            raise NoSuchEntry(f"{id_} is over: queue-edit replay sends a copy of it")
        if place is None:
            raise NoSuchEntry(f"No such entry in the queue: {id_}")
        return place

    def _anywhere(self, id_: str) -> Place:
        return self._queue.find(id_) or self._kept.find(id_) or self._place(id_)

    def _readable(self, id_: str) -> str:
        if self._place(id_).state is State.BAD:
            raise BadEntry(f"{id_} cannot be read; mend it and replay it, or remove it")
        return id_


def each(ids: Iterable[str], action: Callable[[str], None]) -> list[Failure]:
    """Do something to each entry; give what failed, so that one fault does not stop the rest."""
    failures = []
    for id_ in ids:
        try:
            action(id_)
        except Failure as failure:
            failures.append(failure)
    return failures


def ids_of(lines: Iterable[str]) -> Iterator[str]:
    """Read IDs: the first word of each line, without the marks, head and foot of mailq.

    Of a line of JSON, from queue-list, mailq or mail-why, it is the member that says so.
    """
    for line in lines:
        words = line.split()
        if line[:1] == "{":
            yield _id_in(line)
            continue
        if words and line[0] not in " \t-" and line.rstrip("\n") != EMPTY:
            yield words[0].rstrip("*!#")


def _id_in(line: str) -> str:
    import json  # only for those who pipe it

    try:
        found = json.loads(line)
    except ValueError:
        return line.strip()  # which is no ID, and said so
    return str(found.get("queue_id") or found.get("id"))


def _pieces(path: str, offset: int = 0) -> Iterator[bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoSuchEntry(f"There is no file {path}") from None
    except OSError as error:
        raise SystemTrouble(detail=f"cannot read {path}: {error.strerror}") from error
    try:
        os.lseek(fd, offset, os.SEEK_SET)
        while piece := os.read(fd, CHUNK):
            yield piece
    finally:
        os.close(fd)
