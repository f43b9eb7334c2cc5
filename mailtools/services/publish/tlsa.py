"""TLSA records of our own certificates, for DANE (RFC 7672 3.1.1: `3 1 1`, the key's digest)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mailtools.errors import Misconfigured
from mailtools.trust.dane import matches, tlsa_name, usable

if TYPE_CHECKING:
    from mailtools.trust.lookup import Lookup


def chain_of(path: str) -> list[bytes]:
    """Read the certificates of a PEM file, as TLS carries them; raise Misconfigured."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates  # 30 ms: only where one is looked at

    try:
        with open(path, "rb") as file:
            return [
                one.public_bytes(Encoding.DER) for one in load_pem_x509_certificates(file.read())
            ]
    except OSError as error:
        raise Misconfigured(detail=f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:
        raise Misconfigured(detail=f"{path}: has no certificate in PEM") from None


def zone_lines(host: str, chains: Iterable[list[bytes]]) -> list[str]:
    """Give the records to publish for a host, one a key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    digests: dict[str, None] = {}
    for chain in chains:
        key = load_der_x509_certificate(chain[0]).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digests[hashlib.sha256(spki).hexdigest()] = None
    return [f"{tlsa_name(host)}. IN TLSA 3 1 1 {digest}" for digest in digests]


def tlsa_fault(host: str, chains: Iterable[list[bytes]], lookup: Lookup, now: float) -> str:
    """Say which certificate the TLSA records of a host leave out, "" for none; raise DnsTrouble.

    A host without records has nothing wrong: who has none promises nothing.
    """
    records = usable(lookup(tlsa_name(host), "TLSA").records)
    if records and not all(matches(records, chain, [host], int(now)) for chain in chains):
        return f"the TLSA records at {tlsa_name(host)} are not for its certificate"
    return ""
