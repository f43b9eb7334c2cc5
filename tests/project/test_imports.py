"""Start-up is a feature: what each command must not load before it is asked to."""

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(__file__).parents[2] / "bin"
COMMANDS = sorted(path.name for path in BIN.iterdir())

HEAVY = {
    "argon2", "asyncio", "cryptography", "ctypes", "dns", "email", "filelock", "hashlib", "hmac",
    "http", "idna", "ipaddress", "json", "logging", "multiprocessing", "secrets", "shutil",
    "smtplib", "sqlite3", "ssl", "subprocess", "tempfile", "unittest", "urllib",
}  # fmt: skip
# What a command needs for its one purpose, whatever it is asked.
NEEDS: dict[str, set[str]] = {
    "queue-run": {"subprocess"},
    "relay-send": set(),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_not_loaded_at_the_start(command: str) -> None:
    module = f"mailtools.commands.{command.replace('-', '_')}"
    code = f"import sys; sys.argv[0] = {command!r}; import {module}; print(*sys.modules)"
    bare = subprocess.run(
        [sys.executable, "-c", "import click, sys; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    extra = {name.partition(".")[0] for name in loaded.stdout.split()}
    extra -= {name.partition(".")[0] for name in bare.stdout.split()}
    assert not extra & HEAVY - NEEDS.get(command, set())
