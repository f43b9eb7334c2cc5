"""What relay-send and mail-route build from the same control files: DNS, TLS and its rules."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from mailtools.config import Config
from mailtools.services.relay import by_domain
from mailtools.services.relay.mta_sts import StsPolicies
from mailtools.services.relay.route import Route, Routes
from mailtools.services.relay.source import Sources
from mailtools.services.relay.tls_floor import TlsFloor
from mailtools.services.relay.tls_policy import VERIFIED, Contexts
from mailtools.store.tls_memory import TlsMemory

if TYPE_CHECKING:
    from mailtools.net.dns import Resolver


def resolver_of(server: str) -> Callable[[], Resolver]:
    """Give what makes the resolver, once, when a name has to be looked up."""

    @cache
    def resolver() -> Resolver:
        from mailtools.net.dns import Resolver  # 75 ms: not where every route names an address

        return Resolver(server)

    return resolver


def routes_of(config: Config, via: Route | None = None) -> Routes:
    """Read which way mail goes: `routes`, `sender-routes`, `source-addresses`."""
    return Routes(
        config.mapping("routes"),
        via=via,
        senders=config.mapping("sender-routes"),
        sources=Sources(config.mapping("source-addresses")),
    )


def ignored_offers(config: Config) -> dict[str, tuple[str, ...]]:
    """Read which extensions are not used with whom: `ignored-offers`."""
    return {
        by_domain.key(domain): tuple(word.upper() for word in text.replace(",", " ").split())
        for domain, text in config.mapping("ignored-offers").items()
    }


def floor_of(config: Config, spool: str) -> TlsFloor | None:
    """Make what is remembered of hosts' TLS; None where the operator wants none of it."""
    keep, patience = config.seconds("tls-memory"), config.seconds("tls-patience")
    return TlsFloor(TlsMemory(f"{spool}/tls-memory"), keep, patience) if keep else None


def policies_of(spool: str, resolver: Callable[[], Resolver], contexts: Contexts) -> StsPolicies:
    """Make the MTA-STS policies, kept in the spool where that is ours to write."""

    def fetch(domain: str) -> bytes:
        from mailtools.net.https import fetch  # rare: only for domains with MTA-STS

        host = f"mta-sts.{domain}"
        context = contexts.context(VERIFIED)
        return fetch(host, "/.well-known/mta-sts.txt", resolver().addresses(host), context)

    return StsPolicies(resolver, fetch, f"{spool}/mta-sts" if os.access(spool, os.W_OK) else "")
