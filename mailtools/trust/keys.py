"""Keys: to check and to make signatures, and what DNS publishes of them (RFC 6376, RFC 8463).

`cryptography` is imported when the first key is used (and by `dane.py` for certificates).
"""

import base64
import binascii
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from mailtools.errors import Misconfigured
from mailtools.trust.tags import KEPT, BadRecord

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

KeyKind = Literal["rsa", "ed25519"]
RSA_BITS = 2048  # of a key we make, RFC 8301 3.2


class PublicKey(NamedTuple):
    """A key to check signatures with."""

    kind: KeyKind
    bits: int
    key: "RSAPublicKey | Ed25519PublicKey"

    @property
    def exponent(self) -> int:
        """The public exponent of RSA; 0 where there is none."""
        return self.key.public_numbers().e if self.kind == "rsa" else 0  # type: ignore[union-attr]

    def verify(self, signature: bytes, digest: bytes) -> bool:
        """Tell whether `signature` was made for a SHA-256 digest with the private half."""
        from cryptography.exceptions import InvalidSignature

        try:
            if self.kind == "rsa":
                self.key.verify(signature, digest, *_rsa_scheme())  # type: ignore[call-arg]
            else:  # RFC 8463 3: pure Ed25519 of the digest
                self.key.verify(signature, digest)  # type: ignore[call-arg]
        except InvalidSignature:
            return False
        return True


class PrivateKey(NamedTuple):
    """A key to sign with."""

    kind: KeyKind
    key: "RSAPrivateKey | Ed25519PrivateKey"

    def sign(self, digest: bytes) -> bytes:
        """Sign a SHA-256 digest."""
        if self.kind == "rsa":
            return self.key.sign(digest, *_rsa_scheme())  # type: ignore[call-arg]
        return self.key.sign(digest)  # type: ignore[call-arg]

    def public_text(self) -> str:
        """Give the public half as p= publishes it: base64."""
        from cryptography.hazmat.primitives import serialization as form

        public = self.key.public_key()
        if self.kind == "ed25519":
            raw = public.public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
        else:
            raw = public.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(raw).decode("ascii")

    def record(self) -> str:
        """Give the TXT record to publish at SELECTOR._domainkey.DOMAIN (RFC 6376 3.6.1)."""
        return f"v=DKIM1; k={self.kind}; p={self.public_text()}"

    def pem(self) -> bytes:
        """Give the key as PEM (PKCS #8), not encrypted, as `load_private_key` reads it."""
        from cryptography.hazmat.primitives import serialization as form

        return self.key.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
        )


@cache
def _rsa_scheme() -> "tuple[PKCS1v15, Prehashed]":
    from cryptography.hazmat.primitives.asymmetric import padding, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    return padding.PKCS1v15(), utils.Prehashed(SHA256())


def prepare() -> None:
    """Load what the first key would load, for a process that will be forked."""
    _rsa_scheme()
    new_private_key("ed25519").public_text()


@lru_cache(KEPT)
def load_public_key(kind: KeyKind, text: str) -> PublicKey:
    """Read what p= publishes, base64 with blanks anywhere; raise BadRecord.

    RSA comes as SubjectPublicKeyInfo or as a bare RSAPublicKey (RFC 6376 3.6.1, erratum 3017).
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    raw = unbase64(text)
    try:
        if kind == "ed25519":
            return PublicKey(kind, 256, ed25519.Ed25519PublicKey.from_public_bytes(raw))
        key = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise BadRecord(f"p= holds no {kind} key") from None
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadRecord("p= holds another kind of key than k= says")
    return PublicKey(kind, key.key_size, key)


def load_private_key(data: bytes) -> PrivateKey:
    """Read a private key for signing: PEM of RSA or Ed25519; raise Misconfigured."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        # The key is the site's own: the checks skipped take longer than signing does.
        key = load_pem_private_key(data, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"not a private key in PEM: {error}") from None
    if isinstance(key, rsa.RSAPrivateKey):
        return PrivateKey("rsa", key)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return PrivateKey("ed25519", key)
    raise Misconfigured("a key for signing is RSA or Ed25519")


def new_private_key(kind: KeyKind) -> PrivateKey:
    """Make a key: RSA of 2048 bits, or Ed25519."""
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    if kind == "ed25519":
        return PrivateKey(kind, ed25519.Ed25519PrivateKey.generate())
    return PrivateKey(kind, rsa.generate_private_key(65537, RSA_BITS))


def unbase64(text: str) -> bytes:
    """Decode base64 with white space anywhere (RFC 6376 2.10); raise BadRecord."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error):
        raise BadRecord("bad base64") from None
