"""The way out of this host, for mail-route: routes, exchangers, TLS, and a call at the door."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from mailtools.errors import Failure, NoAnswer, NonAsciiAddress, TlsTrouble
from mailtools.mail.address import ascii_domain, is_literal
from mailtools.services.relay.connections import NOTHING, Manner, manner_of, weaker_manners
from mailtools.services.relay.dkim_keys import Keyring
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.mta_sts import StsPolicies
from mailtools.services.relay.plan import Planner
from mailtools.services.relay.relay import ADDRESSES_MOST
from mailtools.services.relay.route import Destination, Route, Routes, parse_route
from mailtools.services.relay.smarthost import Smarthosts
from mailtools.services.relay.tls_floor import TlsFloor
from mailtools.services.relay.tls_policy import VERIFIED, Level, TlsPolicy
from mailtools.services.route.dial import Call, Dialler

_LEVELS = {
    Level.NONE: "none",
    Level.MAY: "may: encrypted where they can",
    Level.ENCRYPT: "encrypt: any certificate will do",
    Level.VERIFY: "verify: a valid certificate for that name",
    Level.DANE: "dane: a certificate that their TLSA records name",
}

Pairs = Iterator[tuple[str, str]]


class WayOut:
    """Where relay-send would go; `failures` has what would go wrong."""

    def __init__(
        self,
        routes: Routes,
        planner: Planner,
        policies: StsPolicies,
        smarthosts: Smarthosts,
        as_owner: Callable[[], AbstractContextManager[None]],
        *,
        dialler: Dialler | None = None,
        ignored: Mapping[str, tuple[str, ...]] = NOTHING,
        floor: TlsFloor | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        """`as_owner` guards what may write to the spool; without `dialler` nobody is called."""
        self._routes, self._planner, self._policies = routes, planner, policies
        self._smarthosts, self._as_owner, self._dialler = smarthosts, as_owner, dialler
        self._ignored, self._floor, self._keyring = ignored, floor, keyring
        self.failures: list[Failure] = []

    def tell(self, address: str, agent: list[str], sender: str) -> Pairs:
        """Yield labels and texts on the way of an address; `agent` is relay-send's command line."""
        destination = self._destination(address, agent, sender)
        if destination.route:
            yield "route", f"{destination.name}{_how(destination.route)}"
        else:
            yield from self._exchangers(destination.domain)
        with self._as_owner():
            if not destination.route and self._takes_mail(destination.domain):
                yield from self._policy(destination.domain)
            planned = self._planner.plan(destination)
        manner = self._manner(destination)
        if manner.login:
            yield "login", f"as {manner.login.name} (route-credentials)"
        if manner.source:
            yield "source", f"from {manner.source} (source-addresses)"
        if manner.ignored:
            yield "ignored", f"{' '.join(manner.ignored)} (ignored-offers)"
        yield from self._signatures(sender)
        for problem in self._planner.families.problems:
            yield "ipv6", f"not used: {problem}"
        ways = [
            (target, self._raised(_with_policy(manner, policy), target, destination))
            for target, policy in planned
        ]
        for number, (target, asked) in enumerate(ways, 1):
            later = "" if number <= ADDRESSES_MOST else ", not in the same attempt"
            how = _LEVELS[asked.policy.level]
            tls = f"TLS from the start, {how}" if manner.implicit_tls else f"TLS {how}"
            if manner.quick and not manner.implicit_tls:
                tls = "no TLS"
            yield f"try {number}", f"{target.peer}, {tls}{later}"
            if asked.remembered:
                yield "memory", f"if TLS fails: {asked.remembered}"
        if self._dialler is not None:
            yield from self._dial(self._dialler, ways, address, sender)

    def _signatures(self, sender: str) -> Pairs:
        """Tell who would sign what a sender of ours writes."""
        domain = sender.rpartition("@")[2]
        if self._keyring is None or not domain or is_literal(domain):
            return
        self._keyring.refresh()
        if keys := self._keyring.lines(ascii_domain(domain)):
            names = ", ".join(key.selector for key in keys)
            yield "signs", f"{keys[0].domain} by {names} (dkim-keys), where it is submitted here"

    def _destination(self, address: str, agent: list[str], sender: str) -> Destination:
        """Read what a line of `transports` adds to relay-send: --via and --lmtp."""
        via = ""
        for word, behind in zip(agent, [*agent[1:], ""], strict=True):
            name, equals, value = word.partition("=")
            if name == "--via":
                via = value if equals else behind
        if via:
            return Destination("", parse_route(via, lmtp="--lmtp" in agent))
        return self._routes.destination(address, sender)

    def _manner(self, destination: Destination) -> Manner:
        login = self._smarthosts.login(destination.route) if destination.route else None
        return manner_of(destination, login, self._ignored)

    def _raised(self, manner: Manner, target: Target, destination: Destination) -> Manner:
        if self._floor is None or self._planner.is_static(destination):
            return manner
        with self._as_owner():
            return self._floor.raised(manner, target, only_look=True)

    # -- what DNS says ----------------------------------------------------------------------------

    def _exchangers(self, domain: str) -> Pairs:
        resolver = self._planner.resolver
        answer = resolver.exchangers(domain)
        signed = "signed (DNSSEC)" if answer.secure else "not signed"
        if not answer.records:
            if answer.exists:
                yield "mx", f"none, {signed}: {domain} itself takes its mail"
            return
        for record in sorted(answer.records, key=_preference):
            host = record.partition(" ")[2]
            yield "mx", f"{record}{self._addresses(host)}, {signed}" if host else "0 . (no mail)"

    def _takes_mail(self, domain: str) -> bool:
        answer = self._planner.resolver.exchangers(domain)
        hosts = [record.partition(" ")[2] for record in answer.records]
        return answer.exists and (any(hosts) or not hosts)

    def _addresses(self, host: str) -> str:
        try:
            found = self._planner.resolver.addresses(host)
        except Failure as failure:
            return f" ({failure.text})"
        return f" {' '.join(found)}" if found else " (no address)"

    def _policy(self, domain: str) -> Pairs:
        level = self._planner.rules.static(domain)
        if level is not None:
            yield "tls", f"{level}, as tls-policy says"
        if level in (None, Level.DANE):
            secure = self._planner.resolver.exchangers(domain).secure
            yield "dane", "asked for" if secure else "not possible: the MX records are not signed"
        if level is None:
            policy = self._policies.policy(domain)
            if policy:
                yield "mta-sts", f"{policy.mode} for {', '.join(policy.mx)}"
            elif fault := self._policies.fault(domain):
                yield "mta-sts", f"asked for, but no policy could be had: {fault[1]}"
            else:
                yield "mta-sts", "no policy"

    # -- at the door ------------------------------------------------------------------------------

    def _dial(
        self, dialler: Dialler, ways: list[tuple[Target, Manner]], address: str, sender: str
    ) -> Pairs:
        """Call the targets in turn, until one answers as relay-send wants it."""
        call: Call | None = None
        for target, asked in ways[:ADDRESSES_MOST]:
            for manner in (asked, *weaker_manners(asked)):
                if manner is not asked:
                    yield "dial", f"again {_less(manner)}, as the policy allows"
                call = dialler.call(target, manner)
                yield from call.lines()
                if not isinstance(call.failure, TlsTrouble):
                    break
            if call is not None and call.failure is None:
                break
        if call is None or call.failure is not None:
            self.failures.append(_temporary(call))
        elif not (address.isascii() and sender.isascii()) and not _has_utf8(call):
            self.failures.append(NonAsciiAddress(f"{call.target.peer} offers no SMTPUTF8"))
            yield "refused", self.failures[-1].text


def _how(route: Route) -> str:
    if route.srv:
        return " by its SRV records"
    return " by LMTP" if route.lmtp else f" by {route.quick.upper()}" if route.quick else ""


def _with_policy(manner: Manner, policy: TlsPolicy) -> Manner:
    # As relay.py has it: a secret is for its owner only.
    asked = manner.login and not (manner.login.plaintext or policy.authenticates)
    return replace(manner, policy=VERIFIED if asked else policy)


def _less(manner: Manner) -> str:
    return "without TLS" if manner.plain else "with any certificate"


def _temporary(call: Call | None) -> Failure:
    """Say that nobody answered: another day they may."""
    return NoAnswer(call.failure.text if call and call.failure else "There is nobody to call")


def _has_utf8(call: Call) -> bool:
    return any(line.upper().startswith("SMTPUTF8") for line in call.offers)


def _preference(record: str) -> tuple[int, str]:
    number, _, host = record.partition(" ")
    return int(number), host
