"""Retry classes: destinations whose mail is tried at other times, and given up sooner or later.

The control file `retry-classes` has by domain `first/most/lifetime/warning`, durations each: the
shortest and the longest wait between two attempts, how long a message is tried, when its sender is
told. What is left out, at the end or as an empty part, is as for all others.
"""

from collections.abc import Callable, Mapping

from mailtools.services.queue.schedule import Schedule
from mailtools.services.relay import by_domain

SAYS = "first/most/lifetime/warning, durations such as 5min or 4h; what is left out is as for all"
_PARTS = ("retry_first", "retry_most", "lifetime", "delay_warning")
_KNOWN_MOST = 10_000

Duration = Callable[[str], int | None]


class Classes:
    """Which schedule a destination has: by domain, by `.parent`, and "" for the rest."""

    def __init__(self, lines: Mapping[str, Mapping[str, float]] | None = None) -> None:
        """Take what `parse_class` made of each domain's line (lower case)."""
        self._lines = dict(lines or {})
        self._known: dict[tuple[Schedule, str], Schedule] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._lines)

    def find(self, usual: Schedule, address: str) -> Schedule:
        """Give the schedule for an address or a domain; `usual` where none has its own."""
        if not self._lines:
            return usual
        domain = address.rpartition("@")[2]
        found = self._known.get((usual, domain))
        if found is None:
            if len(self._known) >= _KNOWN_MOST:
                self._known.clear()
            found = self._known[usual, domain] = self._find(usual, domain)
        return found

    def _find(self, usual: Schedule, domain: str) -> Schedule:
        changed = by_domain.find(self._lines, by_domain.sought(domain))
        if changed is None:
            return usual
        own = usual._replace(**changed)
        # A bounce is never tried longer than what it tells of would be.
        return own._replace(
            retry_most=max(own.retry_most, own.retry_first),
            bounce_lifetime=min(usual.bounce_lifetime, own.lifetime),
        )


def parse_class(text: str, duration: Duration) -> dict[str, float]:
    """Read `1min/1h/3d`; `duration` reads one part in seconds. Raise ValueError."""
    parts = [part.strip() for part in text.split("/")]
    found: dict[str, float] = {}
    if len(parts) > len(_PARTS):
        raise ValueError(f"{text!r} is no retry class: {SAYS}")
    for name, part in zip(_PARTS, parts, strict=False):
        seconds = duration(part) if part else None
        if part and (seconds is None or (not seconds and name != "delay_warning")):
            raise ValueError(f"{part!r} is no time to wait: {SAYS}")
        if seconds is not None:
            found[name] = seconds
    if not found:
        raise ValueError(f"{text!r} changes nothing: {SAYS}")
    if found.get("retry_first", 0) > found.get("retry_most", float("inf")):
        raise ValueError(f"{text!r}: the shortest wait is longer than the longest")
    return found
