"""A power cut after every disk call, in every state it may leave; and that each fsync counts."""

from collections import Counter
from pathlib import Path

import pytest
from crash import simdisk
from crash.everything import SCENARIOS
from crash.scenario import Scenario
from crash.simdisk import Op


def recorded(scenario: Scenario, tmp_path: Path) -> tuple[Path, list[Op]]:
    """The folder before, and what the scenario changed in one like it."""
    start, folder = tmp_path / "start", tmp_path / "folder"
    for path in (start, folder):
        path.mkdir()
        scenario.prepare(path)
    ops = simdisk.record(scenario, folder)
    assert sum(op.kind != "say" for op in ops) >= scenario.stops
    return start, ops


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_power_cut(scenario: Scenario, tmp_path: Path) -> None:
    start, ops = recorded(scenario, tmp_path)
    assert not simdisk.violated(start, ops, tmp_path, scenario.check)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_without_any_one_fsync_a_power_cut_does_harm(scenario: Scenario, tmp_path: Path) -> None:
    start, ops = recorded(scenario, tmp_path)
    idle = Counter(
        which.split()[2]
        for which, fewer in simdisk.without_sync(ops)
        if not simdisk.violated(start, fewer, tmp_path, scenario.check)
    )
    assert not idle - Counter(scenario.spare), "these are for nothing, or nothing tests them"
