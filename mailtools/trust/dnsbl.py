"""Lists of addresses and domains in DNS, that block or allow (RFC 5782).

A list is written as postscreen writes it: `zone`, `zone*3`, `zone=127.0.0.[2..11;14]*-2`. Weights
of all lists that know the client are added; those that allow have negative ones.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from mailtools.errors import DnsTrouble, Misconfigured
from mailtools.trust.ip import read_ip
from mailtools.trust.lookup import Lookup, is_name

_list = re.compile(r"([A-Za-z0-9_.-]+?)\.?(?:=([0-9.;\[\]]+))?(?:\*([+-]?[0-9]{1,4}))?\Z")
_octet = re.compile(r"\[([0-9.;]+)\]|([0-9]+)")

Ranges = tuple[tuple[int, int], ...]


class DnsList(NamedTuple):
    """A list: its zone, what an answer that counts looks like, and its weight."""

    zone: str
    weight: int = 1
    pattern: tuple[Ranges, ...] = ()
    """For each octet the ranges that count; () takes any answer in 127/8."""
    text: str = ""
    """As configured."""

    def counts(self, answer: str) -> bool:
        """Tell whether an A record of the list is a hit: in 127/8, no error code, as wanted."""
        octets = [int(octet) for octet in answer.split(".")]
        if octets[0] != 127 or is_error(answer):
            return False
        return not self.pattern or all(
            any(low <= octet <= high for low, high in ranges)
            for octet, ranges in zip(octets, self.pattern, strict=True)
        )


class Hit(NamedTuple):
    """A list that knows the client, and its answers."""

    list: DnsList
    answers: tuple[str, ...]


class DnsblVerdict(NamedTuple):
    """What all lists say together."""

    score: int
    hits: tuple[Hit, ...] = ()
    problems: tuple[str, ...] = ()
    """Lists that gave no usable answer, for the operator."""


def is_error(answer: str) -> bool:
    """Tell whether an answer is one of Spamhaus' error codes, 127.255.255.x: never a hit."""
    return answer.startswith("127.255.255.")


def parse_list(text: str) -> DnsList:
    """Read a list as configured; raise Misconfigured."""
    match = _list.match(text)
    if not match or not is_name(match[1]):
        raise Misconfigured(f"{text!r} is not of the form zone=127.0.0.2*weight")
    pattern = _parse_pattern(match[2], text) if match[2] else ()
    return DnsList(match[1].lower(), int(match[3] or 1), pattern, text)


def _parse_pattern(pattern: str, text: str) -> tuple[Ranges, ...]:
    octets: list[Ranges] = []
    rest = pattern
    while rest:
        match = _octet.match(rest)
        if not match or (match.end() < len(rest) and rest[match.end()] != "."):
            break
        octets.append(_parse_ranges(match[1] or match[2], text))
        rest = rest[match.end() + 1 :]
    if rest or len(octets) != 4:
        raise Misconfigured(f"{text!r}: an answer has four octets, like 127.0.0.[2..11;14]")
    return tuple(octets)


def _parse_ranges(octet: str, text: str) -> Ranges:
    ranges = []
    for part in octet.split(";"):
        low, dots, high = part.partition("..")
        if not low.isdigit() or (dots and not high.isdigit()):
            raise Misconfigured(f"{text!r}: {part!r} is no number and no range like 2..11")
        ranges.append((int(low), int(high or low)))
        if not 0 <= ranges[-1][0] <= ranges[-1][1] <= 255:
            raise Misconfigured(f"{text!r}: {part!r} is no range within 0..255")
    return tuple(ranges)


def address_query(ip: str, zone: str) -> str:
    """Give the name to ask a list for about an address (RFC 5782 2.1, 2.4)."""
    address = read_ip(ip)
    return f"{address.reverse_pointer.rsplit('.', 2)[0]}.{zone}"


def domain_query(domain: str, zone: str) -> str:
    """Give the name to ask a list for about a domain with A-labels (RFC 5782 3)."""
    return f"{domain.rstrip('.')}.{zone}"


def check_address(ip: str, lists: Sequence[DnsList], lookup: Lookup) -> DnsblVerdict:
    """Ask all lists about a client; a list that does not answer counts nothing."""
    return _check([(each, address_query(ip, each.zone)) for each in lists], lookup)


def check_domain(domain: str, lists: Sequence[DnsList], lookup: Lookup) -> DnsblVerdict:
    """Ask all lists about a domain with A-labels."""
    return _check([(each, domain_query(domain, each.zone)) for each in lists], lookup)


def _check(queries: Sequence[tuple[DnsList, str]], lookup: Lookup) -> DnsblVerdict:
    hits, problems = [], []
    answers: dict[str, tuple[str, ...]] = {}
    for each, name in queries:
        if name not in answers:  # a zone may stand in several lists, with different patterns
            answers[name] = ()
            try:
                answers[name] = lookup(name, "A").records if is_name(name) else ()
            except DnsTrouble as trouble:
                problems.append(f"{each.zone}: {trouble.text}")
            odd = [a for a in answers[name] if is_error(a) or not a.startswith("127.")]
            if odd:  # RFC 5782 2.1: anything else than 127/8 is no list's answer
                problems.append(f"{each.zone} answers {odd[0]}, which is no listing")
        found = tuple(answer for answer in answers[name] if each.counts(answer))
        if found:
            hits.append(Hit(each, found))
    return DnsblVerdict(sum(hit.list.weight for hit in hits), tuple(hits), tuple(problems))


def check_health(zone: str, lookup: Lookup) -> str:
    """Test whether a list of addresses works (RFC 5782 5); "" when it does, else what is wrong."""
    try:
        listed = lookup(address_query("127.0.0.2", zone), "A").records
        unlisted = lookup(address_query("127.0.0.1", zone), "A").records
    except DnsTrouble as trouble:
        return f"{zone} does not answer: {trouble.text}"
    if any(map(is_error, listed + unlisted)):
        return f"{zone} refuses to answer us: {(listed + unlisted)[0]}"
    if unlisted:
        return f"{zone} lists 127.0.0.1, so it lists everything"
    if not listed:
        return f"{zone} does not list 127.0.0.2, so it lists nothing any more"
    return ""
