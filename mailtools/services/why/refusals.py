"""Mail that never came in: what smtpd-accept refused, as the log tells it.

Nothing is kept in the spool of a stranger's mail that is refused; its log lines are all there is.
What was refused again and again for the same reason is one Refusal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mailtools.services.why.log_lines import LogLine

REFUSED, JUDGED, AUTH_FAILED, AUTH_DELAYED = "refused", "judged", "auth-failed", "auth-delayed"
MOST = 10_000  # refusals of different kinds that are kept in mind

_angled = re.compile(r"<([^<>]*)>")
_number = re.compile(r"\d+")


@dataclass(slots=True)
class Refusal:
    """What was refused at the door, and how often."""

    at: str
    """The command that was refused: rcpt, mail, message …, or login."""
    code: str
    status: str
    text: str
    """What the peer was told."""
    client: str
    helo: str = ""
    user: str = ""
    reverse_path: str | None = None
    """None where none was given yet."""
    forward_paths: list[str] = field(default_factory=list)
    message_id: str = ""
    detail: str = ""
    judged: dict[str, str] = field(default_factory=dict)
    first: float = 0.0
    last: float = 0.0
    count: int = 1

    def about(self, asked: str) -> bool:
        """Whether it is about an address, a Message-ID, a user or a client, in lower case."""
        named = (self.reverse_path or "", self.user, self.message_id, self.client)
        words = {name.lower() for name in (*named, self.helo, *self.forward_paths)}
        words.add(self.message_id.strip("<>").lower())
        return asked in words - {""}


class Refusals:
    """Takes log lines, and gives what they tell of refusals."""

    def __init__(self, wanted: Callable[[Refusal], bool]) -> None:
        """`wanted` says which count."""
        self._wanted = wanted
        self._found: dict[tuple[str, ...], Refusal] = {}
        self._judged: dict[tuple[str, str], LogLine] = {}

    def take(self, line: LogLine) -> None:
        """Look at one line."""
        if line.word == JUDGED and not line.get("id"):
            if len(self._judged) >= MOST:
                self._judged.clear()
            self._judged[line.get("client"), line.get("from")] = line
        elif line.word == REFUSED:
            self._add(self._of(line), line)
        elif line.word in (AUTH_FAILED, AUTH_DELAYED):
            text = line.get("reason") or "The login or its password is wrong"
            status = "4.7.0" if line.word == AUTH_DELAYED else "5.7.8"
            one = Refusal("login", "", status, text, line.get("rip"), user=line.get("user"))
            one.detail = line.get("proto")
            self._add(one, line)

    def found(self) -> list[Refusal]:
        """Give them, the newest last."""
        return sorted(self._found.values(), key=lambda one: one.last)

    def _of(self, line: LogLine) -> Refusal:
        get, at = line.get, line.get("at")
        one = Refusal(at, get("code"), get("status"), get("text"), get("client"), get("helo"))
        one.user, one.detail = get("user"), get("detail")
        if "from" in line.facts:
            one.reverse_path = get("from").strip("<>")
        elif at == "mail":
            one.reverse_path = next(iter(_angled.findall(get("said"))), None)
        one.forward_paths = _angled.findall(get("said") if at == "rcpt" else get("to"))
        if at == "message":
            judged = self._judged.pop((one.client, get("from")), None)
            if judged is not None:
                one.judged = judged.facts
                one.message_id = judged.get("message_id")
        return one

    def _add(self, one: Refusal, line: LogLine) -> None:
        if not self._wanted(one):
            return
        to = ",".join(one.forward_paths)
        said = _number.sub("0", one.text)
        key = (one.at, one.status, one.client, one.user, one.reverse_path or "", to, said)
        known = self._found.get(key)
        one.first = one.last = line.time
        if known is not None:
            one.first, one.count = known.first, known.count + 1
        elif len(self._found) >= MOST:
            return
        self._found[key] = one


def of_log(lines: Iterable[LogLine], asked: str) -> list[Refusal]:
    """Give what the log says was refused and is about `asked`, the newest last."""
    wanted = asked.strip("<>").lower()
    refusals = Refusals(lambda one: one.about(wanted))
    for line in lines:
        refusals.take(line)
    return refusals.found()
