"""What stands behind a message's fate, and what helps: for text and JSON alike."""

from __future__ import annotations

from mailtools.errors import BadAddress
from mailtools.mail.address import ascii_domain
from mailtools.services.why import story
from mailtools.services.why.cause import OURS, SENDERS, Cause, helps
from mailtools.services.why.report_cause import cause_of
from mailtools.services.why.story import JUNKED, JUNKED_BY, Story
from mailtools.store.destinations import Silence
from mailtools.store.entry import State
from mailtools.store.journal import HELD, Turn, way_of

LATE = 600.0  # seconds; what is due longer than this waits for a queue run
BUDGET = "the budget of "  # how the reason of a message that a budget holds begins


class Advice:
    """Gives causes and command lines, with what is known beside the messages."""

    def __init__(self, now: float, silences: dict[str, Silence], *, attended: bool) -> None:
        """`silences` are the destinations left alone; `attended`: a queue run is at work."""
        self._now, self._silences, self._attended = now, silences, attended

    def silence(self, one: Story, path: str) -> Silence | None:
        """Give why the destination of a pending path is left alone; None where it is not."""
        if path not in one.pending:
            return None
        try:
            destination = way_of(one.turns) or ascii_domain(path.rpartition("@")[2])
            silence = self._silences.get(destination)
        except BadAddress:
            return None
        return silence if silence and silence.until > self._now else None

    def cause(self, one: Story, path: str) -> Cause | None:
        """Give what stands in the way of a forward-path; None where nothing does."""
        newest = one.last(path)
        return cause_of(newest) if newest else None

    def helps(self, one: Story, cause: Cause, path: str) -> list[str]:
        """Give the command lines that help with a path; without those for an entry that is gone."""
        lines = cause.helps
        if not one.pending:
            lines = tuple(line for line in lines if "{id}" not in line and "{domain}" not in line)
        return helps(cause._replace(helps=lines), one.id, path)

    def whole(self, one: Story) -> list[str]:
        """Give the command lines that help with a message as a whole."""
        usual = [f"queue-edit reroute --usual {one.id}"] if way_of(one.turns) else []
        match one.state:
            case State.HOLD:
                turn = held_by(one)
                of_budget = turn is not None and turn.why.startswith(BUDGET)
                more = [f"queue-list --state hold --from '{one.reverse_path}'"] if of_budget else []
                return [f"queue-edit release {one.id}", *more, *usual]
            case State.BAD:
                return [f"queue-edit show {one.id}", f"queue-edit remove {one.id}"]
            case State.NEW | State.WAIT if one.due is not None:
                late = self._now - max(one.due, one.arrival) > LATE
                alone = late and not self._attended
                return ["queue-run  # it is due, and no queue run is at work"] * alone + usual
            case story.FINISHED if one.kept and one.failed:
                return [f"queue-edit replay --failed {one.id}"]
        return []


def held_by(one: Story) -> Turn | None:
    """Give the last time a message was held; None where it never was, or nobody noted it."""
    return next((turn for turn in reversed(one.turns) if turn.word == HELD), None)


def junk_cause(one: Story) -> Cause | None:
    """Say why a message is for the folder Junk; None for one that is not."""
    if not one.junk:
        return None
    program = next((name for name, code in one.screened if code == JUNKED_BY), "")
    if program:
        return Cause("junk", OURS, f"It goes into Junk: {program} says so.")
    if one.judged.get("action") == JUNKED:
        author = one.judged.get("author") or "its author's domain"
        return Cause(
            "junk",
            SENDERS,
            f"It goes into Junk: nothing proves that it is from {author}, whose DMARC record asks"
            " to quarantine such mail.",
        )
    return Cause("junk", OURS, "It goes into Junk.")
