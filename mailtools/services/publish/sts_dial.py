"""Whether exchangers stand up to a policy: a certificate that verifies, on each of their addresses.

This is what RFC 8461 4.2 has senders look at; in mode `enforce` they deliver nothing without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from mailtools.services.relay.connections import Manner
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.tls_policy import VERIFIED

if TYPE_CHECKING:
    from mailtools.services.route.dial import Call

PORT = 25


def unproven(
    exchangers: Iterable[str],
    addresses: Callable[[str], Iterable[str]],
    call: Callable[[Target, Manner], Call],
) -> Iterator[str]:
    """Yield why an exchanger is not to be relied upon, a line each; raise DnsTrouble."""
    for host in exchangers:
        found = list(addresses(host))
        if not found:
            yield f"{host} has no address"
        for address in found:
            target = Target(host, address, PORT)
            heard = call(target, Manner(VERIFIED, loops=False))  # it may well be this host
            if heard.failure is not None:
                yield f"{target.peer}: {heard.failure.text.removeprefix(target.peer).lstrip(' :')}"
            elif not heard.tls:
                yield f"{target.peer}: offers no TLS"
