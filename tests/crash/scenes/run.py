"""queue-run: delivery into a Maildir, relaying with deferral, a failure and its DSN.

A pass is the real one (services/queue/attempt.py), its agents called in place, one job at a time.
What a peer took is said at the moment its 250 came: nothing of ours can take that back.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from crash.scenario import Say, Scenario

from mailtools.mail.address import Address
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, FAILED, RELAYED, Report
from mailtools.services.agent import Deliver, Job, answer
from mailtools.services.listing.queue_edit import QueueEditor
from mailtools.services.local.delivery import Local
from mailtools.services.local.directory import OneMaildir
from mailtools.services.local.way import Target, Where
from mailtools.services.queue.attempt import Attempts
from mailtools.services.queue.notify import Notifier
from mailtools.services.queue.schedule import Schedule
from mailtools.services.queue.transports import Transports
from mailtools.store.entry import Entry, State
from mailtools.store.kept import Kept
from mailtools.store.maildir import Maildir
from mailtools.store.queue import Queue
from mailtools.store.queue_sweep import sweep

ARRIVED = int(time.time())  # what local-deliver sends on arrives now, too
ID = f"{ARRIVED}.M000001P1R00000001"
START = ARRIVED + 60.0  # the first pass
HOUR = 3600.0
MESSAGE = b"Subject: crash\n\n" + b"0123456789\n" * 20


class Run:
    """A queue run: its passes share what is in hand, as those of a process do."""

    def __init__(self, folder: Path, deliver: Deliver, *, keep: float = 0.0) -> None:
        self.queue = Queue(str(folder / "queue"))
        self._deliver = deliver
        self.attempts = Attempts(
            self.queue,
            Notifier(self.queue, "mail.example.org", "postmaster@example.org"),
            Schedule(),
            Transports(["example.org"], {}),
            lambda: 0.5,
        )
        self.attempts.keep_failed = keep

    def pass_(self, now: float) -> None:
        """Try what is due at `now`."""
        attempts = self.attempts
        attempts.unstick(now)
        for place in list(self.queue.due(now)):
            if place.id not in attempts.in_hand:
                for work in attempts.take(place, now):
                    job = Job("1", work.path, work.reverse_path, tuple(work.forward_paths))
                    for report in answer(job, self._deliver):
                        attempts.reported(work.id, report, now)
                        attempts.learn(work, report, now)
                    attempts.over(work.id, now)
        attempts.flush(now)
        self.queue.tidy(now)


def prepare_with(*paths: str, id_: str = ID) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        queue = Queue(str(folder / "queue"))
        queue.create()
        envelope = Envelope("alice@example.com", tuple(ForwardPath(path) for path in paths))
        writer = queue.begin(envelope, id_)
        writer.write(MESSAGE)
        writer.commit()

    return prepare


def finish(folder: Path, deliver: Deliver) -> None:
    """Make passes until the queue is empty, as a fresh queue run would over the next hours."""
    run = Run(folder, deliver)
    now = START + HOUR
    for _ in range(10):
        places = list(run.queue.all())
        if not places:
            return
        assert all(place.state is not State.BAD for place in places), "an entry was damaged"
        run.pass_(now)
        now += 6 * HOUR
    raise AssertionError("an entry stays in the queue")


# -- into a Maildir -------------------------------------------------------------------------------


def agent(folder: Path) -> Local:
    return Local(OneMaildir(str(folder / "Maildir")), Queue(str(folder / "queue")))


def deliver_here(folder: Path, say: Say) -> None:
    Run(folder, agent(folder).deliver).pass_(START)


def texts_of(path: Path) -> list[bytes]:
    """All messages in a Maildir."""
    maildir = Maildir(str(path))
    texts = []
    for message in maildir.messages():
        with maildir.open(message) as file:
            texts.append(file.read())
    return texts


def check_here(folder: Path, said: list[str]) -> None:
    finish(folder, agent(folder).deliver)
    texts = texts_of(folder / "Maildir")
    assert len(texts) == 1, f"delivered {len(texts)} times"
    assert texts[0].endswith(MESSAGE)


# -- a list: a Maildir here, and an address elsewhere --------------------------------------------


class List:
    """bob@example.org leads to a Maildir and to d@example.net."""

    def __init__(self, folder: Path) -> None:
        self._maildir = str(folder / "Maildir")

    def resolve(self, address: Address) -> tuple[Target, ...]:
        return (
            Target(Where.MAILDIR, self._maildir, by_hand=True),
            Target(Where.FORWARD, "d@example.net"),
        )


def both(folder: Path, say: Say) -> Deliver:
    """The agents of a host: its own addresses to the list, the others to their hosts."""
    here = Local(List(folder), Queue(str(folder / "queue")))
    there = Peers(say, busy=False, trace=b"Delivered-To: bob@example.org\n")

    def deliver(job: Job) -> Iterator[Report]:
        mine = job.forward_paths[0].endswith("@example.org")
        return here.deliver(job) if mine else there.deliver(job)

    return deliver


def expand(folder: Path, say: Say) -> None:
    run = Run(folder, both(folder, say))
    run.pass_(START)
    run.pass_(START + HOUR)


def check_expand(folder: Path, said: list[str]) -> None:
    names = len(list(Queue(str(folder / "queue")).all()))
    finish(folder, both(folder, said.append))
    texts = [text for text in texts_of(folder / "Maildir") if text.endswith(MESSAGE)]
    assert len(texts) == 1, f"delivered {len(texts)} times"
    count_taken(said, "d@example.net", max(2, names + 1))


# -- to other hosts -------------------------------------------------------------------------------


class Peers:
    """Hosts elsewhere: what they take is said; `b@` is busy at first, `c@` knows nobody."""

    def __init__(self, say: Say, busy: bool, trace: bytes = b"") -> None:
        self._say, self.busy, self._trace = say, busy, trace

    def deliver(self, job: Job) -> Iterator[Report]:
        message = job.message()
        for path in job.forward_paths:
            if path.startswith("b@") and self.busy:
                yield Report(path, DELAYED, "4.3.2", "said 421 4.3.2 busy")
            elif path.startswith("c@"):
                yield Report(path, FAILED, "5.1.1", "said 550 5.1.1 no such user")
            else:
                if path == "alice@example.com":
                    assert b"\nSubject: crash" in message
                    failed = re.findall(rb"Final-Recipient: rfc822; *(\S+)", message)
                    self._say(f"DSN {b' '.join(failed).decode()}")
                else:
                    assert message == self._trace + MESSAGE
                    self._say(f"taken {path}")
                yield Report(path, RELAYED, "2.0.0", "said 250 2.0.0 ok")


@contextmanager
def telling(say: Say) -> Iterator[None]:
    """Have the queue say what it has put on record."""

    def after(name: str, word: str) -> Any:
        method = getattr(Queue, name)

        def told(queue: Queue, *arguments: Any) -> None:
            method(queue, *arguments)
            say(word)

        return mock.patch.object(Queue, name, told)

    settle = Queue.settle

    def settling(queue: Queue, entry: Entry) -> None:
        say("to be removed")
        settle(queue, entry)

    with (
        after("record", "recorded"),
        after("record_notices", "noted"),
        mock.patch.object(Queue, "settle", settling),
    ):
        yield


def count_taken(said: list[str], path: str, most: int) -> None:
    assert f"taken {path}" in said, f"{path} never got it"
    assert said.count(f"taken {path}") <= most, f"{path} got it more than twice"


def relay(folder: Path, say: Say) -> None:
    peers = Peers(say, busy=True)
    run = Run(folder, peers.deliver)
    with telling(say):
        run.pass_(START)
        peers.busy = False
        run.pass_(START + HOUR)


def check_relay(folder: Path, said: list[str]) -> None:
    before = list(said)
    names = len(list(Queue(str(folder / "queue")).all()))
    finish(folder, Peers(said.append, busy=False).deliver)
    # Two names only where a rename between folders is not atomic: then it is tried under both.
    count_taken(said, "a@example.net", max(2, names + 1))
    count_taken(said, "b@example.org.test", max(2, names + 1))
    if names == 1 and "recorded" in before and "to be removed" not in before:
        assert said.count("taken a@example.net") == 1, "settled, on record, and tried again"


def fail(folder: Path, say: Say) -> None:
    with telling(say):
        Run(folder, Peers(say, busy=False).deliver).pass_(START)


def check_fail(folder: Path, said: list[str]) -> None:
    before = list(said)
    finish(folder, Peers(said.append, busy=False).deliver)
    count_taken(said, "a@example.net", 2)
    assert "DSN c@example.net" in said, "alice never heard that it failed"
    assert said.count("DSN c@example.net") <= 2
    if "recorded" in before and "to be removed" not in before:
        assert said.count("taken a@example.net") == 1, "settled, on record, and tried again"
    if "noted" in before and "to be removed" not in before:
        assert said.count("DSN c@example.net") == 1, "told, on record, and told again"


# -- what failed is kept, to be sent again --------------------------------------------------------


def keep(folder: Path, say: Say) -> None:
    with telling(say):
        Run(folder, Peers(say, busy=False).deliver, keep=30 * HOUR).pass_(START)


def check_keep(folder: Path, said: list[str]) -> None:
    queue = Queue(str(folder / "queue"))
    kept = Kept(queue)
    waits, over = queue.find(ID), kept.find(ID)
    if over and not waits:
        assert queue.open(over).message() == MESSAGE, "what is kept is not whole"
        editor = QueueEditor(queue.path)
        copy = queue.open(editor.replay(ID, failed=True))
        assert [path.address for path in copy.envelope.forward_paths] == ["c@example.net"]
        queue.remove(copy.id)
    check_fail(folder, said)
    kept.sweep(START + 60 * HOUR)
    assert kept.find(ID) is None
    sweep(queue, time.time() + 2 * HOUR)
    assert not list(Path(queue.path, "log").iterdir()), "litter that nobody removes"


SCENARIOS = [
    Scenario("run-list", prepare_with("bob@example.org"), expand, check_expand, stops=12),
    Scenario("run-maildir", prepare_with("bob@example.org"), deliver_here, check_here, stops=8),
    Scenario(
        "run-deferral",
        prepare_with("a@example.net", "b@example.org.test"),
        relay,
        check_relay,
        stops=8,
    ),
    # The folder is synced with each line that counts; the second time it was so already.
    Scenario(
        "run-kept",
        prepare_with("a@example.net", "c@example.net"),
        keep,
        check_keep,
        stops=10,
        spare={"queue/log": 1},
    ),
    Scenario(
        "run-dsn",
        prepare_with("a@example.net", "c@example.net"),
        fail,
        check_fail,
        stops=10,
        spare={"queue/log": 1},
    ),
]
