"""What became of messages, as JSON: times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mailtools.services.why.advice import Advice, held_by, junk_cause
from mailtools.services.why.cause import Cause
from mailtools.services.why.door_cause import cause_of_refusal, help_of
from mailtools.services.why.refusals import Refusal
from mailtools.services.why.story import Story
from mailtools.store.entry import State


def fact(advice: Advice, one: Story, came_of: str = "") -> dict[str, Any]:
    """Give all of a story as values for JSON."""
    turn = held_by(one) if one.state == State.HOLD else None
    return {
        "id": one.id,
        "state": str(one.state),
        "outcome": str(one.outcome),
        "came_of": came_of or None,
        "arrival": one.arrival,
        "client": one.client,
        "submitted": one.submitted,
        "way": one.way,
        "hops": [{"from": h.giver, "by": h.taker, "date": h.date} for h in one.hops],
        "size": one.size,
        "message_id": one.message_id,
        "reverse_path": one.reverse_path,
        "judged": one.judged or None,
        "programs": [{"name": name, "exit": code} for name, code in one.screened],
        "junk": _cause(junk_cause(one)),
        "held_by": turn.why if turn else None,
        "turns": [{"time": t.time, "word": t.word, "why": t.why} for t in one.turns],
        "due": one.due,
        "begins": one.begins,
        "expires": one.expires,
        "ended": one.ended,
        "paths": list(_paths(advice, one)),
        "dsns": [{"time": n.time, "action": n.action, "id": n.id} for n in one.notices],
        "log": [{"time": line.time, "event": line.word, **line.facts} for line in one.logged],
        "fault": one.fault,
        "do": advice.whole(one),
    }


def _paths(advice: Advice, one: Story) -> Iterator[dict[str, Any]]:
    for path in one.forward_paths:
        cause, silence = advice.cause(one, path), advice.silence(one, path)
        yield {
            "address": path,
            "pending": path in one.pending,
            "retries": one.retries.get(path),
            "attempts": [
                {"time": when, "action": r.action, "status": r.status, "text": r.text}
                for when, r in one.reports_on(path)
            ],
            "cause": _cause(cause),
            "do": advice.helps(one, cause, path) if cause else [],
            "left_alone_until": silence.until if silence else None,
        }


def refusal_fact(one: Refusal, came_in: str = "") -> dict[str, Any]:
    """Give what was refused at the door as values for JSON."""
    cause = cause_of_refusal(one)
    return {
        "state": "refused",
        "at": one.at,
        "code": one.code,
        "status": one.status,
        "text": one.text,
        "detail": one.detail,
        "client": one.client,
        "helo": one.helo,
        "user": one.user,
        "reverse_path": one.reverse_path,
        "forward_paths": one.forward_paths,
        "message_id": one.message_id,
        "judged": one.judged or None,
        "first": one.first,
        "last": one.last,
        "count": one.count,
        "cause": _cause(cause),
        "came_in": came_in or None,
        "do": [] if came_in else help_of(cause, one),
    }


def _cause(cause: Cause | None) -> dict[str, str] | None:
    return cause and {"kind": cause.kind, "whose": cause.whose, "says": cause.says}


def json_line(value: dict[str, Any]) -> str:
    """Write a fact as one line."""
    import json  # only where it is asked for

    return json.dumps(value)
