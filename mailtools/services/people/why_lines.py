"""What became of messages, as text for people and as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from mailtools.errors import BadAddress
from mailtools.mail.address import ascii_domain
from mailtools.mail.reply import one_line
from mailtools.mail.report import Report
from mailtools.services.people.cause import Cause, cause_of, helps
from mailtools.services.people.queue_lines import age
from mailtools.services.people.story import Story
from mailtools.store.destinations import Silence
from mailtools.store.queue import State

LATE = 600.0  # seconds; what is due longer than this waits for a queue run
_LABEL = 10


class Teller:
    """Tells stories, with what is known beside them."""

    def __init__(self, now: float, silences: dict[str, Silence], *, attended: bool) -> None:
        """`silences` are the destinations left alone; `attended`: a queue run is at work."""
        self._now, self._silences, self._attended = now, silences, attended

    # -- for people -------------------------------------------------------------------------------

    def lines(self, one: Story, came_of: str = "") -> Iterator[str]:
        """Yield the lines on one message; `came_of` says what it is to another one."""
        yield f"{one.id}  {self._headline(one)}"
        if came_of:
            yield _line("came of", came_of)
        for hop in one.hops:
            yield _line("before", f"{hop.giver} to {hop.taker}, {hop.date}")
        size = f", {one.size} octets" if one.size else ""
        yield _line("received", f"{_moment(one.arrival)} from {_client(one)}{size}")
        if one.message_id:
            yield _line("message", one.message_id)
        if one.state != State.BAD:
            yield _line("from", f"<{one.reverse_path}>")
        for path in one.forward_paths:
            yield from self._path_lines(one, path)
        for notice in one.notices:
            told = "the sender" if one.reverse_path else "the postmaster"
            yield _line("told", f"{_moment(notice.time)} {told}: {notice.action}, by {notice.id}")
        if one.fault:
            yield _line("fault", one.fault)
        for line in self._general_help(one):
            yield _line("do", line)

    def _headline(self, one: Story) -> str:
        match one.state:
            case State.NEW:
                return "is due now"
            case State.WAIT if one.due is not None:
                rest = one.due - self._now
                when = f"in {age(rest)}" if rest > 0 else f"{age(-rest)} ago"
                until = f", until {_moment(one.expires)}" if one.expires else ""
                return f"waits; next try {_moment(one.due)} ({when}){until}"
            case State.HOLD:
                return "is held, by the operator or by a rule of the control file hold"
            case State.BAD:
                return "is set aside, since it cannot be read"
        ended = f" {_moment(one.ended)}" if one.ended else ""
        return f"{one.outcome}{ended}"

    def _path_lines(self, one: Story, path: str) -> Iterator[str]:
        mark = "" if path in one.pending else " (settled)" if one.pending else ""
        yield _line("to", f"<{path}>{mark}")
        for run in _runs([item for item in one.reports if item[1].forward_path == path]):
            first, last, report, count = run
            text = f"    {_moment(first)} {report.action} {report.status} {one_line(report.text)}"
            yield f"{text} ({count} times, last {_moment(last)})" if count > 1 else text
        newest = one.last(path)
        cause = cause_of(newest) if newest else None
        if cause:
            yield f"    cause: {cause.kind} ({cause.whose}). {cause.says}"
        silence = self._silence(one, path)
        if silence:
            times = f"{silence.failures} attempt{'s' if silence.failures != 1 else ''}"
            yield (
                f"    left alone until {_moment(silence.until)}, after {times} without an answer"
            )
        if cause:
            for line in helps(self._still(one, cause), one.id, path):
                yield f"    do: {line}"

    # -- for programs -----------------------------------------------------------------------------

    def fact(self, one: Story, came_of: str = "") -> dict[str, Any]:
        """Give all of it as values for JSON; times are seconds since 1970."""
        paths = []
        for path in one.forward_paths:
            report = one.last(path)
            cause = cause_of(report) if report else None
            silence = self._silence(one, path)
            paths.append(
                {
                    "address": path,
                    "pending": path in one.pending,
                    "attempts": [
                        {"time": when, "action": r.action, "status": r.status, "text": r.text}
                        for when, r in one.reports
                        if r.forward_path == path
                    ],
                    "cause": cause
                    and {"kind": cause.kind, "whose": cause.whose, "says": cause.says},
                    "do": helps(self._still(one, cause), one.id, path) if cause else [],
                    "left_alone_until": silence.until if silence else None,
                }
            )
        return {
            "id": one.id,
            "state": str(one.state),
            "outcome": str(one.outcome),
            "came_of": came_of or None,
            "arrival": one.arrival,
            "client": one.client,
            "hops": [{"from": h.giver, "by": h.taker, "date": h.date} for h in one.hops],
            "size": one.size,
            "message_id": one.message_id,
            "reverse_path": one.reverse_path,
            "due": one.due,
            "expires": one.expires,
            "ended": one.ended,
            "paths": paths,
            "dsns": [{"time": n.time, "action": n.action, "id": n.id} for n in one.notices],
            "fault": one.fault,
            "do": self._general_help(one),
        }

    # -- what helps -------------------------------------------------------------------------------

    def _silence(self, one: Story, path: str) -> Silence | None:
        if path not in one.pending:
            return None
        try:
            silence = self._silences.get(ascii_domain(path.rpartition("@")[2]))
        except BadAddress:
            return None
        return silence if silence and silence.until > self._now else None

    def _still(self, one: Story, cause: Cause) -> Cause:
        """Leave out what needs an entry that is gone."""
        if one.pending:
            return cause
        lines = tuple(line for line in cause.helps if "{id}" not in line and "{domain}" not in line)
        return Cause(cause.kind, cause.whose, cause.says, lines)

    def _general_help(self, one: Story) -> list[str]:
        match one.state:
            case State.HOLD:
                return [f"queue-edit release {one.id}"]
            case State.BAD:
                return [f"queue-edit show {one.id}", f"queue-edit remove {one.id}"]
            case State.NEW | State.WAIT if one.due is not None:
                late = self._now - max(one.due, one.arrival) > LATE
                return (
                    ["queue-run  # it is due, and no queue run is at work"]
                    if (late and not self._attended)
                    else []
                )
        return []


def in_order(found: list[Story], linked: dict[str, Story]) -> Iterator[tuple[Story, str]]:
    """Yield each message once, what came of it behind it, with what it is to that one."""
    came_of: dict[str, tuple[str, str]] = {}
    for one in linked.values():
        for id_, how in one.children.items():
            came_of.setdefault(id_, (one.id, how))
        if one.origin in linked:
            came_of.setdefault(one.id, (one.origin, "sent on"))
    done: set[str] = set()

    def follow(one: Story) -> Iterator[tuple[Story, str]]:
        if one.id in done:
            return
        done.add(one.id)
        parent, how = came_of.get(one.id, ("", ""))
        yield one, f"{parent} ({how})" if parent else ""
        for other in linked.values():
            if came_of.get(other.id, ("",))[0] == one.id:
                yield from follow(other)

    for one in found:
        first = one
        above = {first.id}
        while (parent := came_of.get(first.id, ("",))[0]) in linked and parent not in above:
            first = linked[parent]
            above.add(parent)
        yield from follow(first)


def json_line(fact: dict[str, Any]) -> str:
    """Write a fact as one line."""
    import json  # only where it is asked for

    return json.dumps(fact)


def _runs(reports: list[tuple[float, Report]]) -> Iterator[tuple[float, float, Report, int]]:
    """Yield reports, those that say the same one after the other as one: first, last, it, count."""
    index = 0
    while index < len(reports):
        first, report = reports[index]
        end = index
        while end + 1 < len(reports) and reports[end + 1][1] == report:
            end += 1
        yield first, reports[end][0], report, end - index + 1
        index = end + 1


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{one_line(text)}"


def _client(one: Story) -> str:
    if one.client.startswith("local "):
        return f"user {one.client.removeprefix('local ')} of this host"
    if one.client in ("bounce", "double-bounce"):
        return "this mail system, as a notification"
    return one.client or "this host"


def _moment(when: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) if when else "-"
