"""Addresses and networks in lists: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

KNOWN_MOST = 10000  # answers kept


def contains(networks: Iterable[str], address: str) -> bool:
    """Whether an IP address is in one of the networks; no address, or no network, is in none."""
    import ipaddress  # costs 6 ms; only where a list is asked

    try:
        wanted = ipaddress.ip_address(address)
        mapped = getattr(wanted, "ipv4_mapped", None)
        wanted = mapped or wanted
        return any(wanted in ipaddress.ip_network(text.strip(), strict=False) for text in networks)
    except ValueError:
        return False


def is_network(text: str) -> bool:
    """Whether a text is an address or a network."""
    import ipaddress

    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def prefix(address: str) -> str:
    """Give the network one peer is counted by: IPv4 /32, IPv6 /64; "" for no address."""
    import ipaddress

    try:
        wanted = ipaddress.ip_address(address)
    except ValueError:
        return ""
    wanted = getattr(wanted, "ipv4_mapped", None) or wanted
    if wanted.version == 4:
        return str(wanted)
    return str(ipaddress.ip_network((wanted, 64), strict=False))


class Networks:
    """A list of addresses and networks, read once and asked often."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        """Take the list; raise ValueError for what is neither."""
        self._networks: list[IPv4Network | IPv6Network] = []
        self._known: dict[str, bool] = {}
        for text in texts:
            import ipaddress  # costs 6 ms; only where there is a list

            self._networks.append(ipaddress.ip_network(text.strip(), strict=False))

    def __contains__(self, address: str) -> bool:
        """Whether an IP address is in one of them; no address is in none."""
        if not self._networks or not address:
            return False
        found = self._known.get(address)
        if found is None:
            if len(self._known) > KNOWN_MOST:
                self._known.clear()
            found = self._known[address] = self._look_up(address)
        return found

    def _look_up(self, address: str) -> bool:
        import ipaddress

        try:
            wanted = ipaddress.ip_address(address)
        except ValueError:
            return False
        wanted = getattr(wanted, "ipv4_mapped", None) or wanted
        return any(wanted in network for network in self._networks)


def is_loopback(address: str) -> bool:
    """Whether an address is this host's own."""
    return address == "::1" or address.startswith("127.")


NOBODY = Networks()
"""The empty list."""
