"""kill -9 before every disk call: nothing acknowledged is lost, nothing half-written is seen."""

from pathlib import Path

import pytest
from crash import kill
from crash.everything import SCENARIOS
from crash.scenario import Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_killed_before_each_disk_call(scenario: Scenario, tmp_path: Path) -> None:
    for at, folder, said in kill.stops(scenario, tmp_path):
        try:
            scenario.check(folder, said)
        except Exception as error:
            raise AssertionError(f"killed before disk call {at}, having said {said}") from error
