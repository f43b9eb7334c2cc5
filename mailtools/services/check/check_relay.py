"""Checks of what is relayed for strangers: the domains, and who there gets mail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from mailtools.services.check.finding import Finding, complaints, fault, warning
from mailtools.services.reception.relay_domains import RelayDomains


def relay_domains(
    relayed: RelayDomains, is_local: Callable[[str], bool], mends: Mapping[str, str]
) -> Iterator[Finding]:
    """Look at `relay-domains` and `relay-recipients`; `is_local`: delivered here all the same."""
    faults = list(complaints(relayed.refresh, mends))
    yield from faults
    for line in relayed.lines:
        where = f"relay-domains: {line}"
        if is_local(line):
            mend = "take it out of relay-domains, or out of locals and virtual"
            yield fault(where, "is local too: its mail is delivered here, not sent on", mend)
        elif faults:
            continue
        elif relayed.takes_anybody(line):
            yield warning(
                where,
                "any recipient is taken: what the next host refuses comes back as a bounce to"
                " a sender who may be forged (backscatter)",
                "list who gets mail there in relay-recipients",
            )
        elif not relayed.has_recipients(line):
            mend = "list who gets mail there in relay-recipients"
            yield warning(where, "nobody there gets mail: relay-recipients names no one", mend)
    for name in relayed.strays():
        mend = "list its domain in relay-domains, or take it out"
        yield warning(f"relay-recipients: {name}", "nobody may write there", mend)
