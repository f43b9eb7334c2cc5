"""What this host knows by itself: which IP addresses are its own, and /etc/hosts."""

import socket

HOSTS = "/etc/hosts"


def is_local(address: str) -> bool:
    """Tell whether connecting to an IP address would lead back to this host.

    The kernel is asked, so that addresses added later count too: what is here is reached from
    itself. To bind to an address tells nothing where net.ipv4.ip_nonlocal_bind is set, as it is
    beside HAProxy and keepalived. 0.0.0.0 and :: are this host as well.
    """
    import ipaddress  # only where mail leaves for exchangers

    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    inner = getattr(found, "ipv4_mapped", None) or found
    if inner.is_loopback or inner.is_unspecified:
        return True
    ours = source_of(address)
    return bool(ours) and ipaddress.ip_address(ours) == found


def source_of(address: str) -> str:
    """Give the address of ours that the kernel would use towards an IP address; "" for no way.

    Nothing is sent.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return ""


def in_hosts(host: str) -> list[str]:
    """Give the addresses of a host (lower case) in hosts(5)."""
    try:
        with open(HOSTS, encoding="utf-8", errors="replace") as file:
            lines = [line.partition("#")[0].lower().split() for line in file]
    except OSError:
        return []
    return [words[0] for words in lines if host in words[1:]]
