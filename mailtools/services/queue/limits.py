"""How much a destination takes: connections at a time, and messages a minute."""

from collections.abc import Mapping
from typing import NamedTuple

CONNECTIONS = 20  # jobs at a time at most, where nobody says otherwise
SAYS = "connections, or connections/messages a minute, whole numbers above 0"


class Limit(NamedTuple):
    """What one destination takes."""

    connections: int = CONNECTIONS
    per_minute: int = 0
    """Messages a minute; 0: as many as it takes."""

    @property
    def interval(self) -> float:
        """Seconds between the beginnings of two jobs."""
        return 60 / self.per_minute if self.per_minute else 0.0


class Limits:
    """The control file `destination-limits`: by domain, by `.parent`, and "" for the rest."""

    def __init__(self, lines: Mapping[str, str] | None = None) -> None:
        """Take the values by domain (lower case); raise ValueError for one that is no limit."""
        self._limits = {name: parse_limit(value) for name, value in (lines or {}).items()}

    def find(self, name: str) -> Limit:
        """Give the limit of a destination."""
        if not self._limits:
            return DEFAULT
        found = self._limits.get(name)
        while found is None and name:
            _, _, name = name.partition(".")
            found = self._limits.get(f".{name}" if name else "")
        return found or DEFAULT


def parse_limit(value: str) -> Limit:
    """Read `5` or `5/60`; raise ValueError."""
    connections, slash, rate = value.partition("/")
    numbers = (connections, rate) if slash else (connections,)
    if not all(text.strip().isdecimal() and int(text) > 0 for text in numbers):
        raise ValueError(f"{value!r} is no limit: {SAYS}")
    return Limit(*map(int, numbers))


DEFAULT = Limit()
