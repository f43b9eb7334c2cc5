"""Every disk call fails in turn: the caller hears a temporary failure, and nothing is lost."""

import errno
from pathlib import Path

import pytest
from crash import fault
from crash.everything import SCENARIOS
from crash.scenario import Scenario


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("error", sorted(fault.CAN_FAIL), ids=errno.errorcode.get)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_each_disk_call_fails(
    scenario: Scenario, error: int, lasting: bool, tmp_path: Path
) -> None:
    for at, folder, said in fault.faults(scenario, tmp_path, error, lasting=lasting):
        try:
            scenario.check(folder, said)
        except Exception as trouble:
            name = errno.errorcode[error]
            raise AssertionError(f"{name} at disk call {at}, having said {said}") from trouble
