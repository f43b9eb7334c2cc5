"""A scenario: what is there before, what is done, and what must hold wherever it was cut off.

One scenario serves all crash tests: it is killed before each disk call (`kill.py`), each call fails
in turn (`fault.py`), and every state that a power cut may leave is checked (`simdisk.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Say = Callable[[str], None]


@dataclass(frozen=True)
class Scenario:
    """`act(folder, say)` works in `folder` and says what it acknowledges to its peer, when it does.

    `check(folder, said)` asserts what must hold when `act` was cut off having said so much; it may
    recover first, and change the folder as it likes. `stops` is the least number of disk calls that
    `act` must make: a test that finds fewer tests nothing. `spare` is how many fsyncs of a path may
    be left out one at a time without harm; each says why.
    """

    name: str
    prepare: Callable[[Path], None]
    act: Callable[[Path, Say], None]
    check: Callable[[Path, list[str]], None]
    stops: int = 5
    spare: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name
