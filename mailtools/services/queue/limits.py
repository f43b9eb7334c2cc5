"""How much a destination takes: connections at a time, and messages a minute."""

from collections.abc import Mapping
from typing import NamedTuple

from mailtools.errors import Misconfigured
from mailtools.services.relay import by_domain

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
        """Take the values by domain; raise ValueError for what is no limit, or no domain."""
        self._limits = {_key(name): parse_limit(value) for name, value in (lines or {}).items()}

    def find(self, name: str) -> Limit:
        """Give the limit of a destination."""
        if not self._limits:
            return DEFAULT
        return by_domain.find(self._limits, by_domain.sought(name)) or DEFAULT


def _key(name: str) -> str:
    try:
        return by_domain.key(name)
    except Misconfigured as fault:
        raise ValueError(fault.detail) from None


def parse_limit(value: str) -> Limit:
    """Read `5` or `5/60`; raise ValueError."""
    connections, slash, rate = value.partition("/")
    numbers = (connections, rate) if slash else (connections,)
    if not all(text.strip().isdecimal() and int(text) > 0 for text in numbers):
        raise ValueError(f"{value!r} is no limit: {SAYS}")
    return Limit(*map(int, numbers))


DEFAULT = Limit()
