"""DKIM: which domains vouch for this message (RFC 6376, 8301, 8463, 8616)?

    signatures = read_signatures(header)
    hashes = BodyHashes(body_forms(signatures))
    for chunk in body: hashes.update(chunk)
    results = verify(header, signatures, hashes, lookup, now)

ARC wants the same one pass: give BodyHashes the forms of both.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from mailtools.errors import DnsTrouble
from mailtools.mail.address import ascii_domain
from mailtools.mail.fields import Field, Header, listed, split_message
from mailtools.trust.canonical import (
    BodyForm,
    BodyHashes,
    canonical_field,
    canonical_signature,
    select,
)
from mailtools.trust.dkim_record import KeyRecord, Signature, parse_key, parse_signature
from mailtools.trust.keys import KeyKind, PublicKey, load_public_key
from mailtools.trust.lookup import Lookup
from mailtools.trust.tags import BadRecord

SIGNATURES_MOST = 10  # looked at in one message: ours, RFC 6376 6.1 leaves it to us
RSA_BITS_LEAST = 1024  # RFC 8301 3.2
RSA_BITS_MOST = 8192  # ours: twice what RFC 8301 3.2 asks a verifier to know
# Fields that a message has once (RFC 5322 3.6, RFC 2045 3), and that say what readers show. Not
# MIME-Version: lists put a second one on top, and it says the same.
ONCE = frozenset(
    (b"from", b"reply-to", b"to", b"cc", b"subject", b"date", b"content-type",
     b"content-transfer-encoding")
)  # fmt: skip
CLOCK_SKEW = 300  # seconds a signer's clock and ours may differ: ours


class Dkim(StrEnum):
    """The results, in the words of RFC 8601 2.7.1."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    POLICY = "policy"
    NEUTRAL = "neutral"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DkimResult(NamedTuple):
    """What one signature is worth."""

    result: Dkim
    domain: str = ""
    """d=, A-labels in lower case; "" where the field cannot be read."""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    bits: int = 0
    """Of the key; 0 where none was found."""
    value: str = ""
    """The first eight characters of b=: RFC 6008's header.b."""
    problem: str = ""
    """Why it is not a pass."""
    testing: bool = False
    """The key says t=y: the domain asks not to be believed yet (RFC 6376 3.6.1)."""


class BrokenSignature(NamedTuple):
    """A field that breaks the grammar, and how."""

    problem: str


class Unverified(Exception):
    """Stop: this signature does not pass; carries the result and why."""

    def __init__(self, result: Dkim, problem: str) -> None:
        """Say what became of the signature, and why."""
        super().__init__(problem)
        self.result = result
        self.problem = problem


def read_signatures(header: Header) -> list[Signature | BrokenSignature]:
    """Read the DKIM-Signature fields of a header, from the top; ten, further ones count as broken.

    `header` is LF text, as `split_message` gives it.
    """
    found: list[Signature | BrokenSignature] = []
    for field in listed(header):
        if field.key != b"dkim-signature":
            continue
        if len(found) == SIGNATURES_MOST:
            found.append(BrokenSignature(f"more than {SIGNATURES_MOST} signatures; not looked at"))
            break
        try:
            found.append(parse_signature(field))
        except BadRecord as error:
            found.append(BrokenSignature(error.text))
    return found


def body_forms(signatures: Sequence[Signature | BrokenSignature]) -> list[BodyForm]:
    """Give the forms of the body these signatures hash."""
    return [each.body_form for each in signatures if isinstance(each, Signature)]


def verify(
    header: Header,
    signatures: Sequence[Signature | BrokenSignature],
    hashes: BodyHashes,
    lookup: Lookup,
    now: int,
) -> list[DkimResult]:
    """Judge each signature, in their order; `now` is seconds since 1970."""
    found = listed(header) if signatures else ()
    results = []
    for signature in signatures:
        if isinstance(signature, BrokenSignature):
            results.append(DkimResult(Dkim.PERMERROR, problem=signature.problem))
        else:
            results.append(_judge(signature, found, hashes, lookup, now))
    return results


def verify_message(message: bytes, lookup: Lookup, now: int) -> list[DkimResult]:
    """Judge all signatures of a message in memory (LF text); an empty list: there are none."""
    header, body = split_message(message)
    signatures = read_signatures(header)
    hashes = BodyHashes(body_forms(signatures))
    hashes.update(body)
    return verify(header, signatures, hashes, lookup, now)


def _judge(
    signature: Signature, found: Sequence[Field], hashes: BodyHashes, lookup: Lookup, now: int
) -> DkimResult:
    record = key = None
    try:
        if signature.expires is not None and now > signature.expires + CLOCK_SKEW:
            raise Unverified(Dkim.PERMERROR, "the signature has expired")
        if signature.algorithm == "rsa-sha1":  # RFC 8301 3.1
            raise Unverified(Dkim.POLICY, "rsa-sha1 proves nothing any more")
        record, key = find_key(signature.key_name, signature.kind, lookup)
        if record.strict and _identity_domain(signature) != signature.domain:
            raise Unverified(Dkim.PERMERROR, "t=s: i= must be in d= itself")
        check_signature(signature, found, hashes, key)
        _require_one_reading(signature, found)
        result, problem = Dkim.PASS, ""
    except Unverified as verdict:
        result, problem = verdict.result, verdict.problem
        if result is Dkim.FAIL and record and record.testing:
            result = Dkim.NEUTRAL  # RFC 6376 3.6.1 t=y: as if not signed
    return DkimResult(
        result,
        signature.domain,
        signature.selector,
        signature.identity,
        signature.algorithm,
        key.bits if key else 0,
        _start_of_value(signature),
        problem,
        bool(record and record.testing),
    )


def _identity_domain(signature: Signature) -> str:
    return ascii_domain(signature.identity.rpartition("@")[2])


def _start_of_value(signature: Signature) -> str:
    return base64.b64encode(signature.value[:6]).decode("ascii")


def find_key(name: str, kind: KeyKind, lookup: Lookup) -> tuple[KeyRecord, PublicKey]:
    """Fetch a key that may check signatures of this kind on mail (RFC 6376 6.1.2).

    Raise Unverified where there is none, or only one that proves nothing.
    """
    try:
        records = lookup(name, "TXT").records
    except DnsTrouble as trouble:
        raise Unverified(Dkim.TEMPERROR, trouble.text) from None
    problem = f"no key at {name}"
    for text in records:  # several are the publisher's fault; the first usable one is taken
        try:
            record = parse_key(text)
            return record, _usable_key(record, kind)
        except BadRecord as error:
            problem = f"{name}: {error.text}"
    raise Unverified(Dkim.PERMERROR, problem)


def _usable_key(record: KeyRecord, kind: KeyKind) -> PublicKey:
    if not record.key:
        raise BadRecord("the key is revoked")
    if record.kind != kind:
        raise BadRecord(f"the key is for {record.kind[:20]}, the signature {kind}")
    if record.hashes and "sha256" not in record.hashes:
        raise BadRecord("the key is not for sha256")
    if "*" not in record.services and "email" not in record.services:
        raise BadRecord("the key is not for mail")
    key = load_public_key(kind, record.key)
    if key.bits > RSA_BITS_MOST:
        raise BadRecord(f"the key has {key.bits} bits")
    return key


def check_signature(
    signature: Signature, found: Sequence[Field], hashes: BodyHashes, key: PublicKey
) -> None:
    """Check body and header against a signature; raise Unverified unless all of it is proved."""
    require_strength(key)
    length, octets = signature.body_form.length, hashes.octets(signature.body_form)
    if length is not None and length > octets:
        raise Unverified(Dkim.FAIL, "the body is shorter than l= says")
    if hashes.digest(signature.body_form) != signature.body_hash:
        raise Unverified(Dkim.FAIL, "the body was changed")
    if not key.verify(signature.value, header_digest(signature, found)):
        raise Unverified(Dkim.FAIL, "the header was changed, or another key signed")
    if length is not None and length < octets:
        # RFC 6376 8.2: anybody could have appended the rest
        raise Unverified(Dkim.POLICY, f"only {length} of {octets} octets of the body are signed")


def _require_one_reading(signature: Signature, found: Sequence[Field]) -> None:
    """Raise Unverified where a reader may be shown another field than the one that is signed.

    A signature covers the lowest of several, and readers show the topmost, which anybody could have
    added (RFC 6376 8.15).
    """
    present = Counter(field.key for field in found if field.key in ONCE)
    for key in ONCE.intersection(signature.names):
        if present[key] > signature.names.count(key):
            name = key.decode("ascii").title()
            raise Unverified(Dkim.POLICY, f"of {present[key]} {name} fields one may be another's")


def require_strength(key: PublicKey) -> None:
    """Raise Unverified for a key that proves nothing (RFC 8301 3.2)."""
    if key.kind == "rsa" and key.bits < RSA_BITS_LEAST:
        raise Unverified(Dkim.POLICY, f"an RSA key of {key.bits} bits proves nothing")


def header_digest(signature: Signature, found: Sequence[Field]) -> bytes:
    """Hash the fields a signature covers, and itself (RFC 6376 3.7)."""
    form = signature.header_form
    others = [field for field in found if field != signature.field]
    digest = hashlib.sha256()
    for field in select(others, signature.names):
        digest.update(canonical_field(field, form))
    digest.update(canonical_signature(signature.field, form))
    return digest.digest()
