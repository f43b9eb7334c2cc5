"""What mail-check finds of MTA-STS and DANE for our own domains: whether others can rely on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mailtools.errors import DnsTrouble, NullMx
from mailtools.mail.address import ascii_domain
from mailtools.services.check.finding import Finding, Weight, fault, warning
from mailtools.services.publish.sts import StsFiles, seen
from mailtools.services.publish.tlsa import tlsa_fault
from mailtools.services.relay.exchangers import ranked

if TYPE_CHECKING:
    from mailtools.trust.lookup import Lookup


def policies(
    domains: Iterable[str], folder: str, lookup: Lookup, fetch: Callable[[str], bytes]
) -> Iterator[Finding]:
    """Look at the policies of domains that have one, here or in DNS; `folder` is "" for none."""
    for domain in dict.fromkeys(map(ascii_domain, domains)):
        if "." in domain.strip("."):
            try:
                yield from _policy(domain, StsFiles(folder) if folder else None, lookup, fetch)
            except (DnsTrouble, NullMx) as failure:
                yield warning(domain, failure.text)


def _policy(
    domain: str, files: StsFiles | None, lookup: Lookup, fetch: Callable[[str], bytes]
) -> Iterator[Finding]:
    policy = files.read(domain) if files else None
    if policy is None and not lookup(f"_mta-sts.{domain}", "TXT").records:
        return
    levels = ranked(lookup(domain, "MX").records, domain)
    exchangers = [host for level in levels for host in level]
    for row in seen(domain, policy, lookup, fetch, exchangers):
        if row.fault:
            weight = Weight.FAULT if row.grave else Weight.WARNING
            mend = f"mail-sts set {domain}" + (" shows the records to publish" if policy else "")
            yield Finding(weight, domain, f"MTA-STS: {row.fault}", mend)


def tlsa(host: str, chains: Sequence[list[bytes]], lookup: Lookup) -> Iterator[Finding]:
    """Look whether the TLSA records of this host are for its certificates."""
    try:
        wrong = tlsa_fault(host, chains, lookup, time.time())
    except DnsTrouble as failure:
        yield warning(host, failure.text)
        return
    if wrong:
        yield fault(host, f"{wrong}: who checks DANE sends no mail", f"mail-sts tlsa {host}")
