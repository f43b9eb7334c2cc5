"""ARCHITECTURE.md is what is true of the code now: paths, tables, names."""

import re
from pathlib import Path

from mailtools import errors
from mailtools.settings import SETTINGS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
PLACES = [ROOT / place for place in ("", "mailtools", "mailtools/services", "tests", "tests/bench")]


def is_there(path: str) -> bool:
    return any((place / path).exists() for place in PLACES)


def test_every_path_is_there() -> None:
    named = set(re.findall(r"`((?:[a-z0-9_]+/)*[a-z0-9_]+\.(?:py|sh))`", TEXT))
    named |= set(re.findall(r"`((?:[a-z0-9_]+/)+[a-z0-9_]+)`", TEXT))
    assert len(named) > 20
    gone = {path for path in named if not is_there(path) and not is_there(f"{path}.py")}
    folders = [path for path in (ROOT / "mailtools").rglob("*") if path.is_dir()]
    assert {
        path for path in gone if not any((folder / path).exists() for folder in folders)
    } == set()


def test_the_package_map_has_what_is_there() -> None:
    start = TEXT.index("  mail/              WHAT MAIL IS")
    tree = TEXT[start : TEXT.index("tests/             section 14", start)]
    for name in re.findall(r"\b([a-z0-9_]+)\.py\b", tree):
        assert list((ROOT / "mailtools").rglob(f"{name}.py")), name
    rooms = {path.parent.name for path in (ROOT / "mailtools/services").glob("*/__init__.py")}
    services = tree[tree.index("  services/") :]
    assert rooms - set(re.findall(r"\b([a-z0-9]+)/", services)) == set()


def test_the_table_of_failures_is_that_of_the_code() -> None:
    section = TEXT[TEXT.index("## 11 Errors") : TEXT.index("## 12 Logging")]
    rows = re.findall(
        r"^\| ([A-Z]\w+(?: · \w+)*) \| ([0-9. ·]+) \| ([0-9 ·]+) \| ([0-9]+) \|", section, re.M
    )
    assert len(rows) > 10
    for names, statuses, replies, code in rows:
        for place, name in enumerate(names.split(" · ")):
            failure = getattr(errors, name)
            status = (statuses.split(" · ") * 2)[place]
            reply = (replies.split(" · ") * 2)[place]
            said = (status.strip(), int(reply), int(code))
            assert (failure.status, failure.reply, failure.exit) == said, name


def test_every_kind_of_setting_is_named() -> None:
    (kinds,) = re.findall(r"kind \(([a-z, ]+)\)", TEXT)
    assert set(kinds.split(", ")) == {setting.kind for setting in SETTINGS.values()}


def test_every_command_is_in_the_table() -> None:
    section = TEXT[TEXT.index("## 8 Commands") : TEXT.index("## 9 Start-up")]
    table = set(
        re.findall(
            r"[a-z0-9]+(?:-[a-z]+)?", " ".join(re.findall(r"^\| ([a-z][^|]*)", section, re.M))
        )
    )
    assert {path.name for path in (ROOT / "bin").iterdir()} - table == set()


def test_every_folder_of_the_spool_is_named() -> None:
    found = set()
    for module in (ROOT / "mailtools").rglob("*.py"):
        text = module.read_text()
        found |= set(re.findall(r"(?:\{spool\}|dirname\(queue\)\})/([a-z-]+)", text))
    assert {"queue", "greylist", "budget"} <= found
    overview = (ROOT / "man/man7/mailtools.7").read_text()
    for name in found:
        assert f"`{name}/`" in TEXT or f"\n{name}/" in TEXT, name
        assert re.search(rf"[/ ]{name}\b", overview), name
