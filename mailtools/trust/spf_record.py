"""The grammar of an SPF record (RFC 7208 12, with its errata), apart from what the terms mean.

Leaves macros unexpanded: `spf_macro.py` does that, `spf.py` evaluates.
"""

import ipaddress
import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from mailtools.trust.spf_macro import check_domain_spec, check_macro_string
from mailtools.trust.tags import KEPT, BadRecord

IPv4Network = ipaddress.IPv4Network
IPv6Network = ipaddress.IPv6Network


class Qualifier(StrEnum):
    """What a directive that matches makes of the check (RFC 7208 4.6.2)."""

    PASS = "+"
    FAIL = "-"
    SOFTFAIL = "~"
    NEUTRAL = "?"


class Mechanism(NamedTuple):
    """One directive: its qualifier, its name in lower case and what stands behind the name."""

    qualifier: Qualifier
    name: str
    domain_spec: str = ""
    """Macros not expanded; "" means the domain being checked."""
    network: IPv4Network | IPv6Network | None = None
    prefix4: int = 32
    prefix6: int = 128
    text: str = ""
    """As published, for people."""


class SpfRecord(NamedTuple):
    """A whole record: directives in their order, and the two modifiers that mean something."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str | None = None
    exp: str | None = None


_version = re.compile(r"v=spf1(?: |\Z)", re.IGNORECASE)
_modifier = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)=(.*)\Z", re.DOTALL)
_directive = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9._-]*)(.*)\Z", re.DOTALL)
_length = r"0|[1-9][0-9]{0,2}"
_dual_cidr = re.compile(rf"(?:/({_length}))?(?://({_length}))?\Z")
_ip4 = re.compile(rf":([0-9.]+)(?:/({_length}))?\Z")
_ip6 = re.compile(rf":([0-9A-Fa-f:.]+)(?:/({_length}))?\Z")


def is_spf(text: str) -> bool:
    """Tell whether a TXT record claims to be SPF (RFC 7208 4.5)."""
    return _version.match(text) is not None


@lru_cache(KEPT)
def parse_spf(text: str) -> SpfRecord:
    """Read a record; raise BadRecord for a fault anywhere in it (RFC 7208 4.6)."""
    if not is_spf(text):
        raise BadRecord("the record does not begin with v=spf1")
    if not text.isascii():
        raise BadRecord("the record has characters beyond ASCII (RFC 7208 3.1)")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in filter(None, text[6:].split(" ")):
        modifier = _modifier.match(term)
        if modifier:
            _add_modifier(modifiers, modifier[1].lower(), modifier[2])
        else:
            mechanisms.append(_mechanism(term))
    return SpfRecord(tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def _add_modifier(modifiers: dict[str, str], name: str, value: str) -> None:
    if name not in ("redirect", "exp"):
        check_macro_string(value)  # RFC 7208 6: unknown ones are ignored, if well formed
        return
    if name in modifiers:
        raise BadRecord(f"{name}= stands twice (RFC 7208 6)")
    check_domain_spec(value)
    modifiers[name] = value


def _mechanism(term: str) -> Mechanism:
    match = _directive.match(term)
    if not match:
        raise BadRecord(f"{term!r} is no term of SPF")
    qualifier = Qualifier(match[1] or "+")
    name, rest = match[2].lower(), match[3]
    if name == "all":
        if rest:
            raise BadRecord(f"{term!r}: nothing may stand behind all")
        return Mechanism(qualifier, name, text=term)
    if name in ("include", "exists"):
        return Mechanism(qualifier, name, _domain(rest, term, wanted=True), text=term)
    if name == "ptr":
        return Mechanism(qualifier, name, _domain(rest, term), text=term)
    if name in ("a", "mx"):
        return _address_mechanism(qualifier, name, rest, term)
    if name in ("ip4", "ip6"):
        return Mechanism(qualifier, name, network=_network(name, rest, term), text=term)
    raise BadRecord(f"{term!r}: no mechanism is called {name}")


def _address_mechanism(qualifier: Qualifier, name: str, rest: str, term: str) -> Mechanism:
    cidr = _dual_cidr.search(rest)
    assert cidr is not None  # it may be empty
    prefix4, prefix6 = int(cidr[1] or 32), int(cidr[2] or 128)
    if prefix4 > 32 or prefix6 > 128:
        raise BadRecord(f"{term!r}: the prefix is longer than the address")
    domain = _domain(rest[: cidr.start()], term)
    return Mechanism(qualifier, name, domain, prefix4=prefix4, prefix6=prefix6, text=term)


def _domain(rest: str, term: str, *, wanted: bool = False) -> str:
    if not rest and not wanted:
        return ""
    if not rest.startswith(":"):
        raise BadRecord(f"{term!r}: a domain is wanted behind ':'")
    check_domain_spec(rest[1:])
    return rest[1:]


def _network(name: str, rest: str, term: str) -> IPv4Network | IPv6Network:
    match = (_ip4 if name == "ip4" else _ip6).match(rest)
    if match:
        try:
            if name == "ip4":
                return IPv4Network((match[1], int(match[2] or 32)), strict=False)
            return IPv6Network((match[1], int(match[2] or 128)), strict=False)
        except ValueError:
            pass
    raise BadRecord(f"{term!r}: this is no {name} network")


def select_spf(records: Iterable[str]) -> str | None:
    """Give the one SPF record among TXT records, or None; BadRecord if several (RFC 7208 4.5)."""
    found = [text for text in records if is_spf(text)]
    if len(found) > 1:
        raise BadRecord(f"there are {len(found)} SPF records; one is allowed (RFC 7208 3.2)")
    return found[0] if found else None
