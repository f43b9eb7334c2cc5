"""What mail-check finds: a fault or a warning, where it is, what is wrong, and what mends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mailtools.errors import Failure

_placed = re.compile(r"(\S+?(?::[0-9]+)?): (.*)\Z", re.DOTALL)
_chmod = re.compile(r"(.*): (chmod .*)\Z", re.DOTALL)
_LABEL = 8


class Weight(StrEnum):
    """How much it matters."""

    FAULT = "fault"
    """Mail is refused, lost to others or open to them, or will be."""
    WARNING = "warning"
    """It works, and should be looked at."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    weight: Weight
    where: str
    """A file with its line, a host, a domain."""
    what: str
    mend: str = ""
    """A command or an instruction."""

    def lines(self) -> Iterator[str]:
        """Yield it for people."""
        yield f"{self.weight:<{_LABEL}} {self.where}: {self.what}"
        if self.mend:
            yield f"{'':<{_LABEL}} mend: {self.mend}"

    def fact(self) -> dict[str, Any]:
        """Give it as values for JSON."""
        return {
            "weight": str(self.weight),
            "where": self.where,
            "what": self.what,
            "mend": self.mend,
        }


def fault(where: str, what: str, mend: str = "") -> Finding:
    """Make a fault."""
    return Finding(Weight.FAULT, where, what, mend)


def warning(where: str, what: str, mend: str = "") -> Finding:
    """Make a warning."""
    return Finding(Weight.WARNING, where, what, mend)


def complaints(action: Callable[[], object], mends: Mapping[str, str]) -> Iterator[Finding]:
    """Do something, and yield what it complains of: a fault for each line of its detail.

    `mends` says how to mend a control file, by the name that the complaint begins with.
    """
    try:
        action()
    except Failure as failure:
        yield from said((failure.detail or failure.text).split("\n"), mends)


def said(
    lines: Iterable[str], mends: Mapping[str, str], place: str = "settings"
) -> Iterator[Finding]:
    """Read complaints of the form `where: what`, as commands write them; `place`: where else."""
    for line in lines:
        match = _placed.match(line)
        where, what = match.groups() if match else (place, line)
        name = re.sub(r":[0-9]+\Z", "", where).rpartition("/")[2]
        mend = mends.get(name, "")
        if command := _chmod.match(what):
            what, mend = command.groups()
        yield fault(where, what, mend)


def careful(where: str, findings: Iterator[Finding], mends: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what a check finds; where it may not look any further, that is a fault too."""
    try:
        yield from findings
    except Failure as failure:
        yield from said((failure.detail or failure.text).split("\n"), mends, where)
    except OSError as error:
        yield fault(error.filename or where, f"cannot be looked at: {error.strerror}")


def unique(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out what was said before, with whatever mend; faults first."""
    found: dict[tuple[str, str], Finding] = {}
    for one in findings:
        found.setdefault((one.where, one.what), one)
    return sorted(found.values(), key=lambda one: one.weight is not Weight.FAULT)
