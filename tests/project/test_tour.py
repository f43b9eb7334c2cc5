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


def test_the_way_to_run_it_leaves_nothing_to_mend_but_what_a_test_lacks(tmp_path: Path) -> None:
    """README, "Run it": the control folder it makes, with stubs for what only a host can do."""
    readme = (ROOT / "README.md").read_text()
    block = readme[
        readme.index("    useradd --system") : readme.index("    cd /opt/mailtools/share")
    ]
    for real, here in (
        ("/etc/mailtools", f"{tmp_path}/etc"), ("/var/spool/mailtools", f"{tmp_path}/spool"),
        ("/srv/mail", f"{tmp_path}/mail"), ("install -d -o mail -g mail", "install -d"),
        ("echo vmail", "id -un"), ("mail-check ", "mail-check --no-dns || : "),
    ):  # fmt: skip
        assert real in block, real
        block = block.replace(real, here)
    stubs = tmp_path / "stubs"
    stubs.mkdir()
    for name in ("useradd", "chgrp"):
        (stubs / name).write_text("#!/bin/sh\n")
        (stubs / name).chmod(0o755)
    environ = {
        "PATH": f"{stubs}:{ROOT / 'bin'}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "MAILTOOLS_ETC": f"{tmp_path}/etc", "MAILTOOLS_SPOOL": f"{tmp_path}/spool",
    }  # fmt: skip
    result = subprocess.run(
        ["sh", "-e", "-c", block], input="secret\n",
        capture_output=True, text=True, env=environ, check=False, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    found = [line for line in result.stdout.splitlines() if line.startswith("fault")]
    assert [line for line in found if "/etc/ssl/mail/" not in line and " free" not in line] == []


def test_the_units_that_readme_names_are_there() -> None:
    readme = (ROOT / "README.md").read_text()
    units = {path.name for path in (ROOT / "examples/systemd").iterdir()}
    (copied,) = re.findall(r"^    cp (.*) /etc/systemd/system/$", readme, re.M)
    chosen = {unit for name in copied.split() for unit in units if unit.startswith(name[:-1])}
    enabled = " ".join(re.findall(r"^    systemctl enable --now (.*)$", readme, re.M))
    assert {name if "." in name else f"{name}.service" for name in enabled.split()} <= chosen
    assert chosen & {"mail-dkim.timer", "queue-run.service"}


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
