"""The journal of an entry, log/ID: what became of each forward-path at each attempt.

A line is a Report behind the time, TAB-separated, LF at its end (mailtools-queue(5)). A `notified`
line says that a DSN was committed: for which action, and under which ID; a `held` line, why the
entry was held; a `released` line, that an operator let it go, so that hold rules leave it alone; a
`rerouted` line, which way it goes from now on (no text: the usual one); a `replayed` line, which
entry it is a copy of; a `copied` line, which copy was made of it. Journals are only ever
appended to; a last line without LF was torn by a power cut and does not count.
"""

from typing import NamedTuple

from mailtools.errors import BadEntry
from mailtools.mail.dates import parse_seconds
from mailtools.mail.reply import one_line
from mailtools.mail.report import DELAYED, FAILED, Report, parse_report

NOTIFIED = "notified"
HELD = "held"
RELEASED = "released"
REROUTED = "rerouted"
REPLAYED = "replayed"
COPIED = "copied"

TURNS = (HELD, RELEASED, REROUTED, REPLAYED, COPIED)
_TURNS = tuple(word.encode() for word in TURNS)


class Notice(NamedTuple):
    """A DSN that was committed: the action it tells of, and its queue ID."""

    time: float
    action: str
    id: str

    def line(self) -> bytes:
        """The journal line of this notice."""
        return f"{self.time:.0f}\t\t{NOTIFIED}\t{self.action}\t{self.id}\n".encode()


class Turn(NamedTuple):
    """An entry was held, and why; or an operator let it go, gave it another way, or made it."""

    time: float
    word: str
    """One of `TURNS`."""
    why: str = ""

    def line(self) -> bytes:
        """The journal line of this turn."""
        return f"{self.time:.0f}\t\t{self.word}\t\t{one_line(self.why)}\n".encode(
            "utf-8", "replace"
        )


class Journal:
    """What a journal says, oldest first."""

    __slots__ = ("attempts", "last", "notices", "on_disk", "torn", "turns", "untold", "written")

    def __init__(self, *, on_disk: bool = False, torn: bool = False) -> None:
        self.attempts: list[tuple[float, Report]] = []
        """Each report with the time it was written."""
        self.notices: list[Notice] = []
        self.last: dict[str, Report] = {}
        """The last report on each forward-path."""
        self.untold: list[tuple[float, Report]] = []
        """Settled reports since the last DSN about any."""
        self.turns: list[Turn] = []
        """When it was held, let go, given another way, or made of another."""
        self.written = 0
        """How many of the attempts are in the file."""
        self.on_disk = on_disk
        """Whether there is a file."""
        self.torn = torn
        """Whether the last line has no LF; the next one must begin with it."""

    def pending(self, forward_path: str) -> bool:
        """Whether a forward-path still wants an attempt."""
        report = self.last.get(forward_path)
        return report is None or report.action == DELAYED

    def failed(self, forward_path: str) -> bool:
        """Whether a forward-path was given up."""
        report = self.last.get(forward_path)
        return report is not None and report.action == FAILED

    @property
    def released(self) -> bool:
        """Whether an operator wants the entry to go, so that no rule holds it."""
        return any(turn.word in (RELEASED, REPLAYED) for turn in self.turns)

    @property
    def held_by(self) -> str:
        """Who or what held the entry last; "" where it never was held, or nobody noted it."""
        return next((turn.why for turn in reversed(self.turns) if turn.word == HELD), "")

    @property
    def way(self) -> str:
        """Where an operator wants it to go instead, as a route; "" for the usual way."""
        return way_of(self.turns)

    def told(self, action: str) -> bool:
        """Whether a DSN with this action was committed."""
        return any(notice.action == action for notice in self.notices)

    @property
    def last_attempt(self) -> float | None:
        """When the last report was written; None where there is none."""
        return self.attempts[-1][0] if self.attempts else None

    def add(self, time: float, report: Report) -> None:
        """Take in one more report."""
        self.attempts.append((time, report))
        self.last[report.forward_path] = report
        if report.settled:
            self.untold.append((time, report))

    def add_notice(self, notice: Notice) -> None:
        """Take in that a DSN was committed."""
        self.notices.append(notice)
        if notice.action != DELAYED:
            self.untold.clear()


def way_of(turns: list[Turn]) -> str:
    """Give where a message goes by an operator's word, as a route; "" for the usual way."""
    return next((turn.why for turn in reversed(turns) if turn.word == REROUTED), "")


def encode(attempts: list[tuple[float, Report]]) -> bytes:
    """Write journal lines for reports, each with its time in seconds since 1970."""
    return b"".join(report.line(f"{time:.0f}") for time, report in attempts)


def decode(data: bytes) -> Journal:
    """Read a journal; a line that is none is passed over, since what follows still counts."""
    *lines, tail = data.split(b"\n")
    journal = Journal(torn=bool(tail), on_disk=True)
    for line in lines:
        parts = line.split(b"\t", 4)
        try:
            if len(parts) == 5 and parts[2] == NOTIFIED.encode():
                journal.add_notice(
                    Notice(parse_seconds(parts[0]), parts[3].decode(), parts[4].decode())
                )
            elif len(parts) == 5 and parts[2] in _TURNS:
                why = parts[4].decode("utf-8", "replace")
                journal.turns.append(Turn(parse_seconds(parts[0]), parts[2].decode(), why))
            else:
                head, report = parse_report(line)
                journal.add(parse_seconds(head), report)
        except (BadEntry, ValueError):
            continue
    journal.written = len(journal.attempts)
    return journal
