"""Fault tests: the first disk call fails, the second, … until none does (ENOSPC, EIO, EMFILE)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crash.door import Call, standing
from crash.scenario import Scenario

from mailtools.errors import Failure

# Which calls can fail so. A file system that is out of space still removes.
_WRITING = ("open", "write", "fsync", "rename", "link", "mkdir")
CAN_FAIL: dict[int, tuple[str, ...]] = {
    errno.ENOSPC: _WRITING,
    errno.EIO: (*_WRITING, "unlink", "rmdir", "utime"),
    errno.EMFILE: ("open",),
}


class _Failing:
    """Fails call `at`; a write without space writes half of it first, as a full disk does."""

    def __init__(self, at: int, error: int, lasting: bool) -> None:
        self.at, self.error, self.lasting = at, error, lasting
        self.calls = 0
        self.failed = False

    def __call__(self, function: Call, *arguments: Any) -> Any:
        if function.__name__ in CAN_FAIL[self.error]:
            self.calls += 1
            if self.calls == self.at or (self.lasting and self.calls > self.at):
                self.failed = True
                if function.__name__ == "write" and self.error == errno.ENOSPC:
                    fd, data = arguments
                    os.write(fd, bytes(data)[: len(data) // 2])
                raise OSError(self.error, os.strerror(self.error))
        return function(*arguments)


def faults(
    scenario: Scenario, place: Path, error: int, *, lasting: bool = False
) -> Iterator[tuple[int, Path, list[str]]]:
    """Give the folder and what was said for each failing call; the last run met no fault.

    `lasting`: every later call that can fail so does, too (the disk stays full). A Failure that
    `act` raises is how it says that it did not succeed; anything else is a fault of the test's
    subject and goes through.
    """
    at = 0
    failed = True
    while failed:
        at += 1
        folder = place / f"fault{at}"
        folder.mkdir()
        scenario.prepare(folder)
        said: list[str] = []
        guard = _Failing(at, error, lasting)
        failure = _run(scenario, folder, said, guard)
        if failure:
            assert guard.failed, f"{scenario} fails by itself: {failure}"
            assert not failure.permanent, f"{scenario}: own trouble said as permanent: {failure}"
        failed = guard.failed
        yield at, folder, said


def _run(scenario: Scenario, folder: Path, said: list[str], guard: Call) -> Failure | None:
    try:
        with standing(guard):
            scenario.act(folder, said.append)
    except Failure as failure:
        return failure
    return None
