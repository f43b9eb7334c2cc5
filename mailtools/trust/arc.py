"""ARC: what earlier handlers found, and whether it can be believed (RFC 8617 5.2).

    chain = read_chain(header)
    hashes = BodyHashes(arc_body_forms(chain) + body_forms(signatures))
    for chunk in body: hashes.update(chunk)
    result = verify_chain(header, chain, hashes, lookup, now)

Stricter than RFC 8617: h= must name From and l= is not taken, as RFC 6376 5.4 and 8.2 advise.
Every kind of trouble makes the chain fail (5.2.1). Sealing is in `arc_seal.py`.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import NamedTuple

from mailtools.errors import BadAddress
from mailtools.mail.address import ascii_domain
from mailtools.mail.fields import Field, Header, listed, split_message
from mailtools.trust.authres import AuthenticationResults, parse_authres
from mailtools.trust.canonical import BodyForm, BodyHashes, canonical_field, canonical_signature
from mailtools.trust.dkim import (
    CLOCK_SKEW,
    Dkim,
    Unverified,
    check_signature,
    find_key,
    require_strength,
)
from mailtools.trust.dkim_record import (
    Algorithm,
    Signature,
    field_tags,
    read_algorithm,
    read_domain,
    read_signature,
    read_time,
)
from mailtools.trust.keys import KeyKind, unbase64
from mailtools.trust.lookup import Lookup
from mailtools.trust.tags import BadRecord

SETS_MOST = 50  # RFC 8617 4.2.1

_instance = re.compile(r"[1-9][0-9]?\Z")
_aar = re.compile(r"[ \t\n]*i[ \t\n]*=[ \t\n]*([0-9]{1,2})[ \t\n]*;(.*)\Z", re.DOTALL)
_AAR = b"arc-authentication-results"
_AMS = b"arc-message-signature"
_AS = b"arc-seal"


class Arc(StrEnum):
    """The state of a chain, in the words of RFC 8617 4.4."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"


class Seal(NamedTuple):
    """An ARC-Seal field, read (RFC 8617 4.1.3)."""

    field: Field
    instance: int
    algorithm: Algorithm
    domain: str
    selector: str
    cv: Arc
    value: bytes

    @property
    def key_name(self) -> str:
        """Where DNS has the key."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def kind(self) -> KeyKind:
        """The kind of key that can check it."""
        return "ed25519" if self.algorithm == "ed25519-sha256" else "rsa"


class ArcSet(NamedTuple):
    """The three fields one handler added (RFC 8617 4.2)."""

    instance: int
    results: Field
    payload: str
    """What the handler found, as `parse_authres` reads it."""
    signature: Signature
    seal: Seal


class Chain(NamedTuple):
    """The sets of a message in their order; with a problem, the chain has failed already."""

    sets: tuple[ArcSet, ...] = ()
    problem: str = ""
    highest: int = 0
    """The highest instance any field claims, 0 where there is none."""
    ended: bool = False
    """The last seal says cv=fail: nobody may add to it (RFC 8617 5.1 step 2)."""


class ArcResult(NamedTuple):
    """What a chain is worth."""

    result: Arc
    problem: str = ""
    chain: Chain = Chain()
    oldest_pass: int = 0
    """The oldest instance whose message signature still holds; 0 when all do (5.2 step 5)."""

    def believed(self, trusted: Collection[str]) -> AuthenticationResults | None:
        """Give what the first of the trusted handlers found before anything of its own changed.

        Goes from the last handler back as long as each seal's domain is in `trusted`; None where
        the chain does not pass or its last handler is not trusted.
        """
        found = None
        if self.result is Arc.PASS:
            for each in reversed(self.chain.sets):
                if each.seal.domain not in trusted:
                    break
                found = each
        try:
            return parse_authres(found.payload) if found else None
        except BadRecord:
            return None

    def vouches(self, author: str, trusted: Collection[str]) -> bool:
        """Tell whether a trusted handler saw DMARC pass for the author's domain (7.2.1)."""
        found = self.believed(trusted)
        return found is not None and any(
            each.result == "pass" and _author(each.get("header.from")) == author
            for each in found.of("dmarc")
        )


def _author(said: str) -> str:
    """Give the domain that others write as the author's, with A-labels; some write the address."""
    try:
        return ascii_domain(said.rpartition("@")[2]).removesuffix(".")
    except BadAddress:
        return ""


def read_chain(header: Header) -> Chain:
    """Collect the ARC sets of a header and judge their structure (RFC 8617 5.2 steps 1 to 3)."""
    found = [field for field in listed(header) if field.key in (_AAR, _AMS, _AS)]
    if not found:
        return Chain()
    if len(found) > 3 * SETS_MOST:
        return Chain(problem=f"more than {SETS_MOST} ARC sets", highest=SETS_MOST)
    highest, ended, problem = 0, False, ""
    parts: dict[tuple[bytes, int], Field] = {}
    for field in found:
        try:
            instance = _instance_of(field)
        except BadRecord as error:
            problem = problem or f"{field.name.decode('ascii')}: {error.text}"
            continue
        if (field.key, instance) in parts:
            problem = problem or f"there are two {field.name.decode('ascii')} with i={instance}"
        parts[field.key, instance] = field
        highest = max(highest, instance)
    last = parts.get((_AS, highest))
    ended = last is not None and _claims_failure(last)
    if problem or ended:
        return Chain((), problem or "an earlier handler found it broken", highest, ended)
    try:
        sets = tuple(_read_set(parts, number) for number in range(1, highest + 1))
    except BadRecord as error:
        return Chain((), error.text, highest)
    return Chain(sets, highest=highest)


def _instance_of(field: Field) -> int:
    if field.key == _AAR:
        match = _aar.match(_text(field))
        number = match[1] if match else ""
    else:
        number = field_tags(field).get("i", "")
    if not _instance.match(number) or int(number) > SETS_MOST:
        raise BadRecord("i= is missing or no number of 1 to 50 (RFC 8617 4.2.1)")
    return int(number)


def _text(field: Field) -> str:
    try:
        return field.raw.partition(b":")[2].decode("utf-8")
    except UnicodeDecodeError:
        raise BadRecord("the field is not UTF-8") from None


def _claims_failure(field: Field) -> bool:
    return field_tags(field).get("cv") == Arc.FAIL


def _read_set(parts: dict[tuple[bytes, int], Field], number: int) -> ArcSet:
    missing = [key.decode() for key in (_AAR, _AMS, _AS) if (key, number) not in parts]
    if missing:
        raise BadRecord(f"{missing[0]} with i={number} is missing")
    seal = _read_seal(parts[_AS, number], number)
    results = parts[_AAR, number]
    match = _aar.match(_text(results))
    assert match is not None  # its instance was read
    return ArcSet(number, results, match[2], _read_message_signature(parts[_AMS, number]), seal)


def _read_message_signature(field: Field) -> Signature:
    tags = field_tags(field)
    _want(tags, ("a", "b", "bh", "d", "h", "s"), "ARC-Message-Signature")
    if "l" in tags:
        raise BadRecord("ARC-Message-Signature: l= leaves part of the body open")
    signature = read_signature(field, tags, identity=None)
    if _AS in signature.names:
        raise BadRecord("ARC-Message-Signature: h= names arc-seal (RFC 8617 4.1.2)")
    return signature


def _read_seal(field: Field, number: int) -> Seal:
    tags = field_tags(field)
    _want(tags, ("a", "b", "cv", "d", "s"), "ARC-Seal")
    if "h" in tags:
        raise BadRecord("ARC-Seal: h= is not allowed (RFC 8617 4.1.3)")
    read_time(tags, "t")
    if tags["cv"] != (Arc.NONE if number == 1 else Arc.PASS):  # RFC 8617 5.2 step 3
        raise BadRecord(f"ARC-Seal: i={number} says cv={tags['cv'][:10]}")
    return Seal(
        field,
        number,
        read_algorithm(tags),
        read_domain(tags, "d"),
        read_domain(tags, "s"),
        Arc(tags["cv"]),
        unbase64(tags["b"]),
    )


def _want(tags: dict[str, str], names: Sequence[str], field: str) -> None:
    for name in names:
        if name not in tags:
            raise BadRecord(f"{field}: {name}= is missing")


def arc_body_forms(chain: Chain) -> list[BodyForm]:
    """Give the forms of the body this chain's signatures hash."""
    return [each.signature.body_form for each in chain.sets]


def verify_chain(
    header: Header, chain: Chain, hashes: BodyHashes, lookup: Lookup, now: int
) -> ArcResult:
    """Judge a chain (RFC 8617 5.2 steps 4 to 7); `now` is seconds since 1970."""
    if chain.problem:
        return ArcResult(Arc.FAIL, chain.problem, chain)
    if not chain.sets:
        return ArcResult(Arc.NONE)
    found = listed(header)
    try:
        _check_message(chain.sets[-1].signature, found, hashes, lookup, now)
        _check_seals(chain, lookup)
    except Unverified as verdict:
        return ArcResult(Arc.FAIL, verdict.problem, chain)
    oldest = len(chain.sets)
    for each in reversed(chain.sets[:-1]):
        try:
            _check_message(each.signature, found, hashes, lookup, now)
        except Unverified:
            break
        oldest = each.instance
    return ArcResult(Arc.PASS, "", chain, 0 if oldest == 1 else oldest)


def verify_message_chain(message: bytes, lookup: Lookup, now: int) -> ArcResult:
    """Judge the chain of a message in memory (LF text)."""
    header, body = split_message(message)
    chain = read_chain(header)
    hashes = BodyHashes(arc_body_forms(chain))
    hashes.update(body)
    return verify_chain(header, chain, hashes, lookup, now)


def _check_message(
    signature: Signature, found: Sequence[Field], hashes: BodyHashes, lookup: Lookup, now: int
) -> None:
    if signature.algorithm == "rsa-sha1":
        raise Unverified(Dkim.POLICY, "rsa-sha1 proves nothing any more")
    if signature.expires is not None and now > signature.expires + CLOCK_SKEW:
        raise Unverified(Dkim.PERMERROR, "the message signature has expired")
    key = find_key(signature.key_name, signature.kind, lookup)[1]
    check_signature(signature, found, hashes, key)


def _check_seals(chain: Chain, lookup: Lookup) -> None:
    covered = hashlib.sha256()
    for each in chain.sets:
        covered.update(canonical_field(each.results, "relaxed"))
        covered.update(canonical_field(each.signature.field, "relaxed"))
        digest = covered.copy()
        digest.update(canonical_signature(each.seal.field, "relaxed"))
        if each.seal.algorithm == "rsa-sha1":
            raise Unverified(Dkim.POLICY, "rsa-sha1 proves nothing any more")
        key = find_key(each.seal.key_name, each.seal.kind, lookup)[1]
        require_strength(key)
        if not key.verify(each.seal.value, digest.digest()):
            raise Unverified(Dkim.FAIL, f"the seal with i={each.instance} does not hold")
        covered.update(canonical_field(each.seal.field, "relaxed"))
