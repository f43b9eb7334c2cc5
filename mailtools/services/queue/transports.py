"""Which agent takes a forward-path, and which destination it goes to."""

import os
from collections.abc import Callable, Iterable, Mapping

from mailtools.errors import BadAddress
from mailtools.mail.address import ascii_domain

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
        self._programs: dict[str, str] = {domain.lower(): LOCAL for domain in locals_}
        self._programs.update((domain.lower(), program) for domain, program in programs.items())
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
        try:
            name = ascii_domain(domain)
        except BadAddress:
            name = domain.lower()
        program = self._program(name)
        return program, LOCAL if program == LOCAL else name

    def _program(self, name: str) -> str:
        program = self._programs.get(name)
        if program is None and self._is_virtual(name):
            return LOCAL
        while program is None and name:
            _, _, name = name.partition(".")
            program = self._programs.get(f".{name}" if name else "")
        return program or RELAY
