"""The queue on disk: what commits survive, where entries are, what each crash leaves."""

import os
import time
from pathlib import Path

import pytest

from mailtools.errors import BadEntry, NoSuchEntry, SystemTrouble
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import Report
from mailtools.store import disk
from mailtools.store.entry import Entry, State
from mailtools.store.entry_file import read_head
from mailtools.store.queue import Queue, from_minute, to_minute
from mailtools.store.queue_id import arrival, is_id, make_id

ENVELOPE = Envelope(
    "alice@example.org",
    (
        ForwardPath("bob@example.net"),
        ForwardPath("carol@example.com", {"NOTIFY": "FAILURE,DELAY"}),
    ),
    {"SMTPUTF8": ""},
    "192.0.2.7 client.example.org",
)
MESSAGE = b"Subject: hello\nMessage-ID:\n <one@example.org>\n\nWhat is up?\n"


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    made = Queue(str(tmp_path / "queue"))
    made.create()
    return made


def put(queue: Queue, message: bytes = MESSAGE) -> str:
    writer = queue.begin(ENVELOPE)
    writer.write(message)
    return writer.commit()


def only(queue: Queue) -> Entry:
    (place,) = queue.all()
    return queue.open(place)


def test_an_entry_is_text_that_can_be_read_with_less(queue: Queue) -> None:
    id_ = put(queue)
    assert Path(queue.path, "new", id_).read_bytes() == (
        b"mailtools-queue 1\n"
        b"client 192.0.2.7 client.example.org\n"
        b"parameter SMTPUTF8\n"
        b"reverse-path alice@example.org\n"
        b"forward-path bob@example.net\n"
        b"forward-path carol@example.com NOTIFY=FAILURE,DELAY\n"
        b"\n" + MESSAGE
    )


def test_what_was_committed_is_found_again(queue: Queue) -> None:
    before = time.time()
    writer = queue.begin(ENVELOPE)
    assert is_id(writer.id)
    for octet in MESSAGE:
        writer.write(bytes((octet,)))
    assert writer.size == len(MESSAGE)
    assert list(queue.all()) == []
    assert writer.commit() == writer.id
    entry = only(queue)
    assert entry.id == writer.id
    assert before - 0.001 <= entry.arrival <= time.time()
    assert entry.envelope == ENVELOPE
    assert entry.message() == MESSAGE
    assert entry.size == len(MESSAGE)
    assert entry.message_id == "<one@example.org>"
    assert [path.address for path in entry.pending] == ["bob@example.net", "carol@example.com"]
    assert os.listdir(f"{queue.path}/tmp") == []


def test_what_was_aborted_leaves_nothing(queue: Queue) -> None:
    writer = queue.begin(ENVELOPE)
    writer.write(MESSAGE)
    writer.abort()
    writer.abort()
    assert os.listdir(f"{queue.path}/tmp") == []
    assert list(queue.all()) == []


def test_an_abort_after_the_commit_changes_nothing(queue: Queue) -> None:
    writer = queue.begin(ENVELOPE)
    writer.write(MESSAGE)
    writer.commit()
    writer.abort()
    assert only(queue).message() == MESSAGE


def test_a_missing_folder_is_temporary_and_named(tmp_path: Path) -> None:
    with pytest.raises(SystemTrouble) as caught:
        Queue(str(tmp_path / "nowhere")).begin(ENVELOPE)
    assert "nowhere/tmp/" in caught.value.detail
    assert not caught.value.permanent


def test_create_can_be_done_again(queue: Queue) -> None:
    put(queue)
    queue.create()
    assert only(queue).message() == MESSAGE


def test_the_trigger_never_blocks_and_wakes_who_listens(queue: Queue) -> None:
    put(queue)  # nobody listens
    assert queue.pull() is False
    fd = os.open(f"{queue.path}/trigger", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert queue.pull() is True
        assert os.read(fd, 10) == b"\0"
        put(queue)
        assert os.read(fd, 10) == b"\0"
        for _ in range(70000):  # more than a pipe holds
            assert queue.pull() is True
    finally:
        os.close(fd)


def test_ids_sort_by_arrival_and_are_the_arrival() -> None:
    ids = [make_id(1764000000 + step / 8) for step in range(50)]
    assert sorted(ids) == ids
    assert [arrival(id_) for id_ in ids] == [1764000000 + step / 8 for step in range(50)]
    assert len({make_id(1764000000.0) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("name", ["", "x", "1.M2P3", "1.M2P3R4/..", "../1.M2P3R4", "1.M2P3R4\n"])
def test_other_names_are_no_ids(name: str) -> None:
    assert not is_id(name)
    with pytest.raises(ValueError, match="not a queue ID"):
        arrival(name)


def test_minutes_sort_and_never_come_early() -> None:
    for when in (0.0, 59.0, 60.0, 60.5, 1764000000.25, 4102444800.0):
        assert when <= from_minute(to_minute(when)) < when + 60
    assert to_minute(1795460940.0) == "2026-11-23T19:09Z"


def test_a_deferred_entry_waits_in_its_minute(queue: Queue) -> None:
    put(queue)
    entry = only(queue)
    due = queue.defer(entry, 1795460901.0)
    assert queue.minutes() == ["2026-11-23T19:09Z"]
    assert due == queue.next_due() == 1795460940.0
    assert list(queue.due(1795460939.0)) == []
    (place,) = queue.due(1795460940.0)
    assert (place.id, place.state, place.due) == (entry.id, State.WAIT, 1795460940.0)
    assert queue.open(entry.id).message() == MESSAGE


def test_what_waits_costs_nothing(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(20):
        put(queue)
    for place in list(queue.new()):
        queue.defer(queue.open(place), 4102444800.0)
    listed: list[str] = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(str(path)) or real(path))
    assert list(queue.due(time.time())) == []
    assert listed == [f"{queue.path}/wait", f"{queue.path}/new"]


def test_empty_minutes_that_have_come_are_tidied_away(queue: Queue) -> None:
    put(queue)
    queue.defer(only(queue), 120.0)
    queue.tidy(1000.0)
    assert len(queue.minutes()) == 1
    queue.retry(only(queue).id)
    queue.tidy(60.0)
    assert len(queue.minutes()) == 1
    queue.tidy(1000.0)
    assert queue.minutes() == []


def test_hold_release_retry_remove(queue: Queue) -> None:
    id_ = put(queue)
    queue.hold(id_, "a\trule")
    queue.hold(id_, "again")
    assert only(queue).state is State.HOLD
    assert [(turn.word, turn.why) for turn in queue.journal(id_).turns] == [("held", "a rule")]
    assert list(queue.due(time.time())) == []
    queue.release(id_)
    assert only(queue).state is State.NEW
    assert [turn.word for turn in queue.journal(id_).turns] == ["held", "released"]
    queue.defer(only(queue), time.time() + 1000)
    queue.retry(id_)
    assert only(queue).state is State.NEW
    entry = only(queue)
    queue.record(entry, [Report("bob@example.net", "delayed", "4.4.1", "no")], 5.0)
    queue.remove(id_)
    assert list(queue.all()) == []
    assert os.listdir(f"{queue.path}/log") == []
    for action in (queue.hold, queue.release, queue.retry, queue.remove):
        with pytest.raises(NoSuchEntry):
            action(id_)
    with pytest.raises(NoSuchEntry):
        queue.open(id_)


def test_where_many_wait_is_read_once(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [put(queue) for _ in range(60)]
    for number, id_ in enumerate(ids):
        queue.defer(queue.open(id_), 1795435200.0 + 60 * number)
    many = Queue(queue.path, many=True)
    looked: list[str] = []
    lexists = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: looked.append(path) or lexists(path))
    for id_ in reversed(ids):
        place = many.find(id_)
        assert place
        assert place.id == id_
    assert len(looked) < 20 * len(ids)  # not each of sixty minutes for each
    queue.hold(ids[3])
    queue.defer(queue.open(ids[4]), 1795535200.0)  # moved since then
    queue.remove(ids[5])
    found = [many.find(id_) for id_ in ids[3:6]]
    assert [place and place.state for place in found] == [State.HOLD, State.WAIT, None]


def test_the_journal_remembers_what_is_settled(queue: Queue) -> None:
    put(queue)
    entry = only(queue)
    queue.record(entry, [Report("bob@example.net", "relayed", "2.0.0", "mx said 250")], 10.0)
    queue.record(entry, [Report("carol@example.com", "delayed", "4.4.1", "no answer")], 11.0)
    for each in (entry, only(queue)):
        assert [path.address for path in each.pending] == ["carol@example.com"]
        assert [when for when, _ in each.journal.attempts] == [10.0, 11.0]
        assert each.journal.last_attempt == 11.0
    assert Path(queue.path, "log", entry.id).read_text() == (
        "10\tbob@example.net\trelayed\t2.0.0\tmx said 250\n"
        "11\tcarol@example.com\tdelayed\t4.4.1\tno answer\n"
    )


@pytest.mark.parametrize("cut", range(1, 42))
def test_a_torn_last_line_does_not_count_nor_spoil_the_next(queue: Queue, cut: int) -> None:
    id_ = put(queue)
    line = b"10\tbob@example.net\trelayed\t2.0.0\tmx said\n"
    Path(queue.path, "log", id_).write_bytes(line[:-cut])
    entry = only(queue)
    assert len(entry.pending) == 2
    queue.record(entry, [Report("bob@example.net", "relayed", "2.0.0", "again")], 12.0)
    again = only(queue)
    assert [path.address for path in again.pending] == ["carol@example.com"]
    assert again.journal.last["bob@example.net"].text == "again"


def test_a_settled_path_is_synced_with_its_name_before_anything_else(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(queue)
    entry = only(queue)
    calls: list[str] = []

    def door(function: object, *arguments: object) -> object:
        calls.append(function.__name__)  # type: ignore[attr-defined]
        return function(*arguments)  # type: ignore[operator]

    monkeypatch.setattr(disk, "_call", door)
    queue.record(entry, [Report("bob@example.net", "delayed", "4.4.1", "no")], 1.0)
    assert calls == ["open", "write"]
    calls.clear()
    queue.record(entry, [Report("bob@example.net", "relayed", "2.0.0", "ok")], 2.0)
    assert calls == ["open", "write", "fsync", "fsync"]


def test_a_notice_is_remembered(queue: Queue) -> None:
    put(queue)
    entry = only(queue)
    queue.record(entry, [Report("bob@example.net", "failed", "5.1.1", "nobody")], 1.0)
    assert len(only(queue).journal.untold) == 1
    queue.record_notice(entry, "failed", "1.M2P3R4", 2.0)
    again = only(queue)
    assert again.journal.untold == []
    assert again.journal.told("failed")
    assert not again.journal.told("delayed")
    assert again.journal.notices[0].id == "1.M2P3R4"


def test_settle_removes_entry_and_journal(queue: Queue) -> None:
    put(queue)
    entry = only(queue)
    queue.record(entry, [Report("bob@example.net", "relayed", "2.0.0", "ok")], 1.0)
    queue.settle(entry)
    assert list(queue.all()) == []
    assert os.listdir(f"{queue.path}/log") == []


def test_an_operator_may_move_an_entry_while_it_is_tried(queue: Queue) -> None:
    put(queue)
    entry = only(queue)
    queue.hold(entry.id)
    queue.defer(entry, time.time() + 100)
    assert only(queue).state is State.HOLD  # it stays where he put it
    queue.settle(entry)
    assert list(queue.all()) == []


def test_an_operator_may_remove_an_entry_while_it_is_tried(queue: Queue) -> None:
    put(queue)
    entry = only(queue)
    queue.remove(entry.id)
    with pytest.raises(NoSuchEntry):
        queue.defer(entry, time.time() + 100)
    queue.settle(entry)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"mailtools-queue 1\n",
        b"mailtools-queue 2\nreverse-path a@b\nforward-path c@d\n\n",
        b"mailtools-queue 1\nreverse-path a@b\nforward-path c@d\nodd word\n\n",
        b"mailtools-queue 1\nreverse-path a@b\n\nmessage",
        b"mailtools-queue 1\nforward-path a@b\n\nmessage",
        b"mailtools-queue 1\nreverse-path a@b\nforward-path c@d\n",
        os.urandom(100000).replace(b"\n\n", b"\n"),
    ],
)
def test_what_cannot_be_read_is_set_aside_whole(queue: Queue, content: bytes) -> None:
    id_ = make_id()
    Path(queue.path, "new", id_).write_bytes(content)
    (place,) = queue.new()
    with pytest.raises(BadEntry):
        queue.open(place)
    queue.set_aside(place)
    queue.set_aside(place)  # already gone is success
    (bad,) = queue.bad()
    assert Path(bad.path).read_bytes() == content
    assert list(queue.due(time.time())) == []


@pytest.mark.parametrize("kind", ["folder", "link", "name"])
def test_what_is_no_entry_at_all_is_bad(queue: Queue, kind: str) -> None:
    path = Path(queue.path, "new", "README" if kind == "name" else make_id())
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("/etc/passwd")
    else:
        path.write_bytes(b"mailtools-queue 1\nreverse-path a@b\nforward-path c@d\n\n")
    (place,) = queue.new()
    with pytest.raises(BadEntry):
        queue.open(place)
    queue.set_aside(place)
    assert list(queue.new()) == []


def test_a_long_envelope_is_read_whole(queue: Queue) -> None:
    paths = tuple(ForwardPath(f"user{number}@example.net") for number in range(5000))
    writer = queue.begin(Envelope("a@example.org", paths))
    writer.write(MESSAGE)
    writer.commit()
    entry = only(queue)
    assert entry.envelope.forward_paths == paths
    assert entry.message() == MESSAGE
    assert read_head(entry.path) == (entry.envelope, entry.offset)


def test_a_queue_is_taken_over_by_copying_files(queue: Queue, tmp_path: Path) -> None:
    id_ = put(queue)
    other = Queue(str(tmp_path / "other"))
    other.create()
    copy = Path(other.path, "tmp", id_)
    copy.write_bytes(Path(queue.path, "new", id_).read_bytes())
    copy.rename(Path(other.path, "new", id_))
    assert only(other).envelope == ENVELOPE


def test_the_message_id_is_read_from_the_header_only(queue: Queue) -> None:
    put(queue, b"Subject: x\n\nMessage-ID: <body@example.org>\n")
    assert only(queue).message_id == ""
