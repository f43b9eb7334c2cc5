"""Rows of the queue as text: Postfix' mailq and its JSON, and a line an entry for pipes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from mailtools.mail.reply import one_line
from mailtools.services.listing.queue_view import Row
from mailtools.store.entry import State
from mailtools.store.suppressed import Suppression

EMPTY = "Mail queue is empty"
NULL = "MAILER-DAEMON"  # what Postfix lists as the sender of what has the null reverse-path
ID_WIDTH = 34
_REASON_END = 76  # Postfix lets reasons end in this column
_MARKS = {State.NEW: "*", State.HOLD: "!"}
_POSTFIX = {
    State.NEW: "active",
    State.WAIT: "deferred",
    State.HOLD: "hold",
    State.BAD: "corrupt",
    State.DONE: "done",
}


def mailq(rows: Iterable[Row]) -> Iterator[str]:
    """Yield Postfix' listing: `*` is due now, `!` is held, reasons stand before their addresses.

    The last line is what monitoring reads: `-- K Kbytes in N Requests.`, or EMPTY.
    """
    count = octets = 0
    for row in rows:
        if not count:
            header = "-Queue ID-", "--Size--", "----Arrival Time---", "-Sender/Recipient-------"
            yield f"{header[0]:<{ID_WIDTH}} {header[1]} {header[2]} {header[3]}"
        else:
            yield ""
        yield from _mailq_entry(row)
        count += 1
        octets += row.size
    if count:
        yield ""
        kbytes = (octets + 1023) // 1024
        yield f"-- {kbytes} Kbytes in {count} Request{'s' if count != 1 else ''}."
    else:
        yield EMPTY


def _mailq_entry(row: Row) -> Iterator[str]:
    name = row.id + _MARKS.get(row.state, "")
    came = time.strftime("%a %b %e %H:%M:%S", time.localtime(row.arrival))
    sender = row.reverse_path or NULL
    yield f"{name:<{ID_WIDTH}} {row.size:>8} {came:>19} {one_line(sender)}"
    if row.fault:
        yield _reason(row.fault)
    if row.way:
        yield _reason(f"goes via {row.way}")
    told = ""
    for one in row.pending:
        if one.reason and one.reason != told:
            yield _reason(one.reason)
            told = one.reason
        yield f"{'':<{ID_WIDTH}} {'':>8} {'':>19} {one_line(one.address)}"


def _reason(text: str) -> str:
    shown = one_line(text)
    return f"{'':<{max(_REASON_END - len(shown), 0)}}({shown})"


def postfix_json(row: Row) -> str:
    """Give a row as a line of `postqueue -j`."""
    return _json(_postfix(row))


def _postfix(row: Row) -> dict[str, Any]:
    recipients: list[dict[str, str]] = []
    for one in row.pending:
        recipient = {"address": one.address}
        if one.reason:
            recipient["delay_reason"] = one.reason
        recipients.append(recipient)
    return {
        "queue_name": _POSTFIX[row.state],
        "queue_id": row.id,
        "arrival_time": int(row.arrival),
        "message_size": row.size,
        "forced_expire": False,
        "sender": row.reverse_path or NULL,
        "recipients": recipients,
    }


def plain(row: Row, now: float) -> str:
    """Give a row as one line: ID, state, size, age, paths, next try and reason, TAB between."""
    columns = (
        row.id,
        row.state.value,
        str(row.size),
        age(now - row.arrival),
        f"<{row.reverse_path}>",
        " ".join(one.address for one in row.pending) or "-",
        _moment(row.due),
        row.reason or "-",
    )
    return "\t".join(one_line(column) for column in columns)


def suppression(one: Suppression) -> str:
    """Give an address that is not tried: it, since when, status and text, TAB between."""
    columns = one.address, _moment(one.since), one.status, one.text
    return "\t".join(one_line(column) for column in columns)


def own_json(row: Row) -> str:
    """Give a row as Postfix does, with what else is known; times are seconds since 1970."""
    found = _postfix(row)
    for recipient, one in zip(found["recipients"], row.pending, strict=True):
        if one.status:
            recipient["status"] = one.status
    found.update(reverse_path=row.reverse_path, state=row.state.value, due=row.due)
    found.update(attempts=row.attempts, fault=row.fault)
    if row.held_by:
        found["held_by"] = row.held_by
    if row.way:
        found["via"] = row.way
    return _json(found)


def age(seconds: float) -> str:
    """Say a time span in two units at most: `3d4h`, `12m`, `40s`."""
    rest = max(int(seconds), 0)
    if rest < 60:
        return f"{rest}s"
    minutes, hours, days = rest // 60 % 60, rest // 3600 % 24, rest // 86400
    if days:
        return f"{days}d{hours}h" if hours else f"{days}d"
    if hours:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    return f"{minutes}m"


def _moment(due: float | None) -> str:
    if due is None:
        return "-"
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(due))


def _json(found: dict[str, Any]) -> str:
    import json  # only where it is asked for

    return json.dumps(found)
