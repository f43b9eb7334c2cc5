"""Where a destination's mail goes, in which order, and with which TLS: targets and their policies.

relay-send asks for each attempt, mail-route to show it. It blocks on DNS, and on HTTPS where a
domain has an MTA-STS policy.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from mailtools.errors import DnsTrouble, NoAnswer, TlsTrouble
from mailtools.net.local import in_hosts, is_local
from mailtools.services.relay import exchangers
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.families import Families
from mailtools.services.relay.route import Destination, Route
from mailtools.services.relay.tls_policy import OPPORTUNISTIC, PREFERRED, VERIFIED, Level, TlsPolicy
from mailtools.services.relay.tls_rules import Planned, TlsRules, dane_policy
from mailtools.trust.tls_required import TlsWish

if TYPE_CHECKING:
    from mailtools.net.dns import Resolver

_FOR_ROUTES = (Level.NONE, Level.MAY, Level.ENCRYPT, Level.VERIFY)


class Planner:
    """Finds the targets of destinations; may be used by several threads."""

    def __init__(
        self,
        me: str,
        resolver: Callable[[], Resolver],
        rules: TlsRules | None = None,
        *,
        families: Families | None = None,
        port: int = 25,
    ) -> None:
        """Use `resolver` (made when first needed) for names; `port` is where exchangers listen."""
        self._me, self._port = me.lower(), port
        self.families = families or Families()
        self.rules = rules or TlsRules({})
        self._make_resolver = resolver
        self._resolver: Resolver | None = None

    @property
    def resolver(self) -> Resolver:
        """Whom names are asked of."""
        if self._resolver is None:
            self._resolver = self._make_resolver()
        return self._resolver

    def plan(self, destination: Destination, wish: TlsWish = TlsWish.DEFAULT) -> Planned:
        """Give the targets, best first, each with its policy; blocks unless `is_plain`.

        Raises NoSuchDomain, NullMx, MailLoop, DnsTrouble, NoAnswer, TlsTrouble, PolicyRefused.
        """
        route = destination.route
        if route is None:
            domain, resolver = destination.domain, self.resolver
            targets = exchangers.find(domain, resolver, port=self._port, ours=self._is_us)
            targets = self._fitting(targets, destination)
            return self.rules.plan(domain, targets, resolver, wish)
        if is_plain(destination):
            policy = self._policy(route, wish, None)
            target = Target(route.host, route.host, route.port)
            return [(each, policy) for each in self._fitting([target], destination)]
        found, in_dns = self._found(route)
        targets = self._fitting(found, destination)
        policy = self._policy(route, wish, targets[0] if in_dns else None)
        return [(target, policy) for target in targets]

    def is_static(self, destination: Destination) -> bool:
        """Whether the operator's `tls-policy` has a word on a destination."""
        route = destination.route
        return self.rules.static(route.host if route else destination.domain) is not None

    def _found(self, route: Route) -> tuple[list[Target], bool]:
        """Give the targets of a route, and whether it is DNS that knows them."""
        if route.srv:
            hosts = exchangers.submission_hosts(route.host, self.resolver)
        else:
            hosts = [(route.host, route.port)]
        found: list[Target] = []
        in_dns = True
        for host, port in hosts:
            addresses, by_dns = self._host_addresses(host)
            in_dns = in_dns and by_dns
            found += exchangers.interleaved([(host, addresses)], port)
        return found, in_dns

    def _fitting(self, targets: list[Target], destination: Destination) -> list[Target]:
        source = destination.source
        fitting = self.families.fitting(targets, lambda: self.resolver, source)
        if targets and not fitting:
            # The operator's own setting, as below. Not 4.4.1: the others do not hear of it.
            text = f"No address of {targets[0].host} can be reached from {source}"
            raise NoAnswer(text, status="4.4.0")
        return fitting

    def _policy(self, route: Route, wish: TlsWish, named: Target | None) -> TlsPolicy:
        """Give the policy for a route; `named` is a target of a host that DNS knows."""
        level = self.rules.static(route.host)
        policy = TlsPolicy(level) if level in _FOR_ROUTES else None
        if policy is None and named and not route.lmtp and wish is not TlsWish.OPTIONAL:
            policy = dane_policy("", named, self.resolver)  # RFC 7672 2.2.2
        if policy is None and level is Level.DANE and wish is not TlsWish.OPTIONAL:
            raise TlsTrouble(f"{route.host} has no secure TLSA records", status="4.7.4")
        policy = policy or OPPORTUNISTIC
        if wish is TlsWish.REQUIRED and not policy.authenticates and not route.lmtp:
            return VERIFIED
        if wish is TlsWish.PREFERRED and policy.level is Level.MAY and not route.lmtp:
            return PREFERRED
        return policy

    def _host_addresses(self, host: str) -> tuple[list[str], bool]:
        """Look up a host the operator named: in DNS (True), else in /etc/hosts (False)."""
        if "." in host:
            try:
                if found := list(self.resolver.addresses(host)):
                    return found, True
            except DnsTrouble:
                # A network without DNS may name it all the same. The system is not asked: what one
                # resolver finds forged it may have from another.
                if found := in_hosts(host):
                    return found, False
                raise
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):  # UnicodeError: a label that cannot be one
            # The operator's own setting: to be mended there, while the mail waits.
            raise NoAnswer(f"The host {host} has no address", status="4.4.4") from None
        return list(dict.fromkeys(str(info[4][0]) for info in infos)), False

    def _is_us(self, host: str, address: str) -> bool:
        if host:
            return host == self._me
        return self._port == 25 and is_local(address)


def is_plain(destination: Destination) -> bool:
    """Whether a destination is an address or a socket's path: then nothing has to be looked up."""
    route = destination.route
    if route is None:
        return False
    return "/" in route.host or ":" in route.host or route.host.replace(".", "").isdigit()
