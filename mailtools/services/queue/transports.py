"""Which agent takes a forward-path, and which destination it goes to."""

import os
from collections.abc import Callable, Iterable, Mapping

from mailtools.services.relay import by_domain

LOCAL = "local-deliver"
RELAY = "relay-send"
PIPE = "pipe-deliver"


def is_local(agent: str) -> bool:
    """Whether an agent's command line is that of local-deliver."""
    return agent == LOCAL or os.path.basename(agent.partition(" ")[0]) == LOCAL


class Transports:
    """The control files `locals` and `transports`: by domain, by `.parent`, and "" for the rest."""

    def __init__(
        self,
        locals_: Iterable[str],
        programs: Mapping[str, str],
        is_virtual: Callable[[str], bool] = lambda domain: False,
    ) -> None:
        """Take local domains, and the programs (with arguments) of other domains.

        `is_virtual` says of a domain in its ASCII form whether `virtual` has addresses of it.
        """
        self._is_virtual = is_virtual
        names = ((by_domain.sought(domain), program) for domain, program in programs.items())
        self._programs = {by_domain.sought(domain): LOCAL for domain in locals_} | dict(names)
        self._found: dict[str, tuple[str, str]] = {}

    def find(self, forward_path: str) -> tuple[str, str]:
        """Give the agent's command line, and the destination: work to one destination is one job.

        All local paths share a destination; others have their domain, in its ASCII form.
        """
        domain = forward_path.rpartition("@")[2] if "@" in forward_path else ""
        found = self._found.get(domain)
        if found is None:
            if len(self._found) > 10000:
                self._found.clear()
            found = self._found[domain] = self._find(domain)
        return found

    def _find(self, domain: str) -> tuple[str, str]:
        if not domain:  # RFC 5321 4.1.1.3: <postmaster> is ours
            return LOCAL, LOCAL
        name = by_domain.sought(domain)
        program = self._program(name)
        return program, LOCAL if program == LOCAL else name

    def _program(self, name: str) -> str:
        if name not in self._programs and self._is_virtual(name):
            return LOCAL
        return by_domain.find(self._programs, name) or RELAY
