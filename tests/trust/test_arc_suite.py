"""The public ARC test suite (github.com/ValiMail/arc_test_suite), where a copy lies.

Put its tests/arc-draft-validation-tests.yml where $ARC_TEST_SUITE says; it is not kept here.
"""

import os
from pathlib import Path

import pytest
import yaml

from mailtools.trust.arc import verify_message_chain

SUITE = Path(os.environ.get("ARC_TEST_SUITE", "/nonexistent"))
STRICTER = {
    # passes there: a signature that covers no field at all; RFC 6376 5.4 wants From covered
    "ams_fields_h_empty",
    # passes there: signed as if a missing c= meant relaxed; RFC 6376 3.5 says simple
    "ams_fields_c_na",
}


def cases():
    """List (keys, case) for each test of the suite."""
    if not SUITE.exists():
        return [pytest.param({}, {}, marks=pytest.mark.skip(reason="no copy of the suite"))]
    return [
        pytest.param(scenario["txt-records"], {**case, "name": name}, id=name)
        for scenario in yaml.safe_load_all(SUITE.read_text(encoding="utf-8"))
        for name, case in scenario["tests"].items()
    ]


@pytest.mark.parametrize(("keys", "case"), cases())
def test_case(zone, keys, case):
    lookup = zone({name: {"TXT": [text]} for name, text in (keys or {}).items()})
    found = verify_message_chain(case["message"].encode(), lookup, 12345)
    wanted = case["cv"].strip().lower() or "fail"
    if case["name"] in STRICTER:
        wanted = "fail"
    assert found.result == wanted, found.problem
