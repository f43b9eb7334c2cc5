"""How much TLS a message itself wants on its way (RFC 8689)."""

from enum import StrEnum

from mailtools.mail.fields import find


class TlsWish(StrEnum):
    """What the sender asked for."""

    REQUIRED = "required"
    """REQUIRETLS: only over verified TLS, only to hosts that offer it (RFC 8689 4.2.1)."""
    PREFERRED = "preferred"
    """The same for a bounce: verified where that can be, else as DEFAULT (RFC 8689 5)."""
    DEFAULT = "default"
    """What the domains of the forward-paths ask for by DANE or MTA-STS."""
    OPTIONAL = "optional"
    """`TLS-Required: No`: rather without TLS than not at all (RFC 8689 3)."""


def tls_wish(header: bytes, *, requiretls: bool, bounce: bool = False) -> TlsWish:
    """Read the wish from the envelope's REQUIRETLS, which comes first (RFC 8689 4.1), and header.

    `bounce`: the reverse-path is null; such a message is not to be lost for want of TLS. More than
    one TLS-Required field, or another value than No, means nothing (RFC 8689 3).
    """
    if requiretls:
        return TlsWish.PREFERRED if bounce else TlsWish.REQUIRED
    found = list(find(header, b"TLS-Required"))
    if len(found) == 1 and found[0].body.lower() == b"no":
        return TlsWish.OPTIONAL
    return TlsWish.DEFAULT
