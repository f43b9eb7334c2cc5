"""Reports: what became of one forward-path in one attempt (RFC 3464 actions, RFC 3463 status)."""

from typing import NamedTuple

from mailtools.errors import BadEntry, Failure
from mailtools.mail.reply import one_line

DELIVERED = "delivered"  # in a Maildir here
RELAYED = "relayed"  # another host took it
EXPANDED = "expanded"  # an alias or a script led to a new entry
DELAYED = "delayed"  # will be tried again
FAILED = "failed"  # will not

ACTIONS = frozenset((DELIVERED, RELAYED, EXPANDED, DELAYED, FAILED))


class Report(NamedTuple):
    """What became of a forward-path: RFC 3464 action, RFC 3463 status, one line of text."""

    forward_path: str
    action: str
    status: str
    text: str
    facts: str = ""
    """What an agent says for the log beside it: `key=value`, blanks between. Not journalled."""

    @property
    def settled(self) -> bool:
        """Whether the forward-path needs no further attempt."""
        return self.action != DELAYED

    def line(self, head: str, *, facts: bool = False) -> bytes:
        """The report as a TAB-separated line behind `head` (a job, or a time), LF at its end.

        With `facts` these are one field more, where there are any.
        """
        text = one_line(self.text) + (f"\t{one_line(self.facts)}" if facts and self.facts else "")
        return f"{head}\t{self.forward_path}\t{self.action}\t{self.status}\t{text}\n".encode(
            "utf-8", "replace"
        )


def parse_report(line: bytes) -> tuple[str, Report]:
    """Read what `Report.line` wrote, without its LF; raise BadEntry when it is something else."""
    parts = line.decode("utf-8", "replace").split("\t", 5)
    if len(parts) not in (5, 6) or parts[2] not in ACTIONS:
        raise BadEntry("Not a report line")
    head, forward_path, action, status, text, *facts = parts
    return head, Report(forward_path, action, status, text, "".join(facts))


def report_failure(forward_path: str, failure: Failure) -> Report:
    """Say a failure as a report: the one place where failures meet agents."""
    action = FAILED if failure.permanent else DELAYED
    return Report(forward_path, action, failure.status, failure.text)
