"""The table of settings and the code that reads them: each has the other, and by its kind."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailtools.settings import SETTINGS

PACKAGE = Path(__file__).parents[2] / "mailtools"
GETTERS = {
    "line": "line", "lines": "lines", "number": "number", "seconds": "duration", "octets": "size",
    "flag": "flag", "mapping": "map", "path": "path", "file": "file",
}  # fmt: skip
"""Each getter of Config, and the kind of setting it is for."""


def reads() -> Iterator[tuple[str, str, str]]:
    """Give each `config.getter("name")` of the code: where, the getter, the name."""
    for module in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            of = node.func.value
            owner = of.id if isinstance(of, ast.Name) else getattr(of, "attr", "")
            if owner.endswith("config") and node.func.attr in GETTERS and node.args:
                place = f"{module.relative_to(PACKAGE)}:{node.lineno}"
                yield from ((place, node.func.attr, name) for name in texts(node.args[0]))


def texts(argument: ast.expr) -> Iterator[str]:
    """Give the names an argument can be: a text, or one of two."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        yield argument.value
    elif isinstance(argument, ast.IfExp):
        yield from texts(argument.body)
        yield from texts(argument.orelse)


READS = sorted(reads())


@pytest.mark.parametrize(("place", "getter", "name"), READS)
def test_what_is_read_is_in_the_table_with_its_kind(place: str, getter: str, name: str) -> None:
    assert name in SETTINGS, f"{place} reads {name!r}, which the table does not know"
    assert SETTINGS[name].kind == GETTERS[getter], f"{place}: {name} is a {SETTINGS[name].kind}"


def test_what_is_in_the_table_is_read() -> None:
    read = {name for _, _, name in READS}
    # Some names go through a function of commands/, which takes them as a text.
    said = {
        node.value
        for module in (PACKAGE / "commands").rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert set(SETTINGS) - read - said == set()
    assert len(read) > len(SETTINGS) * 0.8
