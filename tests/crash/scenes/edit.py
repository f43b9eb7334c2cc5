"""What an operator does to entries: replay, expire, remove; and what sendmail leaves."""

from pathlib import Path

from crash.scenario import Say, Scenario
from crash.scenes.queue import ENVELOPE, ID, MESSAGE, entries, one_entry
from crash.scenes.run import ID as RUN_ID
from crash.scenes.run import START, Peers, finish, prepare_with

from mailtools.services.listing.queue_edit import QueueEditor
from mailtools.services.submit.drop import into_queue
from mailtools.services.submit.inject import Letter
from mailtools.store.queue import Queue

# -- replay ---------------------------------------------------------------------------------------


def replay(folder: Path, say: Say) -> None:
    editor = QueueEditor(str(folder))
    say(editor.replay(ID))
    say(editor.replay(ID))


def check_replay(folder: Path, said: list[str]) -> None:
    found = entries(folder)
    assert found.pop(ID) == MESSAGE, "the one that was copied is gone"
    assert set(said) <= set(found), "a copy that was said to be there is gone"
    for text in found.values():
        assert text.startswith(b"Received: by ")
        assert text.endswith(MESSAGE)
    assert len(found) <= 2


# -- expire ---------------------------------------------------------------------------------------


def expire(folder: Path, say: Say) -> None:
    editor = QueueEditor(str(folder / "queue"))
    editor.expire(RUN_ID)
    editor.finish()
    say("expired")


def check_expire(folder: Path, said: list[str]) -> None:
    expired = not Queue(str(folder / "queue")).open(RUN_ID).pending
    assert expired or "expired" not in said, "it is tried after it was given up"
    taken: list[str] = []
    finish(folder, Peers(taken.append, busy=False).deliver)
    assert taken == (["DSN a@example.net"] if expired else ["taken a@example.net"])


# -- reroute --------------------------------------------------------------------------------------


def waits(folder: Path) -> None:
    prepare_with("a@example.net")(folder)
    queue = Queue(str(folder / "queue"))
    queue.defer(queue.open(RUN_ID), START)


def reroute(folder: Path, say: Say) -> None:
    QueueEditor(str(folder / "queue")).reroute(RUN_ID, "gateway.example.com")
    say("rerouted")


def check_reroute(folder: Path, said: list[str]) -> None:
    queue = Queue(str(folder / "queue"))
    way = queue.open(RUN_ID).journal.way
    assert way in ("", "gateway.example.com"), "half of a host's name"
    assert way or "rerouted" not in said, "it goes the way that the operator did not want"
    queue.retry(RUN_ID)
    taken: list[str] = []
    finish(folder, Peers(taken.append, busy=False).deliver)
    assert set(taken) == {"taken a@example.net"}


# -- remove ---------------------------------------------------------------------------------------


def remove(folder: Path, say: Say) -> None:
    editor = QueueEditor(str(folder))
    editor.remove(ID)
    editor.finish()
    say("removed")


def check_remove(folder: Path, said: list[str]) -> None:
    found = entries(folder)
    assert found in ({}, {ID: MESSAGE})
    if "removed" in said:
        assert not found, "it goes out after all"


# -- sendmail -------------------------------------------------------------------------------------

LETTER = Letter("", ENVELOPE, b"Subject: crash\n", b"0123456789\n" * 20)


def drop(folder: Path, say: Say) -> None:
    for _ in range(2):
        say(into_queue(str(folder / "queue"), LETTER, "mail.example.org"))


def check_drop(folder: Path, said: list[str]) -> None:
    queue = folder / "queue"
    if not (queue / "tmp").is_dir():
        assert not said
        return
    Queue(str(queue)).create()  # what was begun is completed
    found = entries(queue)
    assert set(said) <= set(found), "sendmail exited 0, and the message is gone"
    for text in found.values():
        assert text.startswith(b"Received: by mail.example.org ")
        assert text.endswith(MESSAGE)


SCENARIOS = [
    Scenario("edit-replay", one_entry, replay, check_replay, stops=9),
    Scenario("edit-expire", prepare_with("a@example.net"), expire, check_expire, stops=4),
    Scenario("edit-reroute", waits, reroute, check_reroute, stops=3),
    Scenario("edit-remove", one_entry, remove, check_remove, stops=3),
    # The folders of the queue are made one by one: each sync makes those before it last, too.
    Scenario("edit-sendmail", lambda folder: None, drop, check_drop, stops=9, spare={"queue": 10}),
]
