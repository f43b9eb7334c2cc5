"""Which recursive resolvers to ask: one that is named, or those of resolv.conf(5)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from mailtools.errors import Misconfigured

PORT = 53
SYSTEM = "/etc/resolv.conf"


@dataclass(frozen=True, slots=True)
class Servers:
    """Whom to ask: addresses with ports, and whether their AD bit is believed."""

    addresses: tuple[tuple[str, int], ...]
    trusted: bool
    timeout: float = 5.0  # seconds for one question to one server
    attempts: int = 2


def named_server(text: str) -> Servers:
    """Read `address`, `address:port` or `[address]:port`; raise Misconfigured."""
    host, port = text, str(PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest[1:] or (port if bracket and not rest else "")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
        number = int(port)
    except ValueError:
        raise Misconfigured(
            detail=f"resolver: {text!r} is not an address or address:port"
        ) from None
    return Servers(((host, number),), True)


def read_system(path: str) -> Servers:
    """Read resolv.conf(5): nameserver lines and the options timeout, attempts, trust-ad."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        lines = []
    hosts = [words[1] for words in lines if words[:1] == ["nameserver"] and len(words) > 1][:3]
    options = [word for words in lines if words[:1] == ["options"] for word in words[1:]]
    numbers = dict(option.split(":", 1) for option in options if ":" in option)
    hosts = hosts or ["127.0.0.1"]
    trusted = "trust-ad" in options or all(_is_loopback(host) for host in hosts)
    return Servers(
        tuple((host, PORT) for host in hosts),
        trusted,
        _number(numbers.get("timeout"), 5, 30),
        _number(numbers.get("attempts"), 2, 5),
    )


def _number(text: str | None, default: int, most: int) -> int:
    """Read an option's number, which has a limit in resolv.conf(5)."""
    digits = (text or "").lstrip("0")
    if not digits.isascii() or not digits.isdigit():
        return default
    return min(int(digits[:9]), most)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
