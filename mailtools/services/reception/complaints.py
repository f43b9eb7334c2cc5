"""Who is open to everybody: complaints come in, whatever they hold and whoever sends them.

RFC 5321 4.5.1 asks it for postmaster, RFC 2142 4 for abuse. Limits of size, number and time hold.
"""

from collections.abc import Iterable

from mailtools.errors import Harmful, PolicyRefused

OPEN_TO_ALL = frozenset(("postmaster", "abuse"))
_HARM = ("virus", "malware", "infected", "trojan", "phish")  # what scanners say by milter


def is_open(addresses: Iterable[str]) -> bool:
    """Whether a message to these addresses goes to nobody else."""
    return {address.rpartition("@")[0].lower() for address in addresses} <= OPEN_TO_ALL


def is_harmful(refusal: PolicyRefused) -> bool:
    """Whether nobody is to see what was refused: a content program or a milter says so."""
    said = refusal.text.lower()
    return isinstance(refusal, Harmful) or any(word in said for word in _HARM)
