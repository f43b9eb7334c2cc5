"""What TLS each target of a domain must have: the operator's word, DANE, MTA-STS, the message's.

The control file `tls-policy` comes first, by domain as `routes` has it: none, may, encrypt, verify,
or dane (without TLSA records mail waits). Where it is silent, DANE counts (RFC 7672), then MTA-STS
(RFC 8461), else TLS is opportunistic. A message may ask for more or less (RFC 8689).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from mailtools import log
from mailtools.errors import DnsTrouble, Failure, Misconfigured, PolicyRefused, TlsTrouble
from mailtools.mail.tls_report import (
    DANE_REQUIRED,
    DNSSEC_INVALID,
    NO_POLICY,
    STS,
    TLSA,
    VALIDATION,
    Applied,
)
from mailtools.services.relay import by_domain
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.mta_sts import StsPolicies
from mailtools.services.relay.tls_policy import (
    ENCRYPTED,
    OPPORTUNISTIC,
    PREFERRED,
    VERIFIED,
    Level,
    TlsPolicy,
)
from mailtools.trust.mta_sts import Mode, StsPolicy, format_sts_policy
from mailtools.trust.tls_required import TlsWish

Planned = list[tuple[Target, TlsPolicy]]


class Records(Protocol):
    """Records as text, and whether DNSSEC vouches for them."""

    @property
    def records(self) -> tuple[str, ...]:
        """The records."""

    @property
    def secure(self) -> bool:
        """The AD bit of a resolver that may be believed."""


class SecureResolver(Protocol):
    """What DANE asks of DNS (net/dns.py)."""

    def exchangers(self, domain: str) -> Records:
        """MX records."""

    def tlsa_hosts(self, host: str) -> tuple[str, ...]:
        """Names at which a host's TLSA records may lie; none where DNSSEC does not vouch."""

    def lookup(self, name: str, rrtype: str) -> Records:
        """Records of any type."""


class Note(Protocol):
    """Who notes for reports how TLS went (services/reports/tls_data.py)."""

    def wanted(self, domain: str, resolver: SecureResolver) -> bool:
        """Whether a domain asks for reports."""

    def failed(self, applied: Applied, exchanger: str, result: str, reason: str = "") -> None:
        """Note what failed before there was a session."""


class TlsRules:
    """Decides for each target of a domain; blocks on DNS and HTTPS, so it runs in a thread."""

    def __init__(
        self,
        table: Mapping[str, str],
        policies: StsPolicies | None = None,
        note: Note | None = None,
    ) -> None:
        """Take the lines of `tls-policy`, MTA-STS policies, and who notes for reports.

        Raises Misconfigured.
        """
        self._note = note
        self._table: dict[str, Level] = {}
        self._policies = policies
        for domain, word in table.items():
            try:
                self._table[by_domain.key(domain)] = Level(word)
            except ValueError:
                words = ", ".join(Level)
                raise Misconfigured(
                    detail=f"tls-policy: {domain}: {word!r} is none of {words}"
                ) from None

    def static(self, domain: str) -> Level | None:
        """Give the operator's word on a domain or a route's host; None where there is none."""
        return by_domain.find(self._table, domain)

    def plan(
        self, domain: str, targets: Sequence[Target], resolver: SecureResolver, wish: TlsWish
    ) -> Planned:
        """Give the targets that may be tried, each with its policy.

        Raises TlsTrouble or PolicyRefused when none may, DnsTrouble when that could not be found
        out.
        """
        level = self.static(domain)
        if wish is TlsWish.OPTIONAL:
            policy = OPPORTUNISTIC if level is not Level.NONE else TlsPolicy(Level.NONE)
            return [(target, policy) for target in targets]
        if level is None or level is Level.DANE:
            dane_only = level is Level.DANE
            note = self._note if wish is TlsWish.DEFAULT else None
            if note and not note.wanted(domain, resolver):
                note = None
            planned = self._automatic(domain, targets, resolver, dane_only=dane_only, note=note)
        else:
            planned = [(target, TlsPolicy(level)) for target in targets]
        if wish is TlsWish.REQUIRED:
            # RFC 8689 4.2.1: the peer must prove who it is, by DANE or by its certificate.
            planned = [(t, p if p.authenticates else VERIFIED) for t, p in planned]
            if level not in (Level.VERIFY, Level.DANE):  # with these the operator vouches for it
                planned = self._vouched(domain, planned, resolver)
        elif wish is TlsWish.PREFERRED:
            planned = [(t, PREFERRED if p.level is Level.MAY else p) for t, p in planned]
        return planned

    def _vouched(self, domain: str, planned: Planned, resolver: SecureResolver) -> Planned:
        """Give the targets whose names are the domain's own word, not that of who answered for DNS.

        RFC 8689 4.2.1: DNSSEC says so, or an MTA-STS policy. Raises PolicyRefused where none is
        left, TlsTrouble where that may change.
        """
        if resolver.exchangers(domain).secure:
            return planned
        policy = self._policies.policy(domain) if self._policies else None
        left = [
            (target, tls)
            for target, tls in planned
            if target.host == domain or (policy and policy.matches(target.host))
        ]
        if left:
            return left
        said = f"REQUIRETLS: neither DNSSEC nor MTA-STS vouches for the exchangers of {domain}"
        if self._policies and self._policies.fault(domain):
            raise TlsTrouble(said)
        raise PolicyRefused(said, status="5.7.10")

    def _automatic(
        self,
        domain: str,
        targets: Sequence[Target],
        resolver: SecureResolver,
        *,
        dane_only: bool,
        note: Note | None,
    ) -> Planned:
        planned: Planned = []
        trouble: Failure | None = None
        secure = resolver.exchangers(domain).secure
        sts = self._policies.policy(domain) if self._policies and not dane_only else None
        if note and sts is None and self._policies and (fault := self._policies.fault(domain)):
            note.failed(Applied(domain, STS), "", *fault)
        for target in targets:
            try:
                dane = _dane(domain, target, resolver, note) if secure else None
                if dane is None and dane_only:
                    if note:
                        note.failed(Applied(domain, TLSA), target.host, DANE_REQUIRED)
                    text = f"{target.host} has no secure TLSA records"
                    raise TlsTrouble(text, status="4.7.4")
                planned.append((target, dane or _by_sts(domain, target, sts, note)))
            except (DnsTrouble, TlsTrouble) as failure:
                trouble = failure
        if not planned and trouble is not None:
            raise trouble
        return planned


def _dane(
    domain: str, target: Target, resolver: SecureResolver, note: Note | None
) -> TlsPolicy | None:
    try:
        policy = dane_policy(domain, target, resolver)
    except DnsTrouble:  # RFC 7672 2.2: to go on without would be what an attacker wants
        if note:
            note.failed(Applied(domain, TLSA), target.host, DNSSEC_INVALID)
        raise
    return policy if policy is None or note else replace(policy, applied=None)


def _by_sts(domain: str, target: Target, sts: StsPolicy | None, note: Note | None) -> TlsPolicy:
    """Give the policy where DANE is silent; raise TlsTrouble where mail must not go there."""
    if sts is None or sts.mode is Mode.NONE:
        return replace(OPPORTUNISTIC, applied=Applied(domain, NO_POLICY)) if note else OPPORTUNISTIC
    lines = tuple(format_sts_policy(sts).decode().split("\r\n")[:-1]) if note else ()
    applied = Applied(domain, STS, lines, sts.mx) if note else None
    if not sts.matches(target.host):
        text = f"{target.host} is not in the MTA-STS policy of {domain}"
        if note and applied:
            note.failed(applied, target.host, VALIDATION, text)
        if sts.mode is Mode.ENFORCE:
            raise TlsTrouble(text)
        log.event("mismatched", domain=domain, peer=target.peer, policy="mta-sts")
        return OPPORTUNISTIC
    if sts.mode is Mode.ENFORCE:
        return replace(VERIFIED, applied=applied)
    return TlsPolicy(Level.VERIFY, testing=True, applied=applied) if note else OPPORTUNISTIC


def dane_policy(domain: str, target: Target, resolver: SecureResolver) -> TlsPolicy | None:
    """Give the policy that a host's TLSA records ask for; None where there are none.

    `domain` is the one whose secure MX records named the host, "" for the host of a route. Raises
    DnsTrouble when it cannot be found out (RFC 7672 2.1.1).
    """
    bases = resolver.tlsa_hosts(target.host)
    if not bases:
        return None
    from mailtools.trust.dane import tlsa_name, usable  # hashlib comes with it: only with DNSSEC

    for base in bases:
        answer = resolver.lookup(tlsa_name(base, target.port), "TLSA")
        if answer.secure and answer.records:
            records = usable(answer.records)
            applied = Applied(domain, TLSA, answer.records)
            if not records:  # RFC 7672 2.2: TLS is mandatory, whoever it is with
                return replace(ENCRYPTED, applied=applied)
            names = dict.fromkeys((base, target.host, *([domain] if domain else [])))
            return TlsPolicy(Level.DANE, tuple(names), records, applied=applied)
    return None
