"""The house rules that import contracts cannot say (ARCHITECTURE.md, "Who may import whom")."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mailtools"
MODULES = sorted(PACKAGE.rglob("*.py"))

# What only some modules may touch: pattern, where it may stand.
ONLY_IN = {
    "writes to the file system": (
        r"\bos\.(rename|replace|unlink|remove|mkdir|makedirs|rmdir|link|fsync|mkfifo)\(",
        {"store/disk.py", "net/serve.py"},  # serve: the path of a Unix socket
    ),
    "click": (r"^\s*(import|from) click\b", {"cli.py", "commands/"}),
    "dnspython": (r"^\s*(import|from) dns\b", {"net/dns.py"}),
    "filelock": (r"^\s*(import|from) filelock\b", {"store/lock.py"}),
    "sqlite3": (r"^\s*(import|from) sqlite3\b", {"store/index.py"}),
    "the control folder": (
        r"^\s*(import|from) mailtools(\.config| import .*config)",
        {"commands/"},
    ),
    "inheritance of log": (
        r"^\s*(import|from) mailtools(\.log| import .*\blog\b)",
        {"services/", "commands/", "cli.py"},
    ),
}


@pytest.mark.parametrize("what", ONLY_IN)
def test_only_there(what: str) -> None:
    pattern, places = ONLY_IN[what]
    found = [
        f"{name}: {line.strip()}"
        for module in MODULES
        if not (name := module.relative_to(PACKAGE).as_posix()).startswith(tuple(places))
        for line in module.read_text().splitlines()
        if re.search(pattern, line)
    ]
    assert not found


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_module_says_what_it_is(module: Path) -> None:
    text = module.read_text()
    assert not text or text.startswith('"""')


def test_nothing_is_left_unfinished() -> None:
    words = re.compile(r"TODO|FIXME|XXX|NotImplementedError")
    assert not [module for module in MODULES if words.search(module.read_text())]
