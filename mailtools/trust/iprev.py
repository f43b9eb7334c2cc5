"""Who is the client: reverse DNS that leads back (RFC 8601 2.7.3, 3), and its HELO name."""

from enum import StrEnum
from typing import NamedTuple

from mailtools.errors import BadAddress, DnsTrouble
from mailtools.mail.address import ascii_domain, is_literal, literal_address, parse_domain
from mailtools.trust.ip import IPAddress, read_ip
from mailtools.trust.lookup import Lookup, is_name

NAMES_MOST = 10  # of one client, as RFC 7208 4.6.4 has it for ptr


class Iprev(StrEnum):
    """The results, in the words of RFC 8601 2.7.3."""

    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class IprevResult(NamedTuple):
    """What reverse DNS says."""

    result: Iprev
    name: str = ""
    """The name proved; on `fail` the first one claimed."""
    problem: str = ""


def check_iprev(ip: str, lookup: Lookup) -> IprevResult:
    """Look for a name of the client that leads back to it; `permerror`: it has no name at all."""
    address = read_ip(ip)
    try:
        records = lookup(address.reverse_pointer, "PTR").records
        names = [record.rstrip(".").lower() for record in records[:NAMES_MOST]]
        names = [name for name in names if is_name(name)]
        if not names:
            return IprevResult(Iprev.PERMERROR, problem="the client has no name in reverse DNS")
        trouble = ""
        for name in names:
            try:
                if _has(name, address, lookup):
                    return IprevResult(Iprev.PASS, name)
            except DnsTrouble as error:
                trouble = error.text
    except DnsTrouble as error:
        return IprevResult(Iprev.TEMPERROR, problem=error.text)
    if trouble:
        return IprevResult(Iprev.TEMPERROR, names[0], trouble)
    return IprevResult(Iprev.FAIL, names[0], "the client's name does not lead back to it")


def _has(name: str, address: IPAddress, lookup: Lookup) -> bool:
    records = lookup(name, "A" if address.version == 4 else "AAAA").records
    return any(read_ip(text) == address for text in records)


class Helo(StrEnum):
    """What a HELO name is; only the first two are how RFC 5321 4.1.1.1 wants it."""

    PROVED = "proved"
    """The name has the client's address, or is its address literal."""
    UNPROVED = "unproved"
    """A name with addresses, not this one: common, and no reason to refuse (RFC 5321 4.1.4)."""
    UNKNOWN = "unknown"
    """A name without addresses."""
    UNSURE = "unsure"
    """DNS did not answer."""
    BAD = "bad"
    """No full domain name and no address literal."""
    OURS = "ours"
    """Our own name or address, from somebody else: forged."""


def check_helo_name(helo: str, ip: str, ours: frozenset[str], lookup: Lookup) -> Helo:
    """Judge a HELO name; `ours` has our names and addresses in lower case."""
    address = read_ip(ip)
    try:
        if is_literal(helo):
            claimed = read_ip(literal_address(helo))
            if str(claimed) in ours and claimed != address:
                return Helo.OURS
            return Helo.PROVED if claimed == address else Helo.BAD
        name = ascii_domain(parse_domain(helo.removesuffix(".")))
    except BadAddress:
        return Helo.BAD
    if name in ours and str(address) not in ours:
        return Helo.OURS
    if "." not in name or not is_name(name) or name.replace(".", "").isdigit():
        return Helo.BAD
    try:
        if _has(name, address, lookup):
            return Helo.PROVED
        known = any(lookup(name, rrtype).records for rrtype in ("A", "AAAA"))
    except DnsTrouble:
        return Helo.UNSURE
    return Helo.UNPROVED if known else Helo.UNKNOWN
