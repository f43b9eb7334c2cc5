"""Documents that cannot rot: commands, options, control files, events and pages name each other."""

import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

from mailtools.mail.report import ACTIONS
from mailtools.settings import SETTINGS

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(path.name for path in (ROOT / "bin").iterdir())
PAGES = sorted((ROOT / "man").rglob("*.[1-9]"))


def page_of(command: str) -> str:
    found = [page for page in PAGES if page.stem == command and page.suffix in (".1", ".8")]
    assert len(found) == 1, f"{command} has {len(found)} man pages"
    return found[0].read_text()


def command_of(name: str) -> click.Command | None:
    main = import_module(f"mailtools.commands.{name.replace('-', '_')}").main
    return main if isinstance(main, click.Command) else None


@pytest.mark.parametrize("command", COMMANDS)
def test_every_program_is_three_lines(command: str) -> None:
    lines = (ROOT / "bin" / command).read_text().split("\n")
    module = command.replace("-", "_")
    assert lines == [
        "#!/usr/bin/env python3",
        f"from mailtools.commands.{module} import main",
        "",
        "main()",
        "",
    ]
    assert (ROOT / "bin" / command).stat().st_mode & 0o111


@pytest.mark.parametrize("command", COMMANDS)
def test_every_program_is_in_the_readme_and_the_overview(command: str) -> None:
    assert re.search(rf"`{command}`", (ROOT / "README.md").read_text())
    assert f"Xr {command} " in (ROOT / "man/man7/mailtools.7").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_in_the_page_and_the_reverse(command: str) -> None:
    page = page_of(command)
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"):
        assert re.search(rf'^\.Sh "?{section}', page, re.M), f"no section {section}"
    declared = command_of(command)
    if declared is None:
        return  # sendmail reads its flags itself; its own tests hold them
    options = {
        name.lstrip("-")
        for parameter in declared.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
        if name.startswith("--")
    }
    written = {
        name.replace("\\-", "-")
        for name in re.findall(r"^\.(?:It )?Fl Fl ([a-z0-9\\-]+)", page, re.M)
    }
    assert options - written - {"version"} == set()
    assert written - options - {"help", "version"} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_program_helps(command: str) -> None:
    result = subprocess.run(
        [sys.executable, str(ROOT / "bin" / command), "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_every_control_file_is_in_the_page_as_the_table_says() -> None:
    page = (ROOT / "man/man5/mailtools-control.5").read_text()
    rows = dict(re.findall(r"^\.It Pa (\S+)\n((?:(?!\.It|\.El).*\n)*)", page, re.M))
    assert set(rows) == set(SETTINGS)
    for setting in SETTINGS.values():
        text = " ".join(rows[setting.name].split())
        assert " ".join(setting.says.split()) in text, setting.name
        assert f"Kind: {setting.kind}; default: {setting.default}; read by: {setting.readers}." in (
            text
        ), setting.name


def test_every_event_is_documented_and_the_reverse() -> None:
    written = set(ACTIONS)  # a queue run logs each report by its action
    for module in (ROOT / "mailtools").rglob("*.py"):
        for call in re.findall(
            r'\b(?:event|_?note)\(\s*("[a-z-]+"(?: if [\w.]+ else "[a-z-]+")?)', module.read_text()
        ):
            written |= set(re.findall(r'"([a-z-]+)"', call))
    page = (ROOT / "man/man5/mailtools-log.5").read_text()
    documented = set(re.findall(r"^\.It Sy ([a-z-]+)", page, re.M))
    assert written - documented == set()
    assert documented - written == set()


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs mandoc")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_clean(page: Path) -> None:
    result = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(page)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    known = ("referenced manual not found", "operating system explicitly specified")
    faults = [line for line in result.stdout.splitlines() if not any(k in line for k in known)]
    assert not faults


@pytest.mark.skipif(not shutil.which("mandoc"), reason="needs mandoc")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_escape_is_left_on_a_page(page: Path) -> None:
    shown = subprocess.run(
        ["mandoc", "-T", "ascii", str(page)], capture_output=True, text=True, check=True
    ).stdout
    assert not re.search(r"\\[e(&]", re.sub(".\b", "", shown)), page.name


def test_a_crontab_makes_no_mail_of_the_log() -> None:
    """Cron mails what is printed, and a queue run prints what became of that mail."""
    page = (ROOT / "man/man8/queue-run.8").read_text()
    for text in ((ROOT / "examples/crontab").read_text(), page):
        lines = re.findall(r"^(?:\.Dl )?[*0-9/ ]{9,} (.*queue-run.*)$", text, re.M)
        assert lines
        assert all("2>&1 | logger " in line for line in lines)


def test_every_example_is_in_their_readme() -> None:
    readme = (ROOT / "examples/README.md").read_text()
    for path in (ROOT / "examples").iterdir():
        if path.name != "README.md":
            assert re.search(rf"`{path.name}/?`", readme), path.name
    for timer in (ROOT / "examples/systemd").glob("*.timer"):
        assert timer.name in readme, timer.name


def test_completion_covers_every_command() -> None:
    script = (ROOT / "examples/completion.sh").read_text()
    named = set(re.findall(r"[a-z0-9]+(?:-[a-z]+)?", script[script.index("for command in") :]))
    completed = {name for name in COMMANDS if command_of(name) is not None}
    assert completed <= named
    assert (set(COMMANDS) & named) == completed


def test_pages_name_only_pages_that_exist() -> None:
    ours = {page.name for page in PAGES}
    for page in PAGES:
        for name, section in re.findall(r"^\.Xr (\S+) ([0-9])", page.read_text(), re.M):
            if name.startswith("mailtools") or name in COMMANDS:
                assert f"{name}.{section}" in ours, f"{page.name} names {name}({section})"


def test_what_mail_why_names_in_brackets_is_a_setting() -> None:
    fields = set(
        re.findall(
            r"^\.It Cm ([a-z_-]+)", (ROOT / "man/man5/mailtools-accounts.5").read_text(), re.M
        )
    )
    named: set[str] = set()
    for module in (ROOT / "mailtools/services/why").glob("*cause*.py"):
        for sentence in re.findall(r'"[^"\n]*"', module.read_text()):
            for inside in re.findall(r"[a-z] \(([a-z-]+=?(?:, [a-z-]+=?)*)\)", sentence):
                named |= set(inside.split(", "))
    assert {"dnsbl", "send-as"} <= named
    assert named - set(SETTINGS) - fields == set()
