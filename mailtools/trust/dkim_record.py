"""What DKIM writes: the DKIM-Signature field and the key record (RFC 6376 3.5, 3.6; RFC 8616)."""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from mailtools.errors import BadAddress
from mailtools.mail.address import ascii_domain
from mailtools.mail.fields import Field
from mailtools.trust.canonical import BodyForm, Canonical
from mailtools.trust.keys import KeyKind, unbase64
from mailtools.trust.lookup import is_name
from mailtools.trust.tags import KEPT, BadRecord, parse_tags

NAMES_MOST = 1000  # fields h= may name: ours, against a field made to waste time
USUAL = 1000  # characters of h= that is remembered
_number = re.compile(r"[0-9]{1,12}\Z")  # RFC 6376 3.5 t=, x=
_length = re.compile(r"[0-9]{1,76}\Z")  # RFC 6376 3.5 l=
# RFC 6376 3.5: sub-domains. DNS takes more: bank.test(.evil.test, to fool who reads the results
_host = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\Z")
_field_names = re.compile(r"[!-~]*\Z")  # with the colons between
_WANTED = ("v", "a", "b", "bh", "d", "h", "s")

Algorithm = Literal["rsa-sha256", "ed25519-sha256", "rsa-sha1"]
ALGORITHMS: dict[str, Algorithm] = {
    "rsa-sha256": "rsa-sha256",
    "ed25519-sha256": "ed25519-sha256",
    "rsa-sha1": "rsa-sha1",
}
_CANONICAL: dict[str, Canonical] = {"simple": "simple", "relaxed": "relaxed"}


class Signature(NamedTuple):
    """A DKIM-Signature or ARC-Message-Signature field, read."""

    field: Field
    algorithm: Algorithm
    domain: str
    """d=, with A-labels, lower case."""
    selector: str
    identity: str
    """i=, as written; `@domain` where there is none."""
    names: tuple[bytes, ...]
    """h=, in its order, in lower case."""
    header_form: Canonical
    body_form: BodyForm
    body_hash: bytes
    value: bytes
    made: int | None
    """t=, seconds since 1970."""
    expires: int | None
    """x=, likewise."""

    @property
    def key_name(self) -> str:
        """Where DNS has the key (RFC 6376 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def kind(self) -> KeyKind:
        """The kind of key that can check it."""
        return "ed25519" if self.algorithm == "ed25519-sha256" else "rsa"


class KeyRecord(NamedTuple):
    """A key record: what may be checked with the key, and the key, not yet decoded."""

    kind: str
    hashes: tuple[str, ...]
    """h=; empty allows all."""
    services: tuple[str, ...]
    key: str
    """p=; empty for a key revoked."""
    testing: bool
    strict: bool
    """t=s: i= must not be in a subdomain."""


def field_tags(field: Field) -> dict[str, str]:
    """Read the tag list of a field; raise BadRecord."""
    try:
        text = field.raw.partition(b":")[2].decode("utf-8")
    except UnicodeDecodeError:
        raise BadRecord("the field is not UTF-8") from None
    return parse_tags(text)


def parse_signature(field: Field) -> Signature:
    """Read a DKIM-Signature field; raise BadRecord (RFC 6376 6.1.1)."""
    tags = field_tags(field)
    for name in _WANTED:
        if name not in tags:
            raise BadRecord(f"{name}= is missing")
    if tags["v"] != "1":
        raise BadRecord("v= is not 1")
    if "dns/txt" not in tags.get("q", "dns/txt").replace(" ", "").lower().split(":"):
        raise BadRecord("q= offers no way to the key that we know")
    return read_signature(field, tags, identity=tags.get("i"))


def read_signature(field: Field, tags: dict[str, str], *, identity: str | None) -> Signature:
    """Read the tags DKIM and ARC share; a=, b=, bh=, d=, h=, s= must be there; raise BadRecord."""
    algorithm, domain = read_algorithm(tags), read_domain(tags, "d")
    header_form, body_form = _canonical(tags.get("c", "simple/simple"))
    names = (_kept_names if len(tags["h"]) < USUAL else _names)(tags["h"])
    if b"from" not in names:
        raise BadRecord("h= leaves out From (RFC 6376 5.4)")
    length = tags.get("l")
    if length is not None and not _length.match(length):
        raise BadRecord("l= is no number")
    made, expires = read_time(tags, "t"), read_time(tags, "x")
    if made is not None and expires is not None and expires <= made:
        raise BadRecord("x= is not later than t= (RFC 6376 3.5)")
    return Signature(
        field,
        algorithm,
        domain,
        read_domain(tags, "s"),
        _identity(identity, domain),
        names,
        header_form,
        BodyForm(body_form, None if length is None else int(length)),
        unbase64(tags["bh"]),
        unbase64(tags["b"]),
        made,
        expires,
    )


def _names(text: str) -> tuple[bytes, ...]:
    """Read h=; an empty name is no name of the grammar, but in use, and covers nothing."""
    names = [name.strip() for name in text.split(":")]
    joined = ":".join(names)
    if len(names) > NAMES_MOST or not _field_names.match(joined):
        raise BadRecord("h= does not list names of fields")
    return tuple(joined.lower().encode("ascii").split(b":"))


_kept_names = lru_cache(KEPT)(_names)  # a signer's lists hardly differ


def read_algorithm(tags: dict[str, str]) -> Algorithm:
    """Read a=; raise BadRecord."""
    algorithm = ALGORITHMS.get(tags["a"])
    if algorithm is None:
        raise BadRecord(f"a={tags['a'][:30]} is no algorithm we know")
    return algorithm


def _canonical(text: str) -> tuple[Canonical, Canonical]:
    header, _, body = text.partition("/")
    forms = _CANONICAL.get(header), _CANONICAL.get(body or "simple")
    if forms[0] is None or forms[1] is None:
        raise BadRecord(f"c={text[:30]} is no canonical form we know")
    return forms[0], forms[1]


def read_domain(tags: dict[str, str], name: str) -> str:
    """Read d= or s=, with A-labels in lower case; raise BadRecord."""
    return _domain(tags[name], name)


def _domain(text: str, tag: str) -> str:
    try:
        domain = ascii_domain(text)
    except BadAddress:
        domain = ""
    if not is_name(domain) or not _host.match(domain):
        raise BadRecord(f"{tag}= is no domain name")
    return domain


def _identity(text: str | None, domain: str) -> str:
    if text is None:
        return f"@{domain}"
    _, at, where = text.rpartition("@")
    if not at:
        raise BadRecord("i= has no '@'")
    where = _domain(where, "i")
    if where != domain and not where.endswith(f".{domain}"):
        raise BadRecord("i= is not within d= (RFC 6376 3.5)")
    return text


def read_time(tags: dict[str, str], name: str) -> int | None:
    """Read t= or x=, None where it is not there; raise BadRecord."""
    if name not in tags:
        return None
    if not _number.match(tags[name]):
        raise BadRecord(f"{name}= is no time")
    return int(tags[name])


@lru_cache(KEPT)
def parse_key(text: str) -> KeyRecord:
    """Read a key record; raise BadRecord (RFC 6376 3.6.1)."""
    tags = parse_tags(text)
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        raise BadRecord("v= is not DKIM1, or not the first tag")
    if "p" not in tags:
        raise BadRecord("the key record has no p=")
    flags = _list(tags.get("t", ""))
    return KeyRecord(
        tags.get("k", "rsa").lower(),
        _list(tags.get("h", "")),
        _list(tags.get("s", "*")),
        tags["p"],
        "y" in flags,
        "s" in flags,
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip().lower() for item in text.split(":") if item.strip())
