"""SCRAM's arithmetic (RFC 5802 3): keys from a password, proofs from keys; and SASLprep (RFC 4013).

A server that keeps ScramKeys can check a proof without knowing the password. hashlib and hmac are
imported when first used: most sessions never log in.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mailtools.errors import BadCredentials

ITERATIONS = 16384  # for new keys; RFC 7677 4 asks for 4096 at least

_attribute = re.compile(r"([A-Za-z])=([^,]*)\Z")


class ScramKeys(NamedTuple):
    """What a server keeps of a password: salt, iteration count, StoredKey and ServerKey."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class Proofs(NamedTuple):
    """What both sides compute from a password and what was said (RFC 5802 3)."""

    client_proof: bytes
    server_signature: bytes


def derive(password: str, salt: bytes, iterations: int, hash_name: str) -> ScramKeys:
    """Make the keys of a password; `hash_name` is hashlib's (`sha1`, `sha256`)."""
    import hashlib

    salted = _salted(password, salt, iterations, hash_name)
    client_key = _hmac(salted, b"Client Key", hash_name)
    stored_key = hashlib.new(hash_name, client_key).digest()
    return ScramKeys(salt, iterations, stored_key, _hmac(salted, b"Server Key", hash_name))


def prove(password: str, salt: bytes, iterations: int, said: bytes, hash_name: str) -> Proofs:
    """Compute a client's proof, and the signature it must hear back; `said` is AuthMessage."""
    import hashlib

    salted = _salted(password, salt, iterations, hash_name)
    client_key = _hmac(salted, b"Client Key", hash_name)
    stored_key = hashlib.new(hash_name, client_key).digest()
    proof = _xor(client_key, _hmac(stored_key, said, hash_name))
    server_key = _hmac(salted, b"Server Key", hash_name)
    return Proofs(proof, _hmac(server_key, said, hash_name))


def check(keys: ScramKeys, said: bytes, proof: bytes, hash_name: str) -> bytes:
    """Check a client's proof, the server's half; give the ServerSignature or raise BadCredentials.

    `said` is AuthMessage (RFC 5802 3): both first messages and the final one without its proof.
    """
    import hashlib
    import hmac

    if len(proof) != len(keys.stored_key):
        raise BadCredentials
    client_key = _xor(proof, _hmac(keys.stored_key, said, hash_name))
    found = hashlib.new(hash_name, client_key).digest()
    if not hmac.compare_digest(found, keys.stored_key):
        raise BadCredentials
    return _hmac(keys.server_key, said, hash_name)


def attributes(text: str) -> dict[str, str]:
    """Read `a=…,b=…` (RFC 5802 5.1); raise ValueError where it is something else."""
    found: dict[str, str] = {}
    for part in text.split(","):
        match = _attribute.match(part)
        if not match or match[1] in found:
            raise ValueError(part)
        found[match[1]] = match[2]
    return found


def escape_name(name: str) -> str:
    """Write a saslname (RFC 5802 5.1): `,` and `=` as `=2C` and `=3D`."""
    return name.replace("=", "=3D").replace(",", "=2C")


def unescape_name(name: str) -> str:
    """Read a saslname; raise ValueError where a `=` is not one of the two escapes."""
    if re.search(r"=(?!2C|3D)", name):
        raise ValueError(name)
    return name.replace("=2C", ",").replace("=3D", "=")


def saslprep(text: str) -> str:
    """Prepare a login or a password (RFC 4013); raise ValueError for what it forbids."""
    if text.isascii():
        if not text.isprintable():
            raise ValueError("control character")
        return text
    import stringprep  # both rare: only where there are letters beyond ASCII
    import unicodedata

    mapped = "".join(
        " " if stringprep.in_table_c12(letter) else letter
        for letter in text
        if not stringprep.in_table_b1(letter)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    forbidden = (
        stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3,
        stringprep.in_table_c4, stringprep.in_table_c5, stringprep.in_table_c6,
        stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9,
    )  # fmt: skip
    if any(table(letter) for letter in prepared for table in forbidden):
        raise ValueError("forbidden character")
    if any(map(stringprep.in_table_d1, prepared)):  # RFC 3454 6: right-to-left text
        ends = prepared[0], prepared[-1]
        if any(map(stringprep.in_table_d2, prepared)) or not all(map(stringprep.in_table_d1, ends)):
            raise ValueError("mixed directions")
    return prepared


def _salted(password: str, salt: bytes, iterations: int, hash_name: str) -> bytes:
    import hashlib

    try:
        secret = saslprep(password).encode()
    except ValueError:
        secret = password.encode("utf-8", "surrogateescape")
    return hashlib.pbkdf2_hmac(hash_name, secret, salt, iterations)


def _hmac(key: bytes, text: bytes, hash_name: str) -> bytes:
    import hmac

    return hmac.digest(key, text, hash_name)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
