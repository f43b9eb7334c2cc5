"""How work grows with its input: ratios of processor time, never times themselves."""

import contextlib
import time
from collections.abc import Callable

from mailtools.errors import Failure

GROWTH = 4
MOST = 10  # a linear step gives 4, n log n a little more, a quadratic one 16
LEAST, SOME = 0.0005, 0.002  # seconds: below the one nothing can be told, the other is wanted

Work = Callable[[int], object]


def seconds(work: Work, size: int) -> float:
    """Give the processor time that `work` takes for an input of a size, at best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        with contextlib.suppress(Failure):
            work(size)
        best = min(best, time.process_time() - start)
    return best


def grows_linearly(work: Work, most: int = 16000) -> bool:
    """Tell whether four times the input takes about four times as long, once in three tries."""
    size = 500
    while size < most and seconds(work, size) < SOME:
        size *= 2

    def ratio() -> float:
        return seconds(work, size * GROWTH) / max(seconds(work, size), LEAST)

    return any(ratio() < MOST for _ in range(3))  # the machine may be busy once
