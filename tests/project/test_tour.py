"""The README's first command: the tour runs to its end, and shows what it says."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tour_runs_to_the_end(tmp_path: Path) -> None:
    environ = {**os.environ, "VIRTUAL_ENV": sys.prefix, "TMPDIR": str(tmp_path)}
    result = subprocess.run(
        ["sh", str(ROOT / "examples/tour.sh")],
        capture_output=True, text=True, env=environ, check=False, timeout=150,
    )  # fmt: skip
    shown = result.stdout
    assert result.returncode == 0, shown + result.stderr
    assert result.stderr == ""
    assert "The tour is over" in shown
    assert shown.count("\n    delivered ") == 4  # bob, carol, postmaster, the DSN
    assert shown.count("\n    relayed ") == 1
    assert "3 Subject: Undelivered" in shown
    assert "this message went through every command.\n    .\n" in shown
    assert list(tmp_path.iterdir()) == []  # it cleans up


def test_a_wrong_option_is_answered_with_the_usage() -> None:
    result = subprocess.run(
        ["sh", str(ROOT / "examples/tour.sh"), "--what"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == os.EX_USAGE
    assert "--stay" in result.stdout
