"""The queue by itself: commit, journal, defer."""

from pathlib import Path

from crash.scenario import Say, Scenario

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, RELAYED, Report
from mailtools.store.entry import State
from mailtools.store.queue import Queue

ENVELOPE = Envelope(
    "alice@example.org", (ForwardPath("b@example.net"), ForwardPath("c@example.com"))
)
MESSAGE = b"Subject: crash\n\n" + b"0123456789\n" * 20
ID = "1700000000.M000001P1R00000001"
LATER = 1700003600.0


def empty(folder: Path) -> None:
    Queue(str(folder)).create()


def one_entry(folder: Path) -> None:
    empty(folder)
    writer = Queue(str(folder)).begin(ENVELOPE, ID)
    writer.write(MESSAGE)
    writer.commit()


def entries(folder: Path) -> dict[str, bytes]:
    """Every entry that a queue run would see, by ID; each must be whole."""
    queue = Queue(str(folder))
    found = {}
    for place in queue.all():
        assert place.state is not State.BAD
        entry = queue.open(place)
        assert entry.envelope == ENVELOPE, f"{place.path} is half an entry"
        found[place.id] = entry.message()
    return found


# -- commit ---------------------------------------------------------------------------------------


def commit(folder: Path, say: Say) -> None:
    queue = Queue(str(folder))
    for _ in range(2):
        writer = queue.begin(ENVELOPE)
        writer.write(MESSAGE)
        say(writer.commit())


def check_commit(folder: Path, said: list[str]) -> None:
    found = entries(folder)
    assert set(said) <= set(found), "an acknowledged entry is gone"
    assert all(message == MESSAGE for message in found.values())
    assert len(found) <= 2


# -- the journal ----------------------------------------------------------------------------------


def journal(folder: Path, say: Say) -> None:
    queue = Queue(str(folder))
    entry = queue.open(ID)
    queue.record(entry, [Report("c@example.com", DELAYED, "4.4.1", "no answer")], LATER)
    queue.record(entry, [Report("b@example.net", RELAYED, "2.0.0", "taken")], LATER)
    say("b settled")
    queue.record_notice(entry, DELAYED, "1700000001.M000001P1R00000001", LATER)
    say("told")


def check_journal(folder: Path, said: list[str]) -> None:
    entry = Queue(str(folder)).open(ID)
    if "b settled" in said:
        assert [path.address for path in entry.pending] == ["c@example.com"]
    if "told" in said:
        assert entry.journal.told(DELAYED)
    # Whatever is torn, a further line is read.
    queue = Queue(str(folder))
    queue.record(entry, [Report("c@example.com", RELAYED, "2.0.0", "taken")], LATER)
    assert not queue.journal(ID).pending("c@example.com")


# -- defer ----------------------------------------------------------------------------------------


def defer(folder: Path, say: Say) -> None:
    queue = Queue(str(folder))
    queue.defer(queue.open(ID), LATER)
    say("deferred")
    queue.hold(ID)
    queue.release(ID)


def check_defer(folder: Path, said: list[str]) -> None:
    assert entries(folder) == {ID: MESSAGE}


SCENARIOS = [
    Scenario("queue-commit", empty, commit, check_commit, stops=9),
    # The folder is synced with each line that counts; the last time it was so already.
    Scenario("queue-journal", one_entry, journal, check_journal, spare={"log": 1}),
    Scenario("queue-defer", one_entry, defer, check_defer, stops=4),
]
