"""Checks of what others see of this host: its certificates, its names, where mail for it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from mailtools.errors import DnsTrouble, Failure
from mailtools.mail.address import ascii_domain
from mailtools.net.local import is_local
from mailtools.services.check.check_door import door
from mailtools.services.check.finding import Finding, Weight, complaints, fault, warning
from mailtools.services.route.certificate import Certificate, read_pem

if TYPE_CHECKING:
    from mailtools.net.dns import Resolver
    from mailtools.services.relay.source import Source

SOON = 21 * 86400.0  # seconds before its end, from which on a certificate is worth a warning
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128")


def certificates(
    chains: Iterable[tuple[str, str, str]], load: Callable[[], object], me: str
) -> Iterator[Finding]:
    """Look at the certificates: name ("" for this host's), certificate and key of each.

    `load` loads them as a server would.
    """
    named = [(name or me, certificate, key) for name, certificate, key in chains]
    if not named:
        yield warning(
            "tls-certificate", "there is none: mail and passwords travel in the clear",
            "echo /path/to/fullchain.pem > tls-certificate; echo /path/to/key.pem > tls-key",
        )  # fmt: skip
        return
    faults = list(complaints(load, {}))
    yield from faults
    for name, path, _ in named:
        try:
            yield from _facts(path, read_pem(path), name)
        except Failure as failure:
            if not faults:
                yield fault(path, failure.detail or failure.text)


def _facts(path: str, found: Certificate, name: str) -> Iterator[Finding]:
    now = time.time()
    if found.ends < now:
        yield fault(path, f"is over since {_day(found.ends)}", "renew it")
    elif found.begins > now:
        yield fault(path, f"begins to be valid on {_day(found.begins)}", "is the clock right?")
    elif found.ends - now < SOON:
        yield warning(path, f"ends on {_day(found.ends)}", "renew it")
    if not found.covers(name) and name not in found.names:
        names = ", ".join(found.names) or "no name"
        yield fault(path, f"is for {names}, not for {name}", f"get one for {name}")


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


class World:
    """DNS, seen from this host."""

    def __init__(self, resolver: Resolver, me: str) -> None:
        """Ask `resolver` about the host `me`."""
        self._resolver, self._me = resolver, ascii_domain(me)
        self._ours: tuple[str, ...] = ()
        self.known: list[str] = []
        """The local domains that DNS knows, after `domains`."""
        self._awaited = False  # whether mail for a local domain comes here

    def host(self) -> Iterator[Finding]:
        """Look at the names of this host: forward, and back again (as receivers do)."""
        me = self._me
        try:
            self._ours = self._resolver.addresses(me)
        except DnsTrouble as failure:
            yield warning(me, failure.text, "is DNS reachable? else --no-dns")
            return
        if not self._ours:
            yield fault(me, "has no address in DNS", f"publish A or AAAA records for {me}")
            return
        if not any(map(is_local, self._ours)):
            yield warning(me, f"{', '.join(self._ours)}: no address of this host",
                          "right behind NAT, wrong elsewhere")  # fmt: skip
        for address in self._ours:
            yield from self._reverse(address, me)

    def sources(self, sources: Iterable[Source]) -> Iterator[Finding]:
        """Look at the addresses that mail goes out from, and at the names it greets by."""
        for source in dict.fromkeys(sources):
            for address in filter(None, (source.ipv4, source.ipv6)):
                if not is_local(address):
                    yield fault(address, "no address of this host: source-addresses names it")
                elif address not in self._ours:
                    yield from self._reverse(address, source.hello.lower() or self._me)

    def _reverse(self, address: str, name: str) -> Iterator[Finding]:
        from mailtools.services.access.networks import contains
        from mailtools.trust.iprev import Iprev, check_iprev

        found = check_iprev(address, self._resolver.lookup)
        mend = f"ask whoever gave you the address for a PTR record to {name}"
        if ":" in address:
            mend += "; relay-send goes by IPv4 until then (control file ipv6)"
        weight = Weight.WARNING if contains(_PRIVATE, address) else Weight.FAULT
        if found.result is Iprev.TEMPERROR:
            yield warning(address, found.problem)
        elif found.result is Iprev.PERMERROR:
            yield Finding(weight, address, "has no name in reverse DNS: many refuse its mail", mend)
        elif found.result is Iprev.FAIL:
            what = f"its name {found.name} does not lead back to it: many refuse its mail"
            yield Finding(weight, address, what, mend)
        elif found.name != name:
            yield warning(address, f"its name is {found.name}, not {name}", mend)

    def domains(self, domains: Iterable[str]) -> Iterator[Finding]:
        """Look whether mail for the local domains comes here; call `host` first."""
        for domain in dict.fromkeys(map(ascii_domain, domains)):
            if domain[:1] == "." or "." not in domain:
                continue  # a name of this site's own
            try:
                yield from self._domain(domain)
            except DnsTrouble as failure:
                yield warning(domain, failure.text)

    def _domain(self, domain: str) -> Iterator[Finding]:
        answer = self._resolver.exchangers(domain)
        mend = f"publish: {domain}. MX 10 {self._me}."
        hosts = [record.partition(" ")[2].lower() for record in answer.records]
        if not answer.exists:
            yield fault(domain, "does not exist in DNS: nobody can write to it", mend)
        elif hosts and not any(hosts):
            yield fault(domain, "says that it takes no mail (null MX)", mend)
        elif not hosts and not self._resolver.addresses(domain):
            yield fault(domain, "has neither MX records nor an address", mend)
        elif not self._leads_here(hosts or [domain]):
            where = ", ".join(sorted(hosts)) or "its own address"
            yield warning(domain, f"its mail goes to {where}, not here", mend)
        else:
            self._awaited = True
        if answer.exists:
            self.known.append(domain)
            yield from self._policies(domain)

    def door(self) -> Iterator[Finding]:
        """Look who answers where mail for the local domains comes; call `domains` first."""
        from mailtools.services.access.networks import is_loopback

        for address in self._ours if self._awaited else ():
            if is_local(address) and not is_loopback(address):  # else a NAT may be between
                yield from door(address)

    def relayed(self, domains: Iterable[str], has_way: Callable[[str], bool]) -> Iterator[Finding]:
        """Look whether mail for `relay-domains` comes here and goes on; ask for `host` first.

        `has_way` says of a domain that a setting names its next host.
        """
        for domain in domains:
            if domain[:1] == "." or "." not in domain:
                continue
            try:
                yield from self._relayed(domain, has_way)
            except DnsTrouble as failure:
                yield warning(domain, failure.text)
            except Failure as failure:
                mend = f"publish a better exchanger, or: echo '{domain}:HOST' >> routes"
                yield fault(domain, failure.text, mend)

    def _relayed(self, domain: str, has_way: Callable[[str], bool]) -> Iterator[Finding]:
        records = self._resolver.exchangers(domain).records
        hosts = [record.partition(" ")[2].lower() for record in records] or [domain]
        if not self._leads_here(hosts):
            mend = f"publish: {domain}. MX 20 {self._me}."
            yield warning(domain, "this host is no exchanger of it, but relays its mail", mend)
        elif not has_way(domain):
            from mailtools.services.relay import exchangers

            exchangers.find(domain, self._resolver, port=25, ours=self._is_us)

    def lists(self, zones: Iterable[str]) -> Iterator[Finding]:
        """Look whether the DNS lists of clients work; one that does not counts nothing."""
        from mailtools.trust.dnsbl import check_health

        for zone in dict.fromkeys(zones):
            if wrong := check_health(zone, self._resolver.lookup):
                mend = "ask its owner, use a resolver of your own, or take it out"
                yield warning(f"dnsbl: {zone}", f"{wrong}; it counts nothing", mend)

    def _is_us(self, host: str, address: str) -> bool:
        return host == self._me or address in self._ours or bool(address and is_local(address))

    def _leads_here(self, hosts: Collection[str]) -> bool:
        if self._me in hosts:
            return True
        found = {address for host in hosts if host for address in self._resolver.addresses(host)}
        return not found.isdisjoint(self._ours) or any(map(is_local, found))

    def _policies(self, domain: str) -> Iterator[Finding]:
        """Look for what receivers ask of senders since 2024: SPF and DMARC."""
        if not any(text.lower().startswith("v=spf1") for text in self._texts(domain)):
            yield warning(domain, "has no SPF record", f'publish: {domain}. TXT "v=spf1 mx -all"')
        if not any(text.startswith("v=DMARC1") for text in self._texts(f"_dmarc.{domain}")):
            parent = domain.partition(".")[2]
            if not any(text.startswith("v=DMARC1") for text in self._texts(f"_dmarc.{parent}")):
                yield warning(domain, "has no DMARC record",
                              f'publish: _dmarc.{domain}. TXT "v=DMARC1; p=none"')  # fmt: skip

    def _texts(self, name: str) -> tuple[str, ...]:
        return self._resolver.lookup(name, "TXT").records
