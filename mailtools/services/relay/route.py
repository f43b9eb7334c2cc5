"""Routes: mail for a domain that goes to a named host instead of its exchangers.

    example.net:gateway.example.net:2525     this domain
    .example.net:[192.0.2.7]                 its subdomains
    :smtps:mail.example.com                  all else: a smarthost, TLS from the first octet
    example.com:                             its exchangers after all
    lists.example.org:lmtp:/run/lists.sock   LMTP, over a socket in the file system

A host may stand in brackets; that is needed for an IPv6 address. Port 465 means `smtps:`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mailtools.errors import Misconfigured
from mailtools.mail.address import ascii_domain, is_literal, literal_address

SMTP_PORT, SMTPS_PORT, LMTP_PORT = 25, 465, 24

_target = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]/]+))(?::([0-9]{1,5}))?\Z")


@dataclass(frozen=True, slots=True)
class Route:
    """A host to go to: its name or address, or a path; the port; how it is spoken to."""

    host: str
    port: int = SMTP_PORT
    implicit_tls: bool = False
    lmtp: bool = False

    def __str__(self) -> str:
        """The route as one would write it."""
        if "/" in self.host:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a forward-path goes: a domain's exchangers, an address literal, or a route."""

    domain: str
    route: Route | None = None

    @property
    def name(self) -> str:
        """What it is called in log lines and limits."""
        return str(self.route) if self.route else self.domain


def parse_route(text: str, *, lmtp: bool = False) -> Route:
    """Read the right-hand side of a route; raise Misconfigured."""
    scheme, colon, rest = text.partition(":")
    implicit = False
    if colon and scheme in ("smtp", "smtps", "lmtp"):
        text, implicit, lmtp = rest, scheme == "smtps", lmtp or scheme == "lmtp"
    if text.startswith("/"):
        return Route(text, 0, False, lmtp)
    match = _target.match(text)
    port = int(match[3] or 0) if match else -1
    if not match or not 0 <= port <= 65535:
        raise Misconfigured(detail=f"{text!r} is no host, host:port or [address]:port")
    default = SMTPS_PORT if implicit else LMTP_PORT if lmtp else SMTP_PORT
    host = match[1].removeprefix("IPv6:") if match[1] else match[2].lower()
    return Route(host, port or default, implicit or port == SMTPS_PORT, lmtp)


class Routes:
    """All routes; which one a domain takes."""

    def __init__(self, lines: Mapping[str, str], *, via: Route | None = None) -> None:
        """Read the control file's lines, by domain; `via` goes before all of them."""
        self._via = via
        self._routes: dict[str, Route | None] = {}
        for domain, text in lines.items():
            try:
                self._routes[_key(domain)] = parse_route(text) if text else None
            except Misconfigured as fault:
                raise Misconfigured(detail=f"routes: {domain}: {fault.detail}") from None

    def destination(self, address: str) -> Destination:
        """Give where a forward-path goes; raise BadAddress for a bad literal or domain."""
        domain = address.rpartition("@")[2]
        if self._via is not None:
            return Destination("", self._via)
        if is_literal(domain):
            return Destination(domain, self._find("") or Route(literal_address(domain)))
        domain = ascii_domain(domain)
        route = self._find(domain) if self._routes else None
        return Destination("" if route else domain, route)

    def _find(self, domain: str) -> Route | None:
        """Look for the domain, then for each parent with a dot before it, then for all."""
        if domain in self._routes:
            return self._routes[domain]
        parent = domain
        while parent:
            _, _, parent = parent.partition(".")
            if parent and f".{parent}" in self._routes:
                return self._routes[f".{parent}"]
        return self._routes.get("")


def _key(domain: str) -> str:
    dot, bare = ("." if domain.startswith(".") else ""), domain.removeprefix(".")
    return dot + (ascii_domain(bare) if bare else "")
