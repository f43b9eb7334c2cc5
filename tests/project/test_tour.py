"""What the README says to try first: the tour, and the session by hand."""

import os
import re
import shutil
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


def test_the_session_by_hand_ends_with_the_message(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    (session,) = re.findall(r"\n((?:    [^\n]*\n)+)", readme[readme.index("The same by hand") :])[
        :1
    ]
    environ = {"PATH": f"{ROOT / 'bin'}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["sh", "-e", "-c", session],
        capture_output=True, text=True, env=environ, cwd=tmp_path, check=False, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "\nIt works.\n.\n+OK Bye\n" in result.stdout.replace("\r", "")
    assert "delivered id=" in result.stderr


def without_commands(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the tour of a checkout that has no .venv, on a host that has next to nothing."""
    clone, path = tmp_path / "clone", tmp_path / "path"
    (clone / "examples").mkdir(parents=True)
    (clone / "pyproject.toml").touch()
    shutil.copy(ROOT / "examples/tour.sh", clone / "examples")
    path.mkdir(exist_ok=True)
    for tool in ("sh", "dirname"):
        found = shutil.which(tool)
        assert found
        (path / tool).symlink_to(found)
    return subprocess.run(
        ["sh", str(clone / "examples/tour.sh")],
        capture_output=True, text=True, env={"PATH": str(path)}, check=False,
    )  # fmt: skip


def test_without_python_it_says_what_to_install(tmp_path: Path) -> None:
    result = without_commands(tmp_path)
    assert result.returncode == 1
    assert result.stderr == (
        "tour: there is no python3: on Debian and Ubuntu, apt-get install python3-venv\n"
    )


def test_without_venv_it_says_what_to_install(tmp_path: Path) -> None:
    python = tmp_path / "path" / "python3"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\n[ "$1" = -c ]\n')  # python3 -m venv fails
    python.chmod(0o755)
    result = without_commands(tmp_path)
    assert result.returncode == 1
    assert result.stderr.endswith("on Debian and Ubuntu, apt-get install python3-venv\n")
