"""A glance at an entry tells the same as reading it, or nothing."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.envelope import REJECTED, Envelope, ForwardPath
from mailtools.mail.report import DELAYED, Report
from mailtools.store.entry import Place
from mailtools.store.glance import only_path
from mailtools.store.queue import Queue


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    made = Queue(str(tmp_path / "queue"))
    made.create()
    return made


def address_of(queue: str, place: Place) -> str:
    address, sender = only_path(queue, place)
    assert bool(address) or not sender
    return address


def put(queue: Queue, envelope: Envelope, text: bytes = b"Subject: x\n\ny\n") -> Place:
    writer = queue.begin(envelope)
    writer.write(text)
    place = queue.find(writer.commit())
    assert place is not None
    return place


def to(*paths: str, **parameters: str) -> Envelope:
    named = {name.replace("_", "-"): value for name, value in parameters.items()}
    return Envelope("a@example.net", tuple(map(ForwardPath, paths)), named, "192.0.2.7 x")


def waiting(queue: Queue, place: Place, text: str = "no answer") -> Place:
    entry = queue.open(place)
    queue.record(entry, [Report(entry.pending[0].address, DELAYED, "4.4.1", text)], time.time())
    queue.defer(entry, time.time() + 3600)
    found = queue.find(place.id)
    assert found is not None
    return found


def test_an_entry_for_one(queue: Queue) -> None:
    place = put(queue, Envelope("", (ForwardPath("bob@example.org", {"NOTIFY": "NEVER"}),)))
    assert address_of(queue.path, place) == "bob@example.org"
    place = put(queue, to("bücher@example.org", RET="FULL"))
    assert address_of(queue.path, place) == "bücher@example.org"
    assert address_of(queue.path, waiting(queue, place)) == "bücher@example.org"


def test_whose_it_is(queue: Queue) -> None:
    assert only_path(queue.path, put(queue, to("b@c.test"))) == ("b@c.test", "a@example.net")


def test_what_it_does_not_tell(queue: Queue) -> None:
    forged = b"Subject: x\n\nforward-path carol@example.org\n"
    assert address_of(queue.path, put(queue, to("a@b.test", "c@d.test"))) == ""
    assert address_of(queue.path, put(queue, to("a@b.test", **{REJECTED: ""}))) == ""
    assert address_of(queue.path, put(queue, to('"a b"@c.test'))) == ""
    assert address_of(queue.path, put(queue, to("a@b.test"), forged)) == "a@b.test"
    assert address_of(queue.path, put(queue, to("a@b.test", JUDGED="x" * 5000))) == ""
    assert address_of(queue.path, put(queue, to("a@b.test", MT_PRIORITY="3"))) == ""
    assert address_of(queue.path, put(queue, to("a@b.test", MT_PRIORITY="-3"))) == "a@b.test"
    torn = put(queue, to("a@b.test"))
    Path(torn.path).write_bytes(b"mailtools-queue 1\nforward-path a@b.test\n")
    assert address_of(queue.path, torn) == ""
    Path(torn.path).unlink()
    assert address_of(queue.path, torn) == ""


def test_what_an_operator_sent_another_way_is_read(queue: Queue) -> None:
    place = put(queue, to("a@b.test"))
    waits = waiting(queue, place)
    assert address_of(queue.path, waits) == "a@b.test"
    queue.reroute(place.id, "192.0.2.9")
    assert address_of(queue.path, waits) == ""
    queue.retry(place.id)
    again = queue.find(place.id)
    assert again is not None
    assert address_of(queue.path, again) == ""


def test_a_journal_too_long_for_a_glance_is_read(queue: Queue) -> None:
    place = waiting(queue, put(queue, to("a@b.test")), "x" * 500)
    entry = queue.open(place)
    queue.record(entry, [Report("a@b.test", DELAYED, "4.4.1", "x" * 500)] * 200, time.time())
    queue.reroute(place.id, "192.0.2.9")
    assert address_of(queue.path, place) == ""


letters = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)


@given(
    st.lists(letters.map(lambda name: f"{name}@x.test"), min_size=1, max_size=2),
    st.dictionaries(letters.map(str.upper), letters, max_size=3),
    st.binary(max_size=40),
)
def test_it_is_what_reading_tells(
    tmp_path_factory: pytest.TempPathFactory,
    paths: list[str],
    parameters: dict[str, str],
    text: bytes,
) -> None:
    queue = Queue(str(tmp_path_factory.mktemp("queue")))
    queue.create()
    place = put(queue, to(*paths, **parameters), text)
    told = address_of(queue.path, place)
    assert told in ("", paths[0])
    assert not told or [path.address for path in queue.open(place).pending] == [told]
