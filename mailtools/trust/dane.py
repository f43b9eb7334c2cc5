"""DANE for SMTP: does the certificate match what DNSSEC vouches for (RFC 6698, 7671, 7672)?

Only DANE-TA(2) and DANE-EE(3) count for SMTP (RFC 7672 3.1). Whether TLSA records may be asked for
and trusted at all (secure MX and address answers) is for the one who looks them up.
"""

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from mailtools.trust.mta_sts import matches_pattern

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CHAIN_MOST = 10  # certificates looked at: ours

_record = re.compile(r"([0-9]{1,3})[ \t]+([0-9]{1,3})[ \t]+([0-9]{1,3})[ \t]+([0-9A-Fa-f \t]+)\Z")


class Usage(IntEnum):
    """What a TLSA record is about (RFC 7218)."""

    DANE_TA = 2
    """An authority that the chain must lead to; names and dates are checked."""
    DANE_EE = 3
    """The server's own certificate or key; nothing else is checked (RFC 7672 3.1.1)."""


class Selector(IntEnum):
    """What is compared (RFC 7218)."""

    CERT = 0
    SPKI = 1


class Matching(IntEnum):
    """How it is compared (RFC 7218)."""

    FULL = 0
    SHA2_256 = 1
    SHA2_512 = 2


class Tlsa(NamedTuple):
    """A usable TLSA record."""

    usage: Usage
    selector: Selector
    matching: Matching
    data: bytes


def parse_tlsa(text: str) -> Tlsa | None:
    """Read the text of a TLSA record; None for one that SMTP cannot use (RFC 7672 3.1.3)."""
    match = _record.match(text)
    if not match:
        return None
    try:
        usage, selector = Usage(int(match[1])), Selector(int(match[2]))
        matching = Matching(int(match[3]))
        data = bytes.fromhex(match[4])
    except ValueError:
        return None
    size = {Matching.SHA2_256: 32, Matching.SHA2_512: 64}.get(matching, len(data))
    return Tlsa(usage, selector, matching, data) if data and len(data) == size else None


def usable(records: Iterable[str]) -> tuple[Tlsa, ...]:
    """Give the usable ones; where there are records and none is usable, TLS is still mandatory,
    with any certificate (RFC 7672 2.2).

    Of several digests of one kind only the strongest count (RFC 7671 9).
    """
    parsed = [record for record in map(parse_tlsa, records) if record]
    best: dict[tuple[Usage, Selector], Matching] = {}
    for record in parsed:
        kind = (record.usage, record.selector)
        best[kind] = max(best.get(kind, Matching.FULL), record.matching)
    return tuple(
        record
        for record in parsed
        if record.matching in (Matching.FULL, best[record.usage, record.selector])
    )


def tlsa_name(exchanger: str, port: int = 25) -> str:
    """Give the name of an exchanger's TLSA records (RFC 7672 2.2.3)."""
    return f"_{port}._tcp.{exchanger.rstrip('.')}"


def matches(
    records: Collection[Tlsa], chain: Sequence[bytes], names: Collection[str], now: int
) -> bool:
    """Decide whether a server proved itself.

    `chain` is what it sent in TLS, DER, its own certificate first; `names` are those it may have
    (RFC 7672 3.2.2: the exchanger, the next-hop domain); `now` is seconds since 1970.
    """
    if not chain:
        return False
    certificates = [_load(der) for der in chain[:CHAIN_MOST]]
    leaf = certificates[0]
    if leaf is None:
        return False
    ends = [record for record in records if record.usage is Usage.DANE_EE]
    if any(_is(record, leaf) for record in ends):
        return True
    anchors = [record for record in records if record.usage is Usage.DANE_TA]
    if not anchors:
        return False
    from cryptography import x509

    known = [each for each in certificates if each is not None]
    try:
        return _has_name(leaf, names) and _leads_to(anchors, known, now)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False  # what cannot be read proves nothing


def _load(der: bytes) -> "Certificate | None":
    from cryptography.x509 import InvalidVersion, load_der_x509_certificate  # only with DANE

    try:
        return load_der_x509_certificate(der)
    except (ValueError, InvalidVersion):
        return None


def _is(record: Tlsa, certificate: "Certificate") -> bool:
    """Compare a record with a certificate (RFC 6698 2.1)."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        if record.selector is Selector.CERT:
            data = certificate.public_bytes(Encoding.DER)
        else:
            data = certificate.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
    except (ValueError, UnsupportedAlgorithm):
        return False
    if record.matching is not Matching.FULL:
        name = "sha256" if record.matching is Matching.SHA2_256 else "sha512"
        data = hashlib.new(name, data).digest()
    return hmac.compare_digest(data, record.data)


def _leads_to(anchors: Sequence[Tlsa], chain: Sequence["Certificate"], now: int) -> bool:
    """Follow issuers from the server's certificate to one that an anchor matches."""
    candidates = [*chain, *_carried(anchors)]
    current = chain[0]
    for _ in range(CHAIN_MOST):
        if not _in_time(current, now):
            return False
        if any(_is(record, current) for record in anchors):
            return True
        if any(_signed_by_bare_key(record, current) for record in anchors):
            return True
        issuer = next((c for c in candidates if c != current and _issued(c, current)), None)
        if issuer is None:
            return False
        current = issuer
    return False


def _carried(anchors: Sequence[Tlsa]) -> list["Certificate"]:
    """Give the certificates that `2 0 0` records carry whole; servers need not send those."""
    loaded = [
        _load(record.data)
        for record in anchors
        if record.selector is Selector.CERT and record.matching is Matching.FULL
    ]
    return [certificate for certificate in loaded if certificate is not None]


def _in_time(certificate: "Certificate", now: int) -> bool:
    return (
        certificate.not_valid_before_utc.timestamp()
        <= now
        <= certificate.not_valid_after_utc.timestamp()
    )


def _issued(issuer: "Certificate", certificate: "Certificate") -> bool:
    """Tell whether one certificate signed another and was allowed to (RFC 5280 6.1.4)."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        if not issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        certificate.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _signed_by_bare_key(record: Tlsa, certificate: "Certificate") -> bool:
    """Check a signature with the key a `2 1 0` record carries (RFC 7671 5.2.2)."""
    if record.selector is not Selector.SPKI or record.matching is not Matching.FULL:
        return False
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        key = load_der_public_key(record.data)
        digest = certificate.signature_hash_algorithm
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        elif digest is not None and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), digest)
        elif digest is not None and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, signed, ec.ECDSA(digest))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _has_name(certificate: "Certificate", names: Collection[str]) -> bool:
    """Look for a name in the certificate: DNS-IDs, else the common name (RFC 7672 3.2.3)."""
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        have = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        have = []
    except ValueError:
        return False
    if not have:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        have = [str(attribute.value) for attribute in common]
    return any(matches_pattern(pattern, name) for pattern in have for name in names)
