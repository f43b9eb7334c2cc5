"""IPv6 or IPv4: which of a destination's addresses are used from here.

Large receivers refuse IPv6 from an address without a name, so IPv6 is left alone where our own
source address has none that leads back to it: but only where that can be told, and only where
IPv4 leads there as well. The control file `ipv6` has the last word: `auto`, `yes` or `no`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import Misconfigured
from mailtools.net.local import source_of
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.source import Source

if TYPE_CHECKING:
    from mailtools.net.dns import Resolver

WORDS = ("auto", "yes", "no")
KNOWN_FOR = 600.0  # seconds a verdict on a source address holds
_OUR_OWN = ("::1/128", "fe80::/10", "fc00::/7")  # what others see of these is not for us to know


class Families:
    """Leaves out what should not be used; may be used by several threads."""

    def __init__(self, word: str = "auto", source: Callable[[str], str] = source_of) -> None:
        """Take the operator's word, and what tells our address towards another one.

        Raises Misconfigured for another word.
        """
        if word not in WORDS:
            raise Misconfigured(detail=f"ipv6: {word!r} is none of {', '.join(WORDS)}")
        self._word, self._source_of = word, source
        self._known: dict[str, tuple[float, str]] = {}

    def fitting(
        self, targets: Sequence[Target], resolver: Callable[[], Resolver], source: Source | None
    ) -> list[Target]:
        """Give the targets to use, in their order; none where `source` lacks their family.

        Blocks on DNS.
        """
        left = [
            each
            for each in targets
            if source is None or "/" in each.address or source.towards(each.address)
        ]
        six = [target for target in left if ":" in target.address]
        if not six or len(six) == len(left):
            return left
        if self._word == "no" or (self._word == "auto" and self.problem(six[0], resolver, source)):
            return [target for target in left if ":" not in target.address]
        return left

    @property
    def problems(self) -> list[str]:
        """What is wrong with addresses of ours that were looked at."""
        return [f"{address}: {problem}" for address, (_, problem) in self._known.items() if problem]

    def problem(
        self, target: Target, resolver: Callable[[], Resolver], source: Source | None = None
    ) -> str:
        """Say what is wrong with our address towards a target, so that IPv6 is not used; or ""."""
        ours = source.ipv6 if source else self._source_of(target.address)
        if not ours:
            return ""  # there is no way there at all, and the attempt will say so at once
        known = self._known.get(ours)
        if known is None or known[0] < time.monotonic():
            problem = _nameless(ours, resolver)
            if problem and (known is None or not known[1]):
                log.event("avoided", address=ours, why=problem)
            known = self._known[ours] = time.monotonic() + KNOWN_FOR, problem
        return known[1]


def _nameless(address: str, resolver: Callable[[], Resolver]) -> str:
    """Say what is wrong with an address' name; "" where it has one, or nobody can tell."""
    from mailtools.services.access.networks import contains
    from mailtools.trust.iprev import Iprev, check_iprev

    if contains(_OUR_OWN, address):
        return ""
    found = check_iprev(address, resolver().lookup)
    if found.result is Iprev.PERMERROR:
        return "it has no name in reverse DNS"
    if found.result is Iprev.FAIL:
        return f"its name {found.name} does not lead back to it"
    return ""
