"""What became of messages, as text for people."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from mailtools.log import facts
from mailtools.mail.reply import one_line
from mailtools.mail.report import Report
from mailtools.services.listing.queue_lines import age
from mailtools.services.why import story
from mailtools.services.why.advice import Advice, held_by, junk_cause
from mailtools.services.why.cause import Cause
from mailtools.services.why.door_cause import cause_of_refusal, help_of
from mailtools.services.why.log_lines import LogLine
from mailtools.services.why.refusals import Refusal
from mailtools.services.why.story import LOGGED, Story
from mailtools.store.entry import State
from mailtools.store.journal import COPIED, HELD, REPLAYED, REROUTED

_LABEL = 10
_EXITS = {0: "taken", 99: "junk"}

# What the log says of a message that neither queue nor history do, and which facts of it.
_LOGGED: dict[str, tuple[str, ...]] = {
    "attempted": ("peer", "tls", "tls_wanted"),
    "unsecured": ("peer", "reason"),
    "signed": ("domain", "selectors"),
    "unsigned": ("reason",),
    "sealed": ("domain", "selector"),
    "filtered": ("milter", "verdict", "said", "changes"),
    "suppressed": ("to", "status"),
    "trouble": ("to", "detail"),
}


class Teller(NamedTuple):
    """Tells stories."""

    advice: Advice
    now: float
    """Seconds since 1970."""

    def lines(self, one: Story, came_of: str = "") -> Iterator[str]:
        """Yield the lines on one message; `came_of` says what it is to another one."""
        yield f"{one.id}  {self._headline(one)}"
        if came_of:
            yield _line("came of", came_of)
        for hop in one.hops:
            yield _line("before", f"{hop.giver} to {hop.taker}, {hop.date}")
        yield from _arrival_lines(one)
        for path in one.forward_paths:
            yield from self._path_lines(one, path)
        for notice in one.notices:
            told = "the sender" if one.reverse_path else "the postmaster"
            yield _line("told", f"{_moment(notice.time)} {told}: {notice.action}, by {notice.id}")
        if one.fault and one.state != story.DISCARDED:
            yield _line("fault", one.fault)
        for line in _log_lines(one.logged):
            yield _line("log", line)
        for line in self.advice.whole(one):
            yield _line("do", line)

    def _headline(self, one: Story) -> str:
        match one.state:
            case State.NEW:
                return "is due now"
            case State.WAIT if one.due is not None:
                rest = one.due - self.now
                when = f"in {age(rest)}" if rest > 0 else f"{age(-rest)} ago"
                if one.begins is not None and one.begins > self.now:
                    return f"waits until {_moment(one.begins)} ({when}), as its sender asked"
                until = f", until {_moment(one.expires)}" if one.expires else ""
                return f"waits; next try {_moment(one.due)} ({when}){until}"
            case State.HOLD:
                turn = held_by(one)
                return f"is held by {turn.why}" if turn else "is held"
            case State.BAD:
                return "is set aside, since it cannot be read"
            case story.DISCARDED:
                return f"was discarded ({one.fault}); its sender was told that it is taken"
        known = ", as the log alone knows" if one.state == LOGGED else ""
        ended = f" {_moment(one.ended)}" if one.ended else ""
        return f"{one.outcome}{ended}{known}"

    def _path_lines(self, one: Story, path: str) -> Iterator[str]:
        mark = "" if path in one.pending else " (settled)" if one.pending else ""
        yield _line("to", f"<{path}>{mark}")
        for run in _runs(one.reports_on(path)):
            first, last, report, count = run
            text = f"    {_moment(first)} {report.action} {report.status} {one_line(report.text)}"
            yield f"{text} ({count} times, last {_moment(last)})" if count > 1 else text
        if path in one.retries:
            yield f"    tried {one.retries[path]} (retry-classes)"
        cause = self.advice.cause(one, path)
        if cause:
            yield _cause_line(cause)
        silence = self.advice.silence(one, path)
        if silence:
            times = f"{silence.failures} attempt{'s' if silence.failures != 1 else ''}"
            yield (
                f"    left alone until {_moment(silence.until)}, after {times} without an answer"
            )
        if cause:
            for line in self.advice.helps(one, cause, path):
                yield f"    do: {line}"


def folded(line: str, width: int) -> str:
    """Break a line that is wider than a terminal, so that what follows stands below its text."""
    if len(line) <= width:
        return line
    import textwrap  # only on a narrow terminal

    text = line.lstrip(" ")
    indent = len(line) - len(text)
    indent += _LABEL if indent == 2 else 4
    return textwrap.fill(
        line, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
    )


def refusal_lines(one: Refusal, came_in: str = "") -> Iterator[str]:
    """Yield the lines on what was refused at the door; `came_in` is the ID it has since."""
    said = " ".join(filter(None, (one.code, one.status)))
    often = f" ({one.count} times, last {_moment(one.last)})" if one.count > 1 else ""
    yield f"refused at {one.at.upper()} {_moment(one.first)}{often}: {said} {one_line(one.text)}"
    helo = f", HELO {one.helo}" if one.helo else ""
    user = f", user {one.user}" if one.user else ""
    yield _line("client", f"{one.client or '-'}{helo}{user}")
    if one.message_id:
        yield _line("message", one.message_id)
    if one.judged:
        yield _line("judged", judged_text(one.judged))
    if one.reverse_path is not None:
        yield _line("from", f"<{one.reverse_path}>")
    for path in one.forward_paths:
        yield _line("to", f"<{path}>")
    cause = cause_of_refusal(one)
    yield _cause_line(cause)
    if one.detail:
        yield f"    detail: {one_line(one.detail)}"
    if came_in:
        yield f"    since then: taken, as {came_in}"
        return
    for line in help_of(cause, one):
        yield f"    do: {line}"


def judged_text(found: dict[str, str]) -> str:
    """Say what the checks found of a message when it came."""
    get = found.get
    words = [f"SPF {get('spf', '-')}", f"DKIM {get('dkim', '-')}{_of(get('signers', ''))}"]
    if get("dkim2"):
        words.append(f"DKIM2 {get('dkim2')}")
    words.append(f"DMARC {get('dmarc', '-')}{_of(get('author', ''))}")
    if get("arc"):
        words.append(f"ARC {get('arc')}")
    words += [f"reverse DNS {get('iprev', '-')}", f"HELO {get('hello', '-')}"]
    words.append(f"DNS lists {get('score', '-')}{_of(get('lists', ''))}")
    action, would = get("action", ""), get("would", "")
    verdict = f"only marked, else {would}" if would not in ("", "accept") else action or would
    reason = f" ({get('reason')})" if get("reason") else ""
    return f"{verdict}{reason}: {', '.join(words)}"


def _of(names: str) -> str:
    return f" ({names.replace(',', ' ')})" if names else ""


def _arrival_lines(one: Story) -> Iterator[str]:
    """Tell how it came, and what was found of it then."""
    size = f", {one.size} octets" if one.size else ""
    way = f" {one.way}" if one.way else ""
    yield _line("received", f"{_moment(one.arrival)} from {_client(one)}{way}{size}")
    if one.judged:
        yield _line("judged", judged_text(one.judged))
    if one.screened:
        said = (f"{name} {_EXITS.get(code, f'exit {code}')}" for name, code in one.screened)
        yield _line("programs", ", ".join(said))
    if one.message_id:
        yield _line("message", one.message_id)
    if one.state != State.BAD:
        yield _line("from", f"<{one.reverse_path}>")
    cause = junk_cause(one)
    if cause:
        yield _cause_line(cause)
    for turn in one.turns:
        by = f" by {turn.why}" if turn.word == HELD else " by the operator"
        if turn.word == REROUTED:
            by += f", to go via {turn.why}" if turn.why else ", to go the usual way again"
        elif turn.word == REPLAYED:
            by += f", as a copy of {turn.why}"
        elif turn.word == COPIED:
            by += f", as {turn.why}"
        yield _line(turn.word, f"{_moment(turn.time)}{by}")


def _log_lines(lines: list[LogLine]) -> Iterator[str]:
    for line in lines:
        keys = _LOGGED.get(line.word, ())
        said = facts({key: line.get(key) for key in keys if line.get(key)})
        if said:
            yield f"{_moment(line.time)} {line.word} {said}"


def _cause_line(cause: Cause) -> str:
    return f"    cause: {cause.kind} ({cause.whose}). {cause.says}"


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
    return f"{one.client or 'this host'}{', submitted' if one.submitted else ''}"


def _moment(when: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) if when else "-"
