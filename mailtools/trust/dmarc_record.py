"""A DMARC policy record (RFC 9989 4.7, 4.8), and where DNS may have one (4.10)."""

from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import unquote

from mailtools.trust.lookup import Lookup
from mailtools.trust.tags import KEPT, BadRecord

LABELS_MOST = 7  # after the first query, RFC 9989 4.10 step 4: so eight queries at most
URIS_MOST = 20  # of rua= or ruf=: ours

Psd = Literal["y", "n", "u"]


class Policy(StrEnum):
    """What a domain wants done with mail that fails (RFC 9989 4.7 p=), mildest first."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"


_MILDER = {Policy.REJECT: Policy.QUARANTINE, Policy.QUARANTINE: Policy.NONE}


class DmarcRecord(NamedTuple):
    """What a domain publishes, defaults filled in."""

    domain: str
    """Where it was found, without `_dmarc.`."""
    p: Policy = Policy.NONE
    sp: Policy | None = None
    np: Policy | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    testing: bool = False
    psd: Psd = "u"
    fo: tuple[str, ...] = ("0",)
    rua: tuple[str, ...] = ()
    """Addresses aggregate reports go to: those of mailto:, sizes dropped."""
    ruf: tuple[str, ...] = ()
    usable: bool = True
    """False where p=, sp= or np= make no sense and nobody asks for reports (RFC 9989 4.10.1)."""

    def policy(self, *, below: bool, exists: bool) -> Policy:
        """Give the policy for the domain itself, or for one below it that may not exist."""
        if not below:
            return self.p
        for_subdomains = self.p if self.sp is None else self.sp
        if exists or self.np is None:
            return for_subdomains
        return self.np

    def applied(self, policy: Policy) -> Policy:
        """Give what is to be done: one level milder while t=y (RFC 9989 4.7 t=)."""
        return _MILDER.get(policy, policy) if self.testing else policy


def is_dmarc(text: str) -> bool:
    """Tell whether a TXT record begins with v=DMARC1 (RFC 9989 4.7 v=)."""
    name, equals, value = text.partition(";")[0].partition("=")
    return bool(equals) and name.strip(" \t") == "v" and value.strip(" \t") == "DMARC1"


@lru_cache(KEPT)
def parse_dmarc(text: str, domain: str) -> DmarcRecord:
    """Read a policy record; faults behind v= give way to defaults, unknown tags are ignored.

    Raise BadRecord where it is none.
    """
    if not is_dmarc(text):
        raise BadRecord("the record does not begin with v=DMARC1")
    tags: dict[str, str] = {}
    for piece in text.split(";")[1:]:
        name, _, value = piece.partition("=")
        tags.setdefault(name.strip(" \t").lower(), value.strip(" \t"))
    rua, ruf = _addresses(tags.get("rua", "")), _addresses(tags.get("ruf", ""))
    policies = {name: _policy(tags.get(name)) for name in ("p", "sp", "np")}
    clear = all(policies[name] is not None for name in policies if name in tags)
    if not clear:  # RFC 9989 4.10.1: as if p=none alone, if somebody reads reports
        policies = dict.fromkeys(policies)
    psd = tags.get("psd", "u").lower()
    return DmarcRecord(
        domain,
        policies["p"] or Policy.NONE,
        policies["sp"],
        policies["np"],
        tags.get("adkim", "r").lower() == "s",
        tags.get("aspf", "r").lower() == "s",
        tags.get("t", "n").lower() == "y",
        "y" if psd == "y" else "n" if psd == "n" else "u",
        tuple(option.strip() for option in tags.get("fo", "0").lower().split(":")),
        rua,
        ruf,
        clear or bool(rua),
    )


def _policy(text: str | None) -> Policy | None:
    try:
        return Policy(text.lower()) if text else None
    except ValueError:
        return None


def _addresses(uris: str) -> tuple[str, ...]:
    """Give the addresses of mailto: URIs; other schemes are ignored (RFC 9989 4.7 rua=)."""
    found = []
    for uri in uris.split(",")[:URIS_MOST]:
        scheme, colon, rest = uri.strip(" \t").partition(":")
        if colon and scheme.lower() == "mailto":
            address = unquote(rest.partition("!")[0].partition("?")[0])
            if "@" in address and address.isprintable() and " " not in address:
                found.append(address)
    return tuple(found)


def record_at(domain: str, lookup: Lookup) -> DmarcRecord | None:
    """Fetch the record of one domain; None where there is none, or several (RFC 9989 4.10)."""
    texts = [text for text in lookup(f"_dmarc.{domain}", "TXT").records if is_dmarc(text)]
    return parse_dmarc(texts[0], domain) if len(texts) == 1 else None


def walk(domain: str, lookup: Lookup) -> Iterator[DmarcRecord]:
    """Yield the records from a domain to the root, eight queries at most (RFC 9989 4.10)."""
    for name in names_of_walk(domain):
        record = record_at(name, lookup)
        if record:
            yield record
            if record.psd != "u":
                return


def names_of_walk(domain: str) -> list[str]:
    """Give the domains a tree walk asks for, in order (RFC 9989 4.10 steps 3, 4 and 7)."""
    labels = domain.split(".")
    rest = labels[1:] if len(labels) <= LABELS_MOST else labels[-LABELS_MOST:]
    return [domain] + [".".join(rest[start:]) for start in range(len(rest))]
