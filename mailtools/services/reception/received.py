"""The Received field that every message gets here (RFC 5321 4.4, RFC 3848, RFC 6531 4.3)."""

import time
from typing import NamedTuple

from mailtools.mail.dates import format_date_field


class Hop(NamedTuple):
    """What a Received field says of the way a message came in."""

    hello: str
    """The name the peer gave; "" for none."""
    address: str
    """The peer's IP address; "" where there is no network between."""
    peer_name: str
    """The peer's DNS name, or the user of this host; "" where it is not known."""
    here: str
    """Our name."""
    protocol: str
    """As `protocol_name` gives it."""
    tls: str = ""
    """TLS version and cipher; "" without TLS."""


def protocol_name(verb: str, *, secure: bool, identified: bool, utf8: bool) -> str:
    """Name the protocol of a `with` clause, for a session begun with EHLO, HELO or LHLO.

    QMTP and QMQP, which begin with nothing, stand for themselves.
    """
    if verb == "HELO":
        return "SMTP"
    if verb in ("QMTP", "QMQP"):
        return verb
    base = "LMTP" if verb == "LHLO" else "SMTP"
    prefix = "UTF8" if utf8 else ("" if verb == "LHLO" else "E")
    return f"{prefix}{base}{'S' * secure}{'A' * identified}"


def received_field(hop: Hop, id_: str, only_recipient: str = "") -> bytes:
    """Write the field for entry `id_`, with LF line ends.

    `only_recipient` is named where there is just one: several would tell each of the others.
    """
    now = time.time()
    offset = time.localtime(now).tm_gmtoff // 60
    lines = [f"Received: from {_from(hop)}"]
    if hop.tls:
        lines.append(f"(using {hop.tls})")
    lines.append(f"by {hop.here} (mailtools) with {hop.protocol} id {id_}")
    if only_recipient:
        lines.append(f"for <{only_recipient}>")
    return ("\n\t".join(lines) + f"; {format_date_field(now, offset)}\n").encode()


def _from(hop: Hop) -> str:
    # Extended-Domain of RFC 5321 4.4: what the peer said, and in the comment what we saw.
    name = hop.hello or "unknown"
    if not hop.address:
        who = f"local, from user {hop.peer_name}" if hop.peer_name else "local"
        return f"{name} ({who})" if hop.hello else f"localhost ({who})"
    literal = f"[IPv6:{hop.address}]" if ":" in hop.address else f"[{hop.address}]"
    return f"{name} ({hop.peer_name} {literal})" if hop.peer_name else f"{name} ({literal})"
