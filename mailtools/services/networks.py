"""Addresses and networks in lists: 192.0.2.7, 192.0.2.0/24, 2001:db8::/32."""

from collections.abc import Iterable


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
