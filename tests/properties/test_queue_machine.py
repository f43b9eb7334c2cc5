"""The queue and its run against a model: agents fail and die, runs crash, operators meddle.

The model knows what each forward-path must have become. Crashes here are of the queue run, not of
the power: the file system keeps what was written (tests/crash has the rest).
"""

import os
import shutil
import tempfile
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from mailtools.errors import NoSuchEntry
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import Report
from mailtools.services.queue.attempt import Attempts
from mailtools.services.queue.notify import BOUNCE, Notifier
from mailtools.services.queue.schedule import Schedule
from mailtools.services.queue.transports import Transports
from mailtools.services.queue.worker import Assignment
from mailtools.store.entry import State
from mailtools.store.queue import Queue
from mailtools.store.queue_sweep import sweep

START = 1795435200.0
PATHS = ["bob@example.org", "carol@example.org", "dave@example.net", "eve@example.com"]
OUTCOMES = ["delivered", "relayed", "expanded", "delayed", "failed", "dies"]


class QueueMachine(RuleBasedStateMachine):
    """Commits, passes, crashes and an operator, in any order."""

    ids: Bundle[str] = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.queue = Queue(f"{self.folder}/queue")
        self.queue.create()
        self.now = START
        self.alive: dict[str, set[str]] = {}  # entry → pending paths
        self.removed: set[str] = set()
        self.settled: Counter[tuple[str, str]] = Counter()
        self.failed: set[tuple[str, str]] = set()
        self.crashes = self.count = 0
        self.outstanding: list[Assignment] = []
        self.begin_run()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def begin_run(self) -> None:
        notifier = Notifier(self.queue, "mail.example.org", "postmaster@example.org")
        transports = Transports(["example.org"], {})
        schedule = Schedule(lifetime=1e9, delay_warning=0)
        self.attempts = Attempts(self.queue, notifier, schedule, transports, lambda: 0.5)
        self.outstanding = []

    # -- what happens -----------------------------------------------------------------------------

    @rule(
        target=ids,
        paths=st.lists(st.sampled_from(PATHS), min_size=1, max_size=4, unique=True),
        null=st.booleans(),
    )
    def commit(self, paths: list[str], null: bool) -> str:
        sender = "" if null else "alice@example.org"
        envelope = Envelope(sender, tuple(ForwardPath(path) for path in paths))
        self.count += 1
        id_ = f"{self.now:.0f}.M{self.count:06}P1R1"  # the same in every run
        writer = self.queue.begin(envelope, id_)
        writer.write(b"Subject: x\n\nbody\n")
        self.alive[writer.id] = set(paths)
        return writer.commit()

    @rule()
    def abort(self) -> None:
        writer = self.queue.begin(Envelope("", (ForwardPath("bob@example.org"),)))
        writer.write(b"x" * 100000)
        writer.abort()

    @rule()
    def take_what_is_due(self) -> None:
        for place in sorted(self.queue.due(self.now), key=lambda place: place.id):
            if place.id in self.alive and place.id not in self.attempts.in_hand:
                self.outstanding += self.attempts.take(place, self.now)

    @rule(data=st.data())
    def a_whole_pass(self, data: st.DataObject) -> None:
        self.take_what_is_due()
        while self.outstanding:
            self.an_agent_answers(data)
        self.attempts.flush(self.now)

    @precondition(lambda self: self.outstanding)
    @rule(data=st.data())
    def one_agent_answers(self, data: st.DataObject) -> None:
        self.an_agent_answers(data)

    def an_agent_answers(self, data: st.DataObject) -> None:
        which = data.draw(st.integers(0, len(self.outstanding) - 1))
        assignment = self.outstanding.pop(which)
        died = False
        for path in data.draw(st.permutations(list(assignment.forward_paths))):
            outcome = "dies" if died else data.draw(st.sampled_from(OUTCOMES))
            died = died or outcome == "dies"
            action = "delayed" if died else outcome
            status = {"delayed": "4.3.0", "failed": "5.1.1"}.get(action, "2.0.0")
            report = Report(path, action, status, "said so")
            self.attempts.reported(assignment.id, report, self.now)
            self.model_report(assignment.id, path, action)
        self.attempts.over(assignment.id, self.now)

    def model_report(self, id_: str, path: str, action: str) -> None:
        if action == "delayed":
            return
        self.settled[id_, path] += 1
        if action == "failed":
            self.failed.add((id_, path))
        if id_ in self.alive:
            self.alive[id_].discard(path)

    @rule()
    def flush(self) -> None:
        self.attempts.flush(self.now)

    @rule(minutes=st.integers(1, 600))
    def time_goes_by(self, minutes: int) -> None:
        self.now += minutes * 60
        self.queue.tidy(self.now)

    @rule()
    def crash(self) -> None:
        """The run dies; what was settled in memory alone is forgotten, and may happen twice."""
        self.crashes += 1
        for id_, pending in self.alive.items():
            place = self.queue.find(id_)
            if place:
                pending |= {path.address for path in self.queue.open(place).pending}
        self.begin_run()

    @rule()
    def sweep_litter(self) -> None:
        sweep(self.queue, self.now + 100 * 86400)

    @rule(id_=ids, action=st.sampled_from(["hold", "release", "retry"]))
    def an_operator_moves(self, id_: str, action: str) -> None:
        try:
            getattr(self.queue, action)(id_)
        except NoSuchEntry:
            assert not self.alive.get(id_) or id_ in self.removed

    @rule(id_=consumes(ids))
    def an_operator_removes(self, id_: str) -> None:
        try:
            self.queue.remove(id_)
        except NoSuchEntry:
            assert not self.alive.get(id_)
        self.removed.add(id_)
        self.alive.pop(id_, None)

    # -- what must hold ---------------------------------------------------------------------------

    @invariant()
    def what_is_pending_is_there(self) -> None:
        there = {place.id for place in self.queue.all()}
        for id_, pending in self.alive.items():
            assert id_ in there or not pending

    @invariant()
    def nothing_is_set_aside_and_nothing_half_made_is_seen(self) -> None:
        assert list(self.queue.bad()) == []
        assert os.listdir(f"{self.queue.path}/tmp") == []

    @invariant()
    def the_journal_agrees_where_nobody_has_it_in_hand(self) -> None:
        for id_, pending in self.alive.items():
            if id_ in self.attempts.in_hand:
                continue
            place = self.queue.find(id_)
            if place and place.state is not State.BAD:
                assert {path.address for path in self.queue.open(place).pending} == pending

    @invariant()
    def without_a_crash_nothing_is_settled_twice(self) -> None:
        if not self.crashes:
            assert all(count == 1 for count in self.settled.values())

    @invariant()
    def who_must_be_told_is_told(self) -> None:
        if self.attempts.in_hand:
            return
        told = set()
        for place in self.queue.all():
            entry = self.queue.open(place)
            if entry.envelope.client == BOUNCE:
                body = entry.message()
                assert entry.envelope.reverse_path == ""
                told |= {
                    path for path in PATHS if f"Final-Recipient: rfc822; {path}\n".encode() in body
                }
        for id_, path in self.failed:
            place = self.queue.find(id_)
            null = place is not None and not self.queue.open(place).envelope.reverse_path
            if not self.crashes and place is not None and not null and id_ in self.alive:
                assert path in told


QueueMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
test_the_queue_keeps_its_promises = QueueMachine.TestCase
