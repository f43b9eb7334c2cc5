"""Which hosts take mail for a domain, in which order: RFC 5321 5.1, RFC 7505.

Here a domain's DNS records become targets, or the failure that a report names: a domain that does
not exist, one that wants no mail, one whose records lead nowhere, and trouble that may pass are
four things. The rules are pure functions; `find` asks the resolver for what they need.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mailtools.errors import DnsTrouble, MailLoop, NoAnswer, NoSuchDomain, NullMx

HOSTS_MOST = 20  # exchangers looked up; beyond, a zone asks too much
TARGETS_MOST = 10  # addresses worth knowing: more are not tried in one attempt

Shuffle = Callable[[list[str]], None]


class Answer(Protocol):
    """What a resolver says."""

    @property
    def records(self) -> tuple[str, ...]:
        """The records as text."""

    @property
    def exists(self) -> bool:
        """False: no such name."""


class Resolver(Protocol):
    """What is asked of DNS (net/dns.py)."""

    def exchangers(self, domain: str) -> Answer:
        """MX records; raises DnsTrouble."""

    def addresses(self, host: str) -> tuple[str, ...]:
        """IPv6 and IPv4 addresses; raises DnsTrouble."""


class Lookup(Protocol):
    """What is asked of DNS for SRV records."""

    def lookup(self, name: str, rrtype: str) -> SecureAnswer:
        """Records of any type; raises DnsTrouble."""


class SecureAnswer(Protocol):
    """Records, and whether DNSSEC vouches for them."""

    @property
    def records(self) -> tuple[str, ...]:
        """The records as text."""

    @property
    def secure(self) -> bool:
        """The AD bit of a resolver that may be believed."""


@dataclass(frozen=True, slots=True)
class Target:
    """A place to connect to: the exchanger's name, one of its addresses, a port."""

    host: str
    address: str
    port: int

    @property
    def peer(self) -> str:
        """What reports and log lines call it."""
        if "/" in self.address:
            return self.address
        name = f"{self.host}[{self.address}]" if self.host != self.address else f"[{self.address}]"
        return f"{name}:{self.port}"


def ranked(records: Iterable[str], domain: str) -> list[list[str]]:
    """Give the exchangers of MX records by preference, best first; equals share a list.

    Without records the domain is its own exchanger (RFC 5321 5.1, the implicit MX). Raises NullMx
    (RFC 7505), and NoSuchDomain where every record is unusable.
    """
    found: dict[int, list[str]] = {}
    texts = list(records)
    for text in texts:
        preference, _, name = text.partition(" ")
        if name:
            found.setdefault(int(preference), []).append(name.lower())
    if not texts:
        return [[domain]]
    if not found:
        raise NullMx(f"{domain} does not accept mail (null MX)")
    return [sorted(set(found[preference])) for preference in sorted(found)]


def before_us(levels: list[list[str]], ours: Callable[[str], bool]) -> list[list[str]]:
    """Drop the levels from the first one on that names us: RFC 5321 5.1, so that no mail loops."""
    for index, hosts in enumerate(levels):
        if any(ours(host) for host in hosts):
            return levels[:index]
    return levels


def interleaved(hosts: Sequence[tuple[str, Sequence[str]]], port: int) -> list[Target]:
    """Give the addresses of equally good hosts: a first address of each, then the second ones.

    Families alternate, from host to host and within each, so that one that is dead from here
    cannot use up an attempt.
    """
    queues = []
    for number, (host, addresses) in enumerate(hosts):
        first = [address for address in addresses if ":" in address]
        second = [address for address in addresses if ":" not in address]
        if number % 2:
            first, second = second, first
        mixed: list[str] = []
        for index in range(max(len(first), len(second))):
            mixed += first[index : index + 1] + second[index : index + 1]
        queues.append([Target(host, address, port) for address in mixed])
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[index] for index in range(longest) for queue in queues if index < len(queue)]


def find(
    domain: str,
    resolver: Resolver,
    *,
    port: int,
    ours: Callable[[str, str], bool],
    shuffle: Shuffle = random.shuffle,
) -> list[Target]:
    """Give the targets for a domain, best first.

    `ours(host, address)` tells whether that is this host; `address` is "" before it is known.
    Raises NoSuchDomain, NullMx, MailLoop, DnsTrouble.
    """
    answer = resolver.exchangers(domain)
    if not answer.exists:
        raise NoSuchDomain(f"The domain {domain} does not exist")
    levels = ranked(answer.records, domain)
    usable = before_us(levels, lambda host: ours(host, ""))
    looped = len(usable) < len(levels)
    targets: list[Target] = []
    trouble: DnsTrouble | None = None
    asked = 0
    for level in usable:
        hosts = list(level)
        shuffle(hosts)
        known: list[tuple[str, Sequence[str]]] = []
        for host in hosts[: HOSTS_MOST - asked]:
            asked += 1
            try:
                known.append((host, _shuffled(resolver.addresses(host), shuffle)))
            except DnsTrouble as failure:
                trouble = failure
        if any(ours("", address) for _, addresses in known for address in addresses):
            looped = True
            break
        targets += interleaved(known, port)
        if len(targets) >= TARGETS_MOST or asked >= HOSTS_MOST:
            break
    if targets:
        return targets[:TARGETS_MOST]
    if trouble:
        raise trouble
    if looped:
        raise MailLoop(f"Mail for {domain} would come back to this host")
    raise _leads_nowhere(domain, answer.records)


def submission_hosts(
    domain: str, resolver: Lookup, chance: Callable[[], float] = random.random
) -> list[tuple[str, int]]:
    """Give the hosts and ports that take submissions for a domain, best first: RFC 8314 5.1.

    Where nobody vouches for the records, hosts of other domains are left out (RFC 6186 6): they get
    a secret. Raises DnsTrouble, and NoAnswer where none is left.
    """
    answer = resolver.lookup(f"_submissions._tcp.{domain}", "SRV")
    found = []
    for text in answer.records:
        priority, weight, port, host = text.lower().rstrip(".").split(" ")
        theirs = host == domain or host.endswith(f".{domain}")
        if host and (answer.secure or theirs):
            # RFC 2782: in proportion to their weights.
            found.append((int(priority), -(chance() ** (1 / max(int(weight), 0.01))), host, port))
    if not found:
        raise NoAnswer(f"No SRV record of {domain} names a host for submissions", status="4.4.4")
    return [(host, int(port)) for _, _, host, port in sorted(found)]


def _shuffled(addresses: Iterable[str], shuffle: Shuffle) -> list[str]:
    mixed = list(addresses)
    shuffle(mixed)
    return mixed


def _leads_nowhere(domain: str, records: Sequence[str]) -> NoSuchDomain:
    # RFC 3463 3.5: 5.4.4 is for a directory that has no way there.
    if not records:
        return NoSuchDomain(f"{domain} has neither exchangers nor an address", status="5.4.4")
    names = ", ".join(sorted(record.partition(" ")[2] for record in records)[:3])
    return NoSuchDomain(f"No exchanger of {domain} has an address ({names})", status="5.4.4")
