"""How much TLS a destination must have, and what was reached.

`may` is opportunistic (RFC 7435): encrypted where the peer can, plain where it cannot. `encrypt`
insists on encryption, `verify` on a certificate for the peer's name as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


class Level(StrEnum):
    """What is asked of TLS, weakest first."""

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What is asked of a destination."""

    level: Level = Level.MAY

    @property
    def mandatory(self) -> bool:
        """Whether mail waits rather than goes in the clear."""
        return self.level not in (Level.NONE, Level.MAY)


OPPORTUNISTIC = TlsPolicy()
VERIFIED = TlsPolicy(Level.VERIFY)


class Contexts:
    """TLS contexts, made when first needed and used again: to make one costs milliseconds."""

    def __init__(self, authorities: str = "") -> None:
        """`authorities` is a PEM file of the authorities to trust (default: the system's)."""
        self._authorities = authorities
        self._made: dict[bool, ssl.SSLContext] = {}

    def context(self, policy: TlsPolicy) -> ssl.SSLContext:
        """Give the context for a policy."""
        verify = policy.level is Level.VERIFY
        if verify not in self._made:
            from mailtools.net.tls import client_context  # with it comes ssl

            self._made[verify] = client_context(verify=verify, authorities=self._authorities)
        return self._made[verify]
