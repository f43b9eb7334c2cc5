"""Counts of the last hour: a sliding window, taken back, swept, whole when many count at once."""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mailtools.store.tally import HOUR, Tally

NOW = 1_764_000_000.0


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 50)), max_size=20))
def test_the_sum_is_that_of_the_last_hour(
    tmp_path_factory: object, steps: list[tuple[int, int]]
) -> None:
    tally = Tally(str(tmp_path_factory.mktemp("tally")))  # type: ignore[attr-defined]
    now, counted = NOW, []
    for pause, count in steps:
        now += pause
        counted.append((now, count))
        wanted = sum(n for when, n in counted if int(when) > now - HOUR)
        assert tally.add("user:alice", count, now) == wanted
    assert tally.sum("user:bob", now) == 0


def test_what_is_taken_back_does_not_count(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path / "budget"))
    tally.add("a", 7, NOW)
    assert tally.add("a", -3, NOW + 1) == 4


def test_old_hours_and_days_are_swept(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path))
    for hour in range(50):
        tally.add("a", 1, NOW + hour * HOUR)
        tally.first_today("x", NOW + hour * HOUR)
    assert len([name for name in os.listdir(tmp_path) if name.isdigit()]) == 2
    assert len(os.listdir(tmp_path / "day")) == 1


def test_once_a_day(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path))
    assert [tally.first_today("x", NOW + n) for n in (0, 1, 86400)] == [True, False, True]
    assert tally.first_today("y", NOW)


def test_a_torn_line_and_odd_names_do_no_harm(tmp_path: Path) -> None:
    tally = Tally(str(tmp_path))
    assert tally.add("user:../../x y", 2, NOW) == 2
    (path,) = (tmp_path / str(int(NOW) // HOUR)).iterdir()
    with path.open("ab") as file:
        file.write(b"17640")
    assert tally.sum("user:../../x y", NOW) == 2


def _count(folder: str, _: int) -> int:
    return Tally(folder).add("a", 1, NOW)


def test_many_count_at_once_and_none_is_lost(tmp_path: Path) -> None:
    Tally(str(tmp_path)).add("a", 0, NOW)
    with ProcessPoolExecutor(4) as pool:
        sums = list(pool.map(partial(_count, str(tmp_path)), range(100)))
    assert max(sums) == 100
    assert len([n for n in sums if n <= 10]) <= 10  # nobody is allowed what another took
