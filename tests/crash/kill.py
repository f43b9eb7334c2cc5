"""Kill tests: the process dies before its first disk call, its second, … until it completes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crash.door import Call, standing
from crash.scenario import Scenario

KILLED, FAULTY = 77, 78


def cut_off(scenario: Scenario, folder: Path, at: int) -> tuple[bool, list[str]]:
    """Run `act` in a child that dies before disk call `at`; whether it died, and what it had said.

    What was said comes through a pipe, as a peer's socket would carry it: it is out before the
    child dies.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        os._exit(_die_at(scenario, folder, at, writer))
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read().splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (KILLED, 0), f"{scenario}: before call {at} the child ended with {code}"
    return code == KILLED, said


def _die_at(scenario: Scenario, folder: Path, at: int, writer: int) -> int:
    calls = 0

    def guard(function: Call, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            os._exit(KILLED)
        return function(*arguments)

    try:
        with standing(guard):
            scenario.act(folder, lambda text: os.write(writer, f"{text}\n".encode()) and None)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
        return FAULTY
    return 0


def stops(scenario: Scenario, place: Path) -> Iterator[tuple[int, Path, list[str]]]:
    """Give each stop: its number, the folder as it was left, and what had been said.

    The last one is the run that completed.
    """
    at = 0
    died = True
    while died:
        at += 1
        folder = place / f"stop{at}"
        folder.mkdir()
        scenario.prepare(folder)
        died, said = cut_off(scenario, folder, at)
        yield at, folder, said
    assert at > scenario.stops, f"{scenario}: only {at - 1} disk calls were found"
