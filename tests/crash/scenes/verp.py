"""A message with VERP: each recipient's failure goes to a reverse-path of its own, none unheard."""

import re
from collections.abc import Iterator
from pathlib import Path

from crash.scenario import Say, Scenario
from crash.scenes.run import ID, MESSAGE, START, Run, finish, telling

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import FAILED, RELAYED, Report
from mailtools.mail.verp import XVERP
from mailtools.services.agent import Job
from mailtools.store.queue import Queue

UNKNOWN = ("c@example.net", "d@example.net")


def prepare(folder: Path) -> None:
    queue = Queue(str(folder / "queue"))
    queue.create()
    paths = tuple(ForwardPath(path) for path in ("a@example.net", *UNKNOWN))
    writer = queue.begin(Envelope("list@example.com", paths, {XVERP: ""}), ID)
    writer.write(MESSAGE)
    writer.commit()


class Peers:
    """`a@` is known; what comes back for the list is said."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def deliver(self, job: Job) -> Iterator[Report]:
        for path in job.forward_paths:
            self._say(f"asked {path}")
            if path in UNKNOWN:
                yield Report(path, FAILED, "5.1.1", "said 550 5.1.1 no such user")
                continue
            if path.startswith("list+"):
                failed = re.findall(rb"Final-Recipient: rfc822; *(\S+)", job.message())
                self._say(f"{path} {b' '.join(failed).decode()}")
            yield Report(path, RELAYED, "2.0.0", "said 250 2.0.0 ok")


def bounce(folder: Path, say: Say) -> None:
    with telling(say):
        Run(folder, Peers(say).deliver).pass_(START)


def check_bounce(folder: Path, said: list[str]) -> None:
    heard: list[str] = []
    finish(folder, Peers(heard.append).deliver)
    noted = "noted" in said and "to be removed" not in said
    for path in UNKNOWN:
        line = f"list+{path.replace('@', '=')}@example.com {path}"
        assert line in heard, f"the list never hears of {path}"
        assert heard.count(line) <= (1 if noted else 2)
    on_record = said.count("recorded") if "to be removed" not in said else 0
    for path in ("a@example.net", *UNKNOWN)[:on_record]:
        assert f"asked {path}" not in heard, "settled, on record, and tried again"


SCENARIOS = [
    # The journal's folder is synced with each line that counts, and new/ with each DSN: but for the
    # first time and the last, they were and will be synced by others.
    Scenario(
        "verp-dsn",
        prepare,
        bounce,
        check_bounce,
        stops=12,
        spare={"queue/log": 3, "queue/new": 1},
    ),
]
