"""Tables by domain, as control files have them: a domain, then `.parent`, then "" for the rest."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def find(table: Mapping[str, T], domain: str) -> T | None:
    """Give what a table has for a domain (lower case), its nearest parent, or for all."""
    found = table.get(domain)
    while found is None and domain:
        _, _, domain = domain.partition(".")
        found = table.get(f".{domain}" if domain else "")
    return found


def find_address(table: Mapping[str, T], address: str) -> T | None:
    """Give what a table has for an address (lower case), else for its domain as `find` does."""
    found = table.get(address)
    return found if found is not None else find(table, address.rpartition("@")[2])
