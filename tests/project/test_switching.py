"""mailtools-switching(7): the names of other mail servers are theirs, and ours are ours."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mailtools.services.check.foreign import FOREIGN
from mailtools.settings import SETTINGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "man/man7/mailtools-switching.7").read_text()
OTHER_PLACES = {"dest", ".forward", ".qmail", "/etc/mailtools"}


def rows(section: str) -> dict[tuple[str, ...], str]:
    """Give the names of each row of a section's first list, and what stands beside them."""
    text = re.search(rf"^\.Sh {section}\n(.*?)^\.(?:Pp|Sh)", PAGE, re.M | re.S)
    assert text
    found = re.findall(r"^\.It (.*)\n((?:(?!\.It|\.El).*\n)*)", text[1], re.M)
    return {tuple(names.split(" , ")): beside for names, beside in found}


def said_by(*command: str) -> str:
    if not shutil.which(command[0]):
        pytest.skip(f"needs {command[0]}")
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_what_is_called_a_setting_is_one() -> None:
    named = set(re.findall(r"^\.Pa (\S+)", PAGE, re.M)) - OTHER_PLACES
    assert {name for name in named if "/" not in name} - set(SETTINGS) == set()
    for path in named:
        if path.startswith("examples/"):
            assert (ROOT / path).exists(), path


def test_every_parameter_is_one_of_postfix() -> None:
    real = set(re.findall(r"^(\w+) =", said_by("postconf", "-d"), re.M))
    named = {name for names in rows("FROM POSTFIX") for name in names}
    assert len(named) > 50
    assert named - real == set()


def test_every_row_of_dovecot_has_a_name_that_its_version_knows() -> None:
    said = said_by("doveconf", "-a") + said_by("dovecot", "--help")
    if "mail_" not in said:
        pytest.skip("doveconf shows no settings here")
    for names in rows("FROM DOVECOT"):
        assert any(re.search(rf"\b{name}\b", said) for name in names) or "passdb" in names, names


def test_every_command_is_one_of_ours() -> None:
    ours = {path.name for path in (ROOT / "bin").iterdir()}
    named = set(re.findall(r"^\.Ql ([a-z]+-?[a-z]+) ", PAGE, re.M))
    others = {"postconf", "doveadm", "systemctl", "relayhost", "from", "hold", "release", "retry"}
    assert named - ours - others == set()


def test_what_mail_check_takes_for_others_names_stands_in_the_page() -> None:
    beside = {
        name.removeprefix("control/"): text
        for section in ("FROM POSTFIX", "FROM QMAIL")
        for names, text in rows(section).items()
        for name in names
    }
    for name, (_, ours) in FOREIGN.items():
        assert ours in SETTINGS
        assert name not in SETTINGS
        assert re.search(rf"^\.Pa {ours}\b", beside[name], re.M), name
