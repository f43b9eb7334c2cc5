"""Giving a TLS report to an HTTPS URI (RFC 8460 5.4).

The URI stands in a stranger's DNS: only hosts with public addresses are asked, so that nobody can
make this host talk to what stands behind its firewall.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mailtools.errors import BadParameter, NoAnswer
from mailtools.net.https import post
from mailtools.net.tls import client_context
from mailtools.trust.lookup import is_name

if TYPE_CHECKING:
    from mailtools.services.reports.compose import Report
    from mailtools.services.reports.send import Post


def is_public(address: str) -> bool:
    """Whether an IP address is one of the whole internet."""
    return ipaddress.ip_address(address).is_global


def poster(
    addresses: Callable[[str], Iterable[str]], allowed: Callable[[str], bool] = is_public
) -> Post:
    """Give what posts a report; `addresses` finds those of a host, `allowed` chooses among them."""

    def give(uri: str, report: Report) -> None:
        try:
            parts = urlsplit(uri)
            host, port = parts.hostname or "", parts.port or 443
        except ValueError:
            host = ""
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "") if host else ""
        said = host + path
        if not is_name(host) or not said.isascii() or not said.isprintable() or " " in said:
            raise BadParameter(f"{uri} is no URI to post to")
        usable = [address for address in addresses(host) if allowed(address)]
        if not usable:
            raise NoAnswer(f"{host} has no public address")
        # RFC 8460 3: a report on a certificate that fails must not fail by that certificate.
        context = client_context(verify=False)
        kind = report.media_type
        post(host, path, usable, context, body=report.packed, kind=kind, port=port)

    return give
