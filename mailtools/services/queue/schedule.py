"""When an entry is tried, until when, and when its sender is told (RFC 5321 4.5.4.1).

Each wait is as long as the message was old at the last attempt, within bounds, with a little
jitter. Honours Deliver By (RFC 2852) and future release (RFC 4865), whose clock starts at release.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from mailtools.mail.envelope import Envelope
from mailtools.mail.report import DELAYED, Report

GREYLIST_FIRST = 300  # seconds: who is told to come again soon does, whatever retry-first says
JITTER = 0.1  # of a wait, at most: what came together does not come back together

_greylisting = re.compile(r"gr[ea]y-?list| said 45[01][ -]4\.7\.1 ", re.IGNORECASE)
_by = re.compile(r"([+-]?[0-9]{1,9});([RN])T?\Z", re.IGNORECASE)


class Terms(NamedTuple):
    """An entry's times, in seconds since 1970."""

    start: float
    """From when it may be tried: its arrival, or the release its sender asked for."""
    expires: float
    """From when an attempt that does not settle a path is the last."""
    warn: float
    """From when the sender is told of a delay; infinity for never."""
    returns: bool = False
    """Whether it is returned untried once expired (RFC 2852, by-mode R)."""


class Schedule(NamedTuple):
    """The bounds, all in seconds."""

    retry_first: float = 300
    retry_most: float = 14400
    lifetime: float = 432000
    bounce_lifetime: float = 86400
    """The lifetime of what has a null reverse-path."""
    delay_warning: float = 14400
    """0: the sender is never told."""

    def terms(self, envelope: Envelope, arrival: float) -> Terms:
        """Work out the times of an entry that arrived at `arrival`."""
        parameters = envelope.parameters
        start = _release(parameters, arrival) if parameters else arrival
        null = not envelope.reverse_path
        expires = start + (self.bounce_lifetime if null else self.lifetime)
        warn = start + self.delay_warning if self.delay_warning and not null else float("inf")
        match = _by.match(parameters.get("BY", ""))
        if not match:
            return Terms(start, expires, warn)
        deadline = arrival + int(match[1])
        if match[2] in "Rr":
            return Terms(start, min(expires, deadline), warn, returns=deadline < expires)
        return Terms(start, expires, min(warn, deadline))

    def next_attempt(
        self,
        terms: Terms,
        last: float,
        jitter: float,
        not_before: float = 0.0,
        *,
        greylisted: bool = False,
    ) -> float:
        """When to try again after an attempt at `last`; `jitter` is a random number from 0 to 1.

        Not before `not_before`, while a destination is left alone; but never beyond the time of
        the warning or of the end. Who was `greylisted` comes again soon.
        """
        first = min(self.retry_first, GREYLIST_FIRST) if greylisted else self.retry_first
        wait = min(max(last - terms.start, first), self.retry_most)
        when = max(last + wait * (1 + JITTER * jitter), not_before)
        return min(
            (mark for mark in (terms.warn, terms.expires) if last < mark < when), default=when
        )

    def __str__(self) -> str:
        """The times, as a person says them."""
        first, most, lifetime = map(_span, (self.retry_first, self.retry_most, self.lifetime))
        return f"after {first}, then ever later up to every {most}, for {lifetime}"


def is_greylisting(report: Report | None) -> bool:
    """Whether a peer put a path off since it did not know its sender yet (RFC 6647 2.2)."""
    if report is None or report.action != DELAYED:
        return False
    return _greylisting.search(report.text) is not None


def _span(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"


def _release(parameters: Mapping[str, str], arrival: float) -> float:
    # RFC 4865 5: HOLDFOR counts seconds, HOLDUNTIL is a time of RFC 3339.
    if "HOLDFOR" in parameters and parameters["HOLDFOR"].isdecimal():
        return arrival + int(parameters["HOLDFOR"])
    if "HOLDUNTIL" in parameters:
        from datetime import UTC, datetime  # rare: only where somebody asks for it

        try:
            until = datetime.fromisoformat(parameters["HOLDUNTIL"])
        except ValueError:
            return arrival
        return max(arrival, (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp())
    return arrival


def priority(envelope: Envelope) -> int:
    """Give an entry's priority, -9 to 9 (RFC 6710); 0 where it has none."""
    try:
        return max(-9, min(9, int(envelope.parameters["MT-PRIORITY"])))
    except (KeyError, ValueError):
        return 0
