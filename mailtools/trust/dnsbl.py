"""Lists of addresses in DNS, that block or allow (RFC 5782).

A list is written as postscreen writes it: `zone`, `zone*3`, `zone=127.0.0.[2..11;14]*-2`. Weights
of all lists that know the client are added; those that allow have negative ones.
"""

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

from mailtools.errors import DnsTrouble, Misconfigured
from mailtools.trust.ip import read_ip
from mailtools.trust.lookup import Lookup, is_name

_list = re.compile(r"([A-Za-z0-9_.-]+?)\.?(?:=([0-9.;\[\]]+))?(?:\*([+-]?[0-9]{1,4}))?\Z")
_LISTED, _UNLISTED = "127.0.0.2", "127.0.0.1"  # what lists have for a test, RFC 5782 5
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

    def __str__(self) -> str:
        """What it says, for people."""
        return f"{self.list.zone} says {', '.join(self.answers)}, weight {self.list.weight}"


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


def control_query(ip: str, zone: str) -> str:
    """Give the name at which a list of this address' family has nothing, if it works at all.

    127.0.0.1, or ::FFFF:127.0.0.1 written out for IPv6 (RFC 5782 5).
    """
    if read_ip(ip).version == 4:
        return address_query(_UNLISTED, zone)
    nibbles = ip_address(f"::ffff:{_UNLISTED}").reverse_pointer.rsplit(".", 2)[0]
    return f"{nibbles}.{zone}"


def check_address(ip: str, lists: Sequence[DnsList], lookup: Lookup) -> DnsblVerdict:
    """Ask all lists about a client; one that is silent, or lists everybody, counts nothing."""
    hits: list[Hit] = []
    problems: list[str] = []
    answers: dict[str, tuple[str, ...]] = {}
    for each in lists:
        zone = each.zone
        if zone not in answers:  # a zone may stand in several lists, with different patterns
            answers[zone] = ()
            try:
                answers[zone], problem = _answers(ip, zone, lookup)
            except DnsTrouble as trouble:
                problem = f"{zone}: {trouble.text}"
            if problem:
                problems.append(problem)
        found = tuple(answer for answer in answers[zone] if each.counts(answer))
        if found:
            hits.append(Hit(each, found))
    return _verdict(hits, problems)


def joined(verdicts: Sequence[DnsblVerdict]) -> DnsblVerdict:
    """Give what several verdicts say together."""
    hits = [hit for verdict in verdicts for hit in verdict.hits]
    return _verdict(hits, [problem for verdict in verdicts for problem in verdict.problems])


def _verdict(hits: Sequence[Hit], problems: Sequence[str]) -> DnsblVerdict:
    return DnsblVerdict(sum(hit.list.weight for hit in hits), tuple(hits), tuple(problems))


def _answers(ip: str, zone: str, lookup: Lookup) -> tuple[tuple[str, ...], str]:
    """Give what a list answers about a client, and what is wrong with that; raise DnsTrouble."""
    name, control = address_query(ip, zone), control_query(ip, zone)
    answers = lookup(name, "A").records if is_name(name) else ()
    odd = [answer for answer in answers if is_error(answer) or not _is_listing(answer)]
    problem = f"{zone} answers {odd[0]}, which is no listing" if odd else ""
    listed = tuple(answer for answer in answers if answer not in odd)
    # A zone whose owner gave it up often answers whatever is asked (RFC 5782 5).
    if listed and any(map(_is_listing, lookup(control, "A").records)):
        return (), _lists_everything(zone)
    return listed, problem


def _is_listing(answer: str) -> bool:
    """Tell whether an answer is in 127/8 (RFC 5782 2.1)."""
    return answer.startswith("127.")


def _lists_everything(zone: str) -> str:
    return f"{zone} lists {_UNLISTED}, so it lists everything"


def check_health(zone: str, lookup: Lookup) -> str:
    """Test whether a list of addresses works (RFC 5782 5); "" when it does, else what is wrong."""
    try:
        listed = lookup(address_query(_LISTED, zone), "A").records
        unlisted = lookup(address_query(_UNLISTED, zone), "A").records
    except DnsTrouble as trouble:
        return f"{zone} does not answer: {trouble.text}"
    if any(map(is_error, listed + unlisted)):
        return f"{zone} refuses to answer us: {(listed + unlisted)[0]}"
    if unlisted:
        return _lists_everything(zone)
    if not listed:
        return f"{zone} does not list {_LISTED}, so it lists nothing any more"
    return ""
