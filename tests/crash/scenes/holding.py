"""What rules and operators hold, and what is not tried since it was refused as unknown."""

from collections.abc import Iterator
from pathlib import Path

from crash.scenario import Say, Scenario
from crash.scenes.queue import ENVELOPE, MESSAGE, entries, one_entry
from crash.scenes.queue import ID as QUEUE_ID
from crash.scenes.run import HOUR, ID, START, Peers, Run, count_taken, finish, prepare_with

from mailtools.mail.report import FAILED, Report
from mailtools.services.agent import Job
from mailtools.services.listing.queue_edit import QueueEditor
from mailtools.services.queue.holding import HoldRules
from mailtools.store.queue import Queue

# -- a rule holds, an operator lets go ------------------------------------------------------------


def run_with_rule(folder: Path, say: Say) -> Run:
    run = Run(folder, Peers(say, busy=False).deliver)
    run.attempts.rules = HoldRules(["to *@example.net"])
    return run


def by_rule(folder: Path, say: Say) -> None:
    run = run_with_rule(folder, say)
    run.pass_(START)
    editor = QueueEditor(str(folder / "queue"))
    editor.release(ID)
    run.pass_(START + HOUR)


def check_by_rule(folder: Path, said: list[str]) -> None:
    # Two names only where a rename between folders is not atomic: then it is tried under both.
    names = len(list(Queue(str(folder / "queue")).all()))
    for hour in range(3):
        run_with_rule(folder, said.append).pass_(START + hour * HOUR)
        for place in Queue(str(folder / "queue")).held():
            # A power cut may take the word that it was let go: then it is held once more.
            Queue(str(folder / "queue")).release(place.id)
    assert list(Queue(str(folder / "queue")).all()) == []
    count_taken(said, "a@example.net", max(2, names + 1))


# -- an operator holds and lets go ----------------------------------------------------------------


def by_hand(folder: Path, say: Say) -> None:
    editor = QueueEditor(str(folder))
    editor.hold(QUEUE_ID)
    editor.release(QUEUE_ID)
    editor.finish()


def check_by_hand(folder: Path, said: list[str]) -> None:
    assert entries(folder) == {QUEUE_ID: MESSAGE}
    assert Queue(str(folder)).open(QUEUE_ID).pending == list(ENVELOPE.forward_paths)


# -- suppression ----------------------------------------------------------------------------------


class Unknown(Peers):
    """Hosts elsewhere that know nobody called c, and say whom they were asked for."""

    def deliver(self, job: Job) -> Iterator[Report]:
        for path in job.forward_paths:
            if path.startswith("c@"):
                self._say(f"asked for {path}")
                yield Report(path, FAILED, "5.1.1", "said 550 5.1.1 no such user")
                return
        yield from super().deliver(job)


def run_with_list(folder: Path, say: Say) -> Run:
    run = Run(folder, Unknown(say, busy=False).deliver)
    run.attempts.suppress = 1000 * HOUR
    return run


def suppress(folder: Path, say: Say) -> None:
    run_with_list(folder, say).pass_(START)


def check_suppress(folder: Path, said: list[str]) -> None:
    finish(folder, Unknown(said.append, busy=False).deliver)
    assert "DSN c@example.net" in said, "a sender never heard that it failed"
    # Whatever is left of what was learnt: who writes there next is told, too.
    prepare_with("c@example.net", id_=ID.replace("R00000001", "R00000002"))(folder)
    before = said.count("DSN c@example.net")
    for hour in range(3):
        run_with_list(folder, said.append).pass_(START + hour * HOUR)
    assert said.count("DSN c@example.net") == before + 1


SCENARIOS = [
    Scenario("hold-rule", prepare_with("a@example.net"), by_rule, check_by_rule, stops=5),
    Scenario("hold-hand", one_entry, by_hand, check_by_hand, stops=4),
    # That it is told once is run-dsn's to see.
    Scenario(
        "hold-suppressed",
        prepare_with("c@example.net"),
        suppress,
        check_suppress,
        stops=10,
        spare={f"queue/log/{ID}": 2, "queue/log": 2},
    ),
]
