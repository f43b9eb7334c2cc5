"""What a log says of messages: the lines of some IDs, and what was refused at the door.

A log is gone through twice, since the lines that name an address come after those that do not: once
for the IDs, once for all that is said of them. Only lines that can matter are taken apart.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator

from mailtools.errors import NoSuchEntry, SystemTrouble
from mailtools.mail.report import ACTIONS, Report
from mailtools.services.why.log_lines import LogLine, read_log
from mailtools.services.why.refusals import JUDGED, Refusal, of_log
from mailtools.services.why.story import (
    DISCARDED,
    FINISHED,
    JUNKED,
    JUNKED_BY,
    LOGGED,
    Story,
)
from mailtools.store.journal import HELD, NOTIFIED, Notice, Turn
from mailtools.store.queue_id import arrival, is_id

# Lines on what was refused at its end, which may name the message in their neighbour only.
_UNNAMED = (b"judged client=", b"refused at=message ")

_id = re.compile(rb"[ \t\"]id=([0-9A-Za-z.]+)")


class Logs:
    """Some log files; `-` is stdin."""

    def __init__(self, paths: Iterable[str], now: float) -> None:
        """Take their paths, in the order they are to be read."""
        self._paths, self._now = tuple(paths), now
        self._stdin: list[bytes] | None = None
        self.any = bool(self._paths)
        """Whether there is any."""

    def of(
        self, asked: str, known: Iterable[str]
    ) -> tuple[dict[str, list[LogLine]], list[Refusal]]:
        """Give what is said of the IDs that `asked` leads to, and of `known` ones; and refusals.

        Raises NoSuchEntry for a file that is not there, SystemTrouble for one that cannot be read.
        """
        if not self._paths:
            return {}, []
        needle = asked.strip("<>").encode("utf-8", "surrogateescape").lower()
        near = [
            line
            for line in self._lines()
            if needle in line.lower() or any(each in line for each in _UNNAMED)
        ]
        ids = {*known}
        if is_id(asked):
            ids.add(asked)
        lines = list(read_log(near, self._now))
        ids.update(
            line.get("id") for line in lines if _names(line, needle.decode("utf-8", "replace"))
        )
        ids.discard("")
        wanted = {id_.encode() for id_ in ids}
        told = (line for line in self._lines() if wanted.intersection(_id.findall(line)))
        found: dict[str, list[LogLine]] = {}
        for event in read_log(told if wanted else (), self._now):
            if event.get("id") in ids:
                found.setdefault(event.get("id"), []).append(event)
        return found, of_log(lines, asked)

    def _lines(self) -> Iterator[bytes]:
        for path in self._paths:
            if path == "-":
                if self._stdin is None:  # a pipe can be read once only
                    self._stdin = sys.stdin.buffer.readlines()
                yield from self._stdin
            else:
                yield from _lines_of(path)


def _lines_of(path: str) -> Iterator[bytes]:
    import gzip  # heavy, and few logs are looked into
    import zlib

    try:
        with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
            yield from file
    except FileNotFoundError:
        raise NoSuchEntry(f"There is no log file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SystemTrouble(detail=f"cannot read {path}: {error}") from error


def _names(line: LogLine, asked: str) -> bool:
    """Whether a line with an ID is about an address, a Message-ID or a client."""
    if not is_id(line.get("id")):
        return False
    keys = ("from", "to", "message_id", "user", "client", "helo")
    return any(line.get(key).strip("<>").lower() == asked for key in keys)


def story_of(id_: str, lines: list[LogLine]) -> Story:
    """Tell what the log alone says of a message that neither queue nor history knows."""
    one = Story(id_, LOGGED, arrival(id_))
    for line in lines:
        get = line.get
        if line.word == "queued":
            one.reverse_path, one.message_id = get("from").strip("<>"), get("message_id")
            one.client = " ".join(filter(None, (get("client"), get("helo"))))
            one.size = _number(get("size"))
        elif line.word == "discarded":
            one.state, one.reverse_path = DISCARDED, get("from").strip("<>")
            one.client, one.size = get("client"), _number(get("size"))
            one.fault = f"by the milter {get('milter')}" if get("milter") else get("why")
        elif line.word in ACTIONS and get("to"):
            report = Report(get("to"), line.word, get("status"), get("text"))
            one.reports.append((line.time, report))
            one.ended = line.time or one.ended
            one.forward_paths.setdefault(report.forward_path)
        elif line.word == NOTIFIED and get("dsn"):
            one.notices.append(Notice(line.time, get("of"), get("dsn")))
        elif line.word == HELD and get("rule"):
            one.turns.append(
                Turn(line.time, HELD, f"the rule {get('rule')!r} of the control file hold")
            )
        elif line.word == "removed":
            one.state = FINISHED
    add_lines(one, lines)
    junk = any(code == JUNKED_BY for _, code in one.screened)
    one.junk = junk or one.judged.get("action") == JUNKED
    return one


def add_lines(one: Story, lines: list[LogLine]) -> None:
    """Add to a story what the log says of it."""
    one.logged = lines
    for line in lines:
        if line.word == "queued":
            user = f" as {line.get('user')}" if line.get("user") else ""
            one.way = f"by {line.get('protocol') or 'SMTP'}{user}"
        elif line.word == JUDGED and not one.judged:
            one.judged = {k: v for k, v in line.facts.items() if k not in ("id", "client")}
        elif line.word == "screened" and not one.junk:
            each = os.path.basename(line.get("program")), _number(line.get("exit"))
            if each not in one.screened:
                one.screened.append(each)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.removeprefix("-").isdecimal() else 0
