"""IP addresses as the checks compare them."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

KEPT = 1024  # addresses read: each check of a session asks for the client's

IPAddress = IPv4Address | IPv6Address


@lru_cache(KEPT)
def read_ip(text: str) -> IPAddress:
    """Read an address, its zone (`%eth0`) left out; raise ValueError.

    A mapped one (`::ffff:192.0.2.1`) is the IPv4 address (RFC 7208 5).
    """
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
