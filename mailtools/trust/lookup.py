"""What the trust checks ask of DNS: a callable that gives an Answer, or raises DnsTrouble.

The `lookup` of a Resolver in `net/dns.py` is one, a dict in tests another. Record data is text:

    A, AAAA   the address: `192.0.2.1`, `2001:db8::1`
    MX        preference, space, name: `10 mail.example.org`; the null MX is `0 ` (RFC 7505)
    PTR       the name, without a dot at its end
    TXT       the strings of one record joined, each byte as the character of that number (latin-1)
    TLSA      usage, selector, matching type, hexadecimal data: `3 1 1 0c72…`

The resolver follows CNAMEs. A name goes in as ASCII without a dot at its end; between the dots
any printable character may stand (SPF macros make such names), a backslash too, for itself.
"""

import re
from collections.abc import Callable
from typing import Protocol

from mailtools.errors import DnsTrouble

NAME_MOST = 253  # characters of a name without its last dot, RFC 1035 2.3.4
_labels = re.compile(r"(?:[^.]{1,63}\.)*[^.]{1,63}\Z")  # RFC 1035 2.3.4


class Answer(Protocol):
    """The records of one type at a name; none when it has no such record or does not exist."""

    @property
    def records(self) -> tuple[str, ...]:
        """The records as text."""

    @property
    def exists(self) -> bool:
        """False for NXDOMAIN (RFC 8020): neither the name nor any below it exists."""

    @property
    def secure(self) -> bool:
        """Whether DNSSEC vouches for the answer (the AD bit of a resolver that is trusted)."""


Lookup = Callable[[str, str], Answer]
"""`lookup(name, rrtype)` gives an Answer; raises DnsTrouble (SERVFAIL, time-out, bogus DNSSEC)."""


def remembering(lookup: Lookup) -> Lookup:
    """Give a lookup that asks each question once: SPF, DKIM and DMARC of a message ask alike."""
    known: dict[tuple[str, str], Answer | DnsTrouble] = {}

    def ask(name: str, rrtype: str) -> Answer:
        question = (name.lower(), rrtype)
        answer = known.get(question)
        if answer is None:
            try:
                answer = lookup(name, rrtype)
            except DnsTrouble as trouble:
                answer = trouble
            known[question] = answer
        if isinstance(answer, DnsTrouble):
            raise DnsTrouble(answer.text)
        return answer

    return ask


def is_name(name: str) -> bool:
    """Tell whether a DNS question can be put for a name: ASCII, labels of 1 to 63, 253 in all."""
    return name.isascii() and len(name) <= NAME_MOST and _labels.match(name) is not None


def parse_mx(record: str) -> tuple[int, str]:
    """Read the text of an MX record: its preference, and the exchanger ("" for the null MX)."""
    preference, _, name = record.partition(" ")
    return int(preference), name.rstrip(".")
