"""Who is open to everybody: complaints come in, whatever they hold and whoever sends them.

RFC 5321 4.5.1 asks it for postmaster, RFC 2142 4 for abuse. Limits of size, number and time hold.
"""

from collections.abc import Iterable

OPEN_TO_ALL = frozenset(("postmaster", "abuse"))


def is_open(addresses: Iterable[str]) -> bool:
    """Whether a message to these addresses goes to nobody else."""
    return {address.rpartition("@")[0].lower() for address in addresses} <= OPEN_TO_ALL
