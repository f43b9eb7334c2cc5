"""What a certificate says: whose it is, who signed it, until when (RFC 5280, RFC 6125)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mailtools.errors import Misconfigured
from mailtools.trust.mta_sts import matches_pattern

if TYPE_CHECKING:
    from cryptography import x509


@dataclass(frozen=True, slots=True)
class Certificate:
    """The facts of a certificate; times in seconds since 1970."""

    names: tuple[str, ...]
    """Its DNS names and addresses."""
    issuer: str
    begins: float
    ends: float

    def covers(self, name: str) -> bool:
        """Whether it is for a host of this name; its `*` stands for one label."""
        return any(matches_pattern(pattern, name) for pattern in self.names)


def read_der(data: bytes) -> Certificate:
    """Read a certificate as TLS carries it; raise Misconfigured."""
    from cryptography import x509  # 30 ms: only where a certificate is looked at

    try:
        return _facts(x509.load_der_x509_certificate(data))
    except _unreadable() as error:
        raise Misconfigured(detail=f"the certificate cannot be read: {error}") from None


def read_pem(path: str) -> Certificate:
    """Read the first certificate of a PEM file; raise Misconfigured."""
    from cryptography import x509

    try:
        with open(path, "rb") as file:
            return _facts(x509.load_pem_x509_certificate(file.read()))
    except OSError as error:
        raise Misconfigured(detail=f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:
        raise Misconfigured(detail=f"{path}: has no certificate in PEM") from None
    except _unreadable() as error:
        raise Misconfigured(detail=f"{path}: the certificate cannot be read: {error}") from None


def _unreadable() -> tuple[type[Exception], ...]:
    """What cryptography raises for certificates that nobody should write."""
    from cryptography.x509 import DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType

    return ValueError, DuplicateExtension, InvalidVersion, UnsupportedGeneralNameType


def _facts(certificate: x509.Certificate) -> Certificate:
    from cryptography import x509

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [
            *names.get_values_for_type(x509.DNSName),
            *map(str, names.get_values_for_type(x509.IPAddress)),
        ]
    except (x509.ExtensionNotFound, ValueError):
        found = []
    issuer = certificate.issuer.rfc4514_string()
    own = certificate.subject == certificate.issuer
    return Certificate(
        tuple(found),
        f"itself ({issuer})" if own else issuer,
        _stamp(certificate, "not_valid_before"),
        _stamp(certificate, "not_valid_after"),
    )


def _stamp(certificate: x509.Certificate, name: str) -> float:
    from datetime import UTC

    aware = getattr(certificate, f"{name}_utc", None)  # since cryptography 42
    moment = aware if aware is not None else getattr(certificate, name).replace(tzinfo=UTC)
    return float(moment.timestamp())
