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

LATER = {
    "smtpd-accept": {
        "protocol.sasl.server", "services.access.login", "services.access.passwords",
        "services.reception.intake", "services.reception.mending", "mail.mime", "net.pool",
    },
    "pop3d": {
        "protocol.sasl.server", "services.access.login", "services.access.passwords",
        "services.pop3.mailbox", "store.maildir", "store.uidlist", "net.pool",
    },
    "imapd": {
        "protocol.sasl.server", "services.access.login", "services.access.passwords",
        "protocol.imap.append", "protocol.imap.mailboxes", "protocol.imap.messages",
        "services.imap.mailbox", "store.maildir", "mail.mime", "net.pool",
    },
}  # fmt: skip
"""Our own modules that a peer who only looks at the banner need not pay for."""


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter; give the names of all modules that are then loaded."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_not_loaded_at_the_start(command: str) -> None:
    module = f"mailtools.commands.{command.replace('-', '_')}"
    extra = loaded_by(f"sys.argv[0] = {command!r}; import {module}") - loaded_by("import click")
    assert not {name.partition(".")[0] for name in extra} & HEAVY - NEEDS.get(command, set())


@pytest.mark.parametrize("command", LATER)
def test_what_a_banner_does_not_load(command: str) -> None:
    module = f"mailtools.commands.{command.replace('-', '_')}"
    later = {f"mailtools.{name}" for name in LATER[command]}
    assert not loaded_by(f"import {module}") & later
    # A listener has it all before it forks, so that no session loads it for itself.
    listener = loaded_by(f"import {module} as command; command.preload()")
    needs = later - {"mailtools.net.pool", "mailtools.mail.mime"}
    assert needs <= listener, needs - listener


@pytest.mark.parametrize("command", ["smtpd-accept", "pop3d", "imapd"])
def test_no_dataclass_on_the_way_to_a_banner(command: str) -> None:
    # Each costs as much as five NamedTuples, or thirty plain classes.
    module = f"mailtools.commands.{command.replace('-', '_')}"
    assert "dataclasses" not in loaded_by(f"import {module}")


def test_who_has_no_milters_pays_nothing_for_them() -> None:
    module = "mailtools.commands.smtpd_accept"
    assert not [n for n in loaded_by(f"import {module} as c; c.preload()") if "milter" in n]
