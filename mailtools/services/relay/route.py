"""Routes: mail for a domain that goes to a named host instead of its exchangers.

    example.net:gateway.example.net:2525     this domain
    .example.net:[192.0.2.7]                 its subdomains
    :smtps:mail.example.com                  all else: a smarthost, TLS from the first octet
    example.com:                             its exchangers after all
    lists.example.org:lmtp:/run/lists.sock   LMTP, over a socket in the file system
    example.edu:submissions:example.com      where its SRV records say (RFC 8314)
    example.info:qmtp:gateway.example.net    QMTP; `qmtps:` under TLS, `qmqp:` to a queue elsewhere

A host may stand in brackets; that is needed for an IPv6 address. Port 465 means `smtps:`. Before a
host may stand a login and `@`, where we have several there.

The control file `sender-routes` has the same by sender: an address, a domain, `.domain`, `<>`. It
comes before the smarthost for all, and behind what `routes` says of a recipient's domain.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mailtools.errors import Misconfigured
from mailtools.mail.address import ascii_domain, is_literal, literal_address
from mailtools.services.relay import by_domain
from mailtools.services.relay.source import NULL, Source, Sources

SMTP_PORT, SMTPS_PORT, LMTP_PORT = 25, 465, 24
QUICK_PORTS = {"qmtp": 209, "qmqp": 628, "qmtps": 6209}

_target = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]/]*[^:\[\]/.])\.?)(?::([0-9]{1,5}))?\Z")


@dataclass(frozen=True, slots=True)
class Route:
    """A host to go to: its name or address, or a path; the port; how it is spoken to."""

    host: str
    port: int = SMTP_PORT
    implicit_tls: bool = False
    lmtp: bool = False
    login: str = ""
    """Who we are there, where we are several."""
    srv: bool = False
    """Whether SRV records of `host` name the hosts (RFC 8314 5.1)."""
    quick: str = ""
    """`qmtp` or `qmqp`, where one of these is spoken."""

    def __str__(self) -> str:
        """The place, as one would write it."""
        if "/" in self.host:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a forward-path goes: a domain's exchangers, an address literal, or a route."""

    domain: str
    route: Route | None = None
    source: Source | None = None
    """From which address of ours."""
    own_way: bool = False
    """Whether mail of other senders to the same domain goes another way."""

    @property
    def name(self) -> str:
        """What it is called in log lines and limits."""
        if not self.route:
            return self.domain
        return f"{self.route.login}@{self.route}" if self.route.login else str(self.route)


class Found(NamedTuple):
    """What a line says: a host, or None for the exchangers after all."""

    route: Route | None


EXCHANGERS = Found(None)


def parse_route(text: str, *, lmtp: bool = False) -> Route:
    """Read the right-hand side of a route; raise Misconfigured."""
    scheme, colon, rest = text.partition(":")
    implicit = srv = False
    if colon and scheme in QUICK_PORTS:
        return _quick(scheme, rest)
    if colon and scheme in ("smtp", "smtps", "lmtp", "submissions"):
        text, srv = rest, scheme == "submissions"
        implicit, lmtp = srv or scheme == "smtps", lmtp or scheme == "lmtp"
    if text.startswith("/"):
        return Route(text, 0, False, lmtp)
    login, _, text = text.rpartition("@")
    host, port = _host_and_port(text)
    default = SMTPS_PORT if implicit else LMTP_PORT if lmtp else SMTP_PORT
    return Route(host, port or default, implicit or port == SMTPS_PORT, lmtp, login, srv)


def _quick(scheme: str, text: str) -> Route:
    name = scheme.removesuffix("s")
    if text.startswith("/"):
        return Route(text, 0, quick=name)
    if "@" in text:
        raise Misconfigured(detail=f"{text!r}: nobody logs in by {name.upper()}")
    host, port = _host_and_port(text)
    return Route(host, port or QUICK_PORTS[scheme], scheme != name, quick=name)


def _host_and_port(text: str) -> tuple[str, int]:
    match = _target.match(text)
    port = int(match[3] or 0) if match else -1
    if not match or not 0 <= port <= 65535:
        raise Misconfigured(detail=f"{text!r} is no host, host:port or [address]:port")
    return (match[1].removeprefix("IPv6:") if match[1] else by_domain.key(match[2])), port


class Routes:
    """All routes; which one a message takes to a domain."""

    def __init__(
        self,
        lines: Mapping[str, str],
        *,
        via: Route | None = None,
        senders: Mapping[str, str] | None = None,
        sources: Sources | None = None,
    ) -> None:
        """Read the control files' lines, by domain and by sender; `via` goes before all of them."""
        self._via, self._sources = via, sources or Sources({})
        self._routes = _table("routes", lines)
        self._rest = self._routes.pop("", None)
        self._senders = _table("sender-routes", senders or {})

    def destination(self, address: str, sender: str = "") -> Destination:
        """Give where a forward-path goes; raise BadAddress for a bad literal or domain."""
        domain = address.rpartition("@")[2]
        literal = is_literal(domain)
        if not literal and self._via is None:
            domain = ascii_domain(domain)
        source, own_way = self._sources.find(sender, domain)
        if self._via is not None:
            return Destination("", self._via, source, own_way)
        found = None if literal else by_domain.find(self._routes, domain)
        if found is None:
            by_sender = by_domain.find_address(self._senders, sender or NULL)
            own_way = own_way or bool(self._senders)
            found = by_sender or self._rest or EXCHANGERS
        route = found.route
        if route is None and literal:
            route = Route(literal_address(domain))
        return Destination("" if route and not literal else domain, route, source, own_way)


def _table(file: str, lines: Mapping[str, str]) -> dict[str, Found]:
    found = {}
    for key, text in lines.items():
        try:
            found[by_domain.key(key)] = Found(parse_route(text) if text else None)
        except Misconfigured as fault:
            raise Misconfigured(detail=f"{file}: {key}: {fault.detail}") from None
    return found
