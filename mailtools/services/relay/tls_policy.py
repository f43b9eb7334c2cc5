"""How much TLS a destination must have; the contexts and checks that see to it.

`may` is opportunistic (RFC 7435): encrypted where the peer can, plain where it cannot. `encrypt`
insists on encryption, `verify` on a certificate for the exchanger's name as well, `dane` on one
that a TLSA record matches (RFC 7672).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from mailtools.errors import TlsTrouble

if TYPE_CHECKING:
    import ssl

    from mailtools.mail.tls_report import Applied
    from mailtools.trust.dane import Tlsa


class Level(StrEnum):
    """What is asked of TLS, weakest first."""

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    VERIFY = "verify"
    DANE = "dane"


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """What is asked of a peer."""

    level: Level = Level.MAY
    names: tuple[str, ...] = ()
    """Names its certificate may have, for `dane`; the first goes into the handshake."""
    tlsa: tuple[Tlsa, ...] = ()
    testing: bool = False
    """What fails is noted for a report, and mail goes as if nothing had been asked (RFC 8461 5)."""
    applied: Applied | None = field(default=None, compare=False)
    """The domain's policy behind this, where a report is to tell how it went."""

    @property
    def mandatory(self) -> bool:
        """Whether mail waits rather than goes in the clear."""
        return not self.testing and self.level not in (Level.NONE, Level.MAY)

    @property
    def authenticates(self) -> bool:
        """Whether the peer has to prove who it is."""
        return not self.testing and self.level in (Level.VERIFY, Level.DANE)


OPPORTUNISTIC = TlsPolicy()
ENCRYPTED = TlsPolicy(Level.ENCRYPT)
VERIFIED = TlsPolicy(Level.VERIFY)
PREFERRED = TlsPolicy(Level.VERIFY, testing=True)
"""A verified name where the peer can, else opportunistic."""


def check_of(policy: TlsPolicy) -> Callable[[ssl.SSLObject], None] | None:
    """Give what a finished handshake must pass beyond OpenSSL's checks; it raises TlsTrouble."""
    if policy.level is not Level.DANE:
        return None

    def check(session: ssl.SSLObject) -> None:
        from mailtools.net.tls_pipe import chain_of
        from mailtools.trust.dane import matches  # with it comes cryptography: only for DANE

        if not matches(policy.tlsa, chain_of(session), policy.names, int(time.time())):
            raise TlsTrouble("The certificate matches no TLSA record (DANE)")

    return check


class Contexts:
    """TLS contexts, made when first needed and used again: to make one costs milliseconds."""

    def __init__(self, authorities: str = "") -> None:
        """`authorities` is a PEM file of the authorities to trust (default: the system's)."""
        self._authorities = authorities
        self._made: dict[tuple[bool, bool], ssl.SSLContext] = {}

    def context(self, policy: TlsPolicy) -> ssl.SSLContext:
        """Give the context for a policy."""
        # What is too weak for OpenSSL is better than the plain text that would follow.
        verify, lenient = kind = policy.level is Level.VERIFY, policy.level is Level.MAY
        if kind not in self._made:
            from mailtools.net.tls import client_context  # with it comes ssl

            authorities = self._authorities
            self._made[kind] = client_context(
                verify=verify, authorities=authorities, lenient=lenient
            )
        return self._made[kind]
