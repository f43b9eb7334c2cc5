"""Tables by domain, as control files have them: a domain, then `.parent`, then "" for the rest.

Whoever writes a domain in letters beyond ASCII means the one that DNS has with A-labels (RFC 5890).
"""

from collections.abc import Mapping
from typing import TypeVar

from mailtools.errors import BadAddress, Misconfigured
from mailtools.mail.address import ascii_domain

T = TypeVar("T")


def key(text: str) -> str:
    """Write a key as it is looked up: lower case, its domain with A-labels; raise Misconfigured."""
    text = text.lower()
    if text.isascii():
        return text
    local, at, domain = text.rpartition("@")
    bare = domain.removeprefix(".")
    try:
        return f"{local}{at}{domain[: len(domain) - len(bare)]}{ascii_domain(bare)}"
    except BadAddress as fault:
        raise Misconfigured(detail=f"{text}: {fault.text}") from None


def sought(text: str) -> str:
    """Write what a message names as `key` does; what is no domain stays, in lower case."""
    try:
        return key(text)
    except Misconfigured:
        return text.lower()


def find(table: Mapping[str, T], domain: str) -> T | None:
    """Give what a table has for a domain (lower case), its nearest parent, or for all."""
    found = table.get(domain)
    while found is None and domain:
        _, _, domain = domain.partition(".")
        found = table.get(f".{domain}" if domain else "")
    return found


def find_address(table: Mapping[str, T], address: str) -> T | None:
    """Give what a table has for an address, else for its domain as `find` does."""
    address = sought(address)
    found = table.get(address)
    return found if found is not None else find(table, address.rpartition("@")[2])
