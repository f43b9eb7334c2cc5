"""How much TLS a message itself wants on its way (RFC 8689)."""

from enum import StrEnum

from mailtools.mail.fields import find


class TlsWish(StrEnum):
    """What the sender asked for."""

    REQUIRED = "required"
    """REQUIRETLS: only over verified TLS, only to hosts that offer it (RFC 8689 4.2.1)."""
    DEFAULT = "default"
    """What the domains of the forward-paths ask for by DANE or MTA-STS."""
    OPTIONAL = "optional"
    """`TLS-Required: No`: rather without TLS than not at all (RFC 8689 3)."""


def tls_wish(header: bytes, *, requiretls: bool) -> TlsWish:
    """Read the wish from the envelope's REQUIRETLS, which comes first (RFC 8689 4.1), and header.

    More than one TLS-Required field, or another value than No, means nothing (RFC 8689 3).
    """
    if requiretls:
        return TlsWish.REQUIRED
    found = list(find(header, b"TLS-Required"))
    if len(found) == 1 and found[0].body.lower() == b"no":
        return TlsWish.OPTIONAL
    return TlsWish.DEFAULT
