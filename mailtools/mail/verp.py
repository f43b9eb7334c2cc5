"""Variable envelope return paths: each recipient has a reverse-path of its own, so that whoever
hears of a failure sees in the address for whom.

`owner-list@example.org` for bob@example.net becomes `owner-list+bob=example.net@example.org`, as
Postfix writes it; the two delimiters are the value of the parameter XVERP of the message.
"""

from mailtools.errors import BadAddress
from mailtools.mail.address import Address, parse_address
from mailtools.mail.envelope import Envelope

XVERP = "XVERP"
DEFAULT = "+="
ALLOWED = "+-="  # Postfix's verp_delimiter_filter


def is_delimiters(text: str) -> bool:
    """Whether a text is two delimiters; "" stands for the usual ones."""
    return not text or (len(text) == 2 and text[0] in ALLOWED and text[1] in ALLOWED)


def personal(envelope: Envelope, forward_path: str) -> str:
    """Give the reverse-path for one recipient: that of the message, unless it asks for VERP."""
    if XVERP not in envelope.parameters or not envelope.reverse_path:
        return envelope.reverse_path
    delimiters = envelope.parameters[XVERP] or DEFAULT
    if len(delimiters) != 2:
        return envelope.reverse_path
    try:
        sender, recipient = parse_address(envelope.reverse_path), parse_address(forward_path)
    except BadAddress:  # <postmaster>, which is ours
        return envelope.reverse_path
    first, second = delimiters[0], delimiters[1]
    local = f"{sender.local}{first}{recipient.local}{second}{recipient.domain}"
    return str(Address(local, sender.domain))
