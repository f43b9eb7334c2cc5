"""Litter of crashes, and when it goes: the crash table of mailtools-queue(5)."""

import os
import time
from pathlib import Path

import pytest

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import Report
from mailtools.store.destinations import Destinations
from mailtools.store.history import History, lines_of
from mailtools.store.queue import Queue
from mailtools.store.queue_id import make_id
from mailtools.store.queue_sweep import sweep

DAY = 86400.0


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    made = Queue(str(tmp_path / "queue"))
    made.create()
    return made


def put(queue: Queue) -> str:
    writer = queue.begin(Envelope("a@example.org", (ForwardPath("b@example.net"),)))
    writer.write(b"Subject: x\n\n")
    return writer.commit()


def make_old(path: Path, seconds: float) -> Path:
    if not path.exists():
        path.write_bytes(b"")
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def test_what_was_never_finished_goes_after_36_hours(queue: Queue) -> None:
    old = make_old(Path(queue.path, "tmp", make_id()), 36 * 3600 + 60)
    young = make_old(Path(queue.path, "tmp", make_id()), 36 * 3600 - 60)
    assert sweep(queue, time.time()) == [str(old)]
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize("where", ["new", "wait", "hold", "bad"])
def test_a_journal_stays_while_its_entry_is_anywhere(queue: Queue, where: str) -> None:
    id_ = put(queue)
    entry = queue.open(id_)
    queue.record(entry, [Report("b@example.net", "delayed", "4.4.1", "no")], 1.0)
    if where == "wait":
        queue.defer(entry, time.time() + 1000)
    elif where == "hold":
        queue.hold(id_)
    elif where == "bad":
        (place,) = queue.new()
        queue.set_aside(place)
    journal = make_old(Path(queue.path, "log", id_), 100 * DAY)
    assert sweep(queue, time.time()) == []
    assert journal.exists()


def test_a_journal_alone_is_litter(queue: Queue) -> None:
    old = make_old(Path(queue.path, "log", make_id()), 2 * 3600)
    young = make_old(Path(queue.path, "log", make_id()), 60)
    assert sweep(queue, time.time()) == [str(old)]
    assert young.exists()


def test_entries_are_never_swept(queue: Queue) -> None:
    for folder in ("new", "hold", "bad"):
        make_old(Path(queue.path, folder, make_id()), 1000 * DAY)
    assert sweep(queue, time.time()) == []
    assert len(list(queue.all())) == 3


def test_history_is_kept_for_its_days(tmp_path: Path) -> None:
    history = History(str(tmp_path))
    now = 1795460940.0  # 2026-11-23
    assert history.begin_day(now)
    assert not history.begin_day(now)
    for back in range(1, 20):
        history.append(b"x\n", now - back * DAY)
    assert history.sweep(now, 14 * DAY) == 5
    assert history.days()[0] == "2026-11-09"
    assert history.days()[-1] == "2026-11-23"


def test_history_tells_what_became_of_a_message(queue: Queue) -> None:
    id_ = put(queue)
    entry = queue.open(id_)
    entry.journal.add(10.0, Report("b@example.net", "delayed", "4.4.1", "no\tanswer"))
    entry.journal.add(20.0, Report("b@example.net", "relayed", "2.0.0", "mx said 250 ok"))
    history = History(f"{queue.path}/history")
    history.append(lines_of(entry), 30.0)
    history.append(b"torn", 30.0)
    first, *others = history.read("1970-01-01")
    assert (first.id, first.word) == (id_, "from")
    assert first.fields == ("a@example.org", "12", "", "")
    assert [(r.time, r.word, *r.fields) for r in others] == [
        (10.0, "delayed", "b@example.net", "4.4.1", "no answer"),
        (20.0, "relayed", "b@example.net", "2.0.0", "mx said 250 ok"),
    ]
    assert list(history.read("1971-01-01")) == []


def test_destinations_are_remembered_by_the_next_run(tmp_path: Path) -> None:
    first = Destinations(str(tmp_path))
    assert first.silent("example.net", 100.0) is None
    first.failed("example.net", 400.0, "4.4.1", "No answer")
    first.failed("[IPv6:2001:db8::1]", 400.0, "4.4.1", "No answer")
    first.failed("../x/é", 400.0, "4.4.1", "No answer")
    second = Destinations(str(tmp_path))
    for name in ("example.net", "[IPv6:2001:db8::1]", "../x/é"):
        silence = second.silent(name, 399.0)
        assert silence
        assert (silence.until, silence.failures) == (400.0, 1)
        assert second.silent(name, 400.0) is None
    second.failed("example.net", 1000.0, "4.4.1", "No answer")
    assert Destinations(str(tmp_path)).failures("example.net") == 2
    second.answered("example.net")
    assert Destinations(str(tmp_path)).failures("example.net") == 0


def test_removing_the_file_makes_a_destination_tried_at_once(tmp_path: Path) -> None:
    known = Destinations(str(tmp_path))
    known.failed("example.net", 400.0, "4.4.1", "No answer")
    (tmp_path / "example.net").unlink()
    assert known.silent("example.net", 100.0) is None


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"x\ty\tz\tw\n", b"\xff\xfe", b"1\t2\n", b"9\t1\t4"]
)
def test_a_broken_hint_is_no_hint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "example.net").write_bytes(content)
    assert Destinations(str(tmp_path)).silent("example.net", 0.0) is None
