"""Stored secrets, as Dovecot writes them: `{SCHEME}` and what that scheme keeps of a password.

Checked: PLAIN, the CRYPT family (crypt(3)), ARGON2I and ARGON2ID, PBKDF2, SHA*, SSHA*, SMD5,
PLAIN-MD5, LDAP-MD5, SCRAM-SHA-1 and -256, CRAM-MD5. Not: DIGEST-MD5, OTP and LANMAN-like ones,
which no mechanism of ours can use. A secret without a scheme is crypt(3)'s, as in a passwd file.

New ones are yescrypt where the host's crypt(3) has it (what its own shadow file uses: 16 MiB and
25 ms to check, and every Dovecot on that host reads it), else Argon2id.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_hex, b2a_base64
from collections.abc import Callable

from mailtools.errors import AuthTrouble, BadCredentials, Usage
from mailtools.protocol.sasl import scram
from mailtools.protocol.sasl.scram import ScramKeys
from mailtools.protocol.sasl.wire import CRAM, HASHES
from mailtools.services.access.schemes import ARGON, CRYPT, DIGESTS, PLAIN, locked, split

PASSWORD_MOST = 1024  # octets; longer ones would only keep us busy

_SIZES = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}

NEW_SCHEMES = (
    "YESCRYPT",
    "ARGON2ID",
    "BLF-CRYPT",
    "SHA512-CRYPT",
    "SCRAM-SHA-256",
    "SSHA512",
    CRAM,
)
"""What `make` can write."""


def check(secret: str, password: str) -> bool:
    """Whether `password` fits the stored `secret`.

    Raises AuthTrouble where the secret cannot be checked at all: an unknown scheme, a torn hash.
    """
    octets = password.encode("utf-8", "surrogateescape")
    if locked(secret) or not octets or b"\0" in octets or len(octets) > PASSWORD_MOST:
        return False
    scheme, encoding, rest = split(secret)
    try:
        return _checker(scheme)(scheme, encoding, rest, octets)
    except (ValueError, IndexError) as error:
        raise AuthTrouble(detail=f"a {scheme} secret cannot be read: {error}") from error


def scram_keys(secret: str, mechanism: str, salt: bytes) -> ScramKeys | None:
    """Give the keys SCRAM needs, where the secret is of that mechanism or PLAIN; else None.

    `salt` is for a PLAIN one, which has none of its own.
    """
    if locked(secret):
        return None
    scheme, _, rest = split(secret)
    if scheme == mechanism:
        return _stored_keys(rest)
    if scheme in PLAIN:
        return scram.derive(rest, salt, scram.ITERATIONS, HASHES[mechanism])
    return None


def cram_contexts(secret: str) -> bytes | None:
    """Give what CRAM-MD5 needs, where the secret is of that scheme or PLAIN; else None."""
    scheme, _, rest = split(secret)
    if locked(secret) or scheme not in PLAIN | {CRAM}:
        return None
    if scheme == CRAM:
        return _stored_contexts(rest)
    return _cram_contexts(rest.encode("utf-8", "surrogateescape"))


def apop_digest(secret: str, stamp: str) -> str:
    """Give POP3's digest of a greeting's stamp and a PLAIN secret (RFC 1939 7); else ""."""
    scheme, _, rest = split(secret)
    if locked(secret) or scheme not in PLAIN:
        return ""
    import hashlib

    text = f"{stamp}{rest}".encode("utf-8", "surrogateescape")
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def _stored_contexts(rest: str) -> bytes:
    found = a2b_hex(rest)
    if len(found) != 32:
        raise ValueError("64 hexadecimal digits expected")
    return found


def _stored_keys(rest: str) -> ScramKeys:
    iterations, salt, stored, server = rest.split(",")
    return ScramKeys(a2b_base64(salt), int(iterations), a2b_base64(stored), a2b_base64(server))


def make(password: str, scheme: str = "") -> str:
    """Make a stored secret with its `{SCHEME}`; "" is the best this host has.

    Raises BadCredentials for a password that could never be checked, Usage for an unknown scheme.
    """
    octets = password.encode("utf-8", "surrogateescape")
    if not octets or len(octets) > PASSWORD_MOST or not password.isprintable():
        raise BadCredentials(
            f"A password is 1 to {PASSWORD_MOST} octets long, without control characters"
        )
    wanted = scheme.upper()
    if not wanted:
        return _crypted("CRYPT", "$y$", octets) or make(password, "ARGON2ID")
    makers: dict[str, Callable[[], str]] = {
        "YESCRYPT": lambda: _crypted("CRYPT", "$y$", octets),
        "BLF-CRYPT": lambda: _crypted("BLF-CRYPT", "$2b$", octets),
        "SHA512-CRYPT": lambda: _crypted("SHA512-CRYPT", "$6$", octets),
        "ARGON2ID": lambda: "{ARGON2ID}" + _argon2_hash(octets),
        "SCRAM-SHA-256": lambda: _scrammed(password),
        "SSHA512": lambda: _salted_digest(octets),
        CRAM: lambda: f"{{{CRAM}}}{_cram_contexts(octets).hex()}",
    }
    if wanted not in makers:
        raise Usage(f"{scheme} is not one of {', '.join(NEW_SCHEMES)}")
    secret = makers[wanted]()
    if not secret:
        raise Usage(f"This host's crypt(3) does not know {wanted}")
    return secret


# -- checking -------------------------------------------------------------------------------------

Checker = Callable[[str, str, str, bytes], bool]


def _checker(scheme: str) -> Checker:
    if scheme in PLAIN:
        return _check_plain
    if scheme in CRYPT:
        return _check_crypt
    if scheme in DIGESTS:
        return _check_digest
    if scheme in ARGON:
        return _check_argon2
    if scheme in HASHES:
        return _check_scram
    if scheme == CRAM:
        return _check_cram
    if scheme == "PBKDF2":
        return _check_pbkdf2
    raise ValueError("unknown scheme")


def _check_plain(scheme: str, encoding: str, rest: str, octets: bytes) -> bool:
    return _same(rest.encode("utf-8", "surrogateescape"), octets)


def _check_crypt(scheme: str, encoding: str, rest: str, octets: bytes) -> bool:
    from mailtools.services.access.crypt import (
        crypt,  # ctypes costs 10 ms; a login at most needs it
    )

    found = crypt(octets, rest)
    if not found:
        raise ValueError("this host's crypt(3) does not know its method")
    return _same(found.encode(), rest.encode())


def _check_digest(scheme: str, encoding: str, rest: str, octets: bytes) -> bool:
    import hashlib

    name, salted = DIGESTS[scheme]
    size = _SIZES[name]
    kept = _binary(rest, encoding, hexadecimal=not salted and len(rest) == size * 2)
    if len(kept) < size or (not salted and len(kept) > size):
        raise ValueError("its length is not that of its digest")
    digest, salt = kept[:size], kept[size:]
    found = hashlib.new(name, octets + salt, usedforsecurity=False).digest()
    return _same(found, digest)


def _check_argon2(scheme: str, encoding: str, rest: str, octets: bytes) -> bool:
    import argon2  # costs 37 ms; only where an account has such a secret

    try:
        return argon2.PasswordHasher().verify(rest, octets)
    except argon2.exceptions.VerifyMismatchError:
        return False
    except argon2.exceptions.Argon2Error as error:
        raise ValueError(str(error)) from error
    except argon2.exceptions.InvalidHashError as error:
        raise ValueError(str(error)) from error


def _check_scram(scheme: str, encoding: str, rest: str, octets: bytes) -> bool:
    keys = _stored_keys(rest)
    password = octets.decode("utf-8", "surrogateescape")
    found = scram.derive(password, keys.salt, keys.iterations, HASHES[scheme])
    return _same(found.stored_key, keys.stored_key)


def _check_cram(scheme: str, encoding: str, rest: str, octets: bytes) -> bool:
    return _same(_cram_contexts(octets), _stored_contexts(rest))


def _check_pbkdf2(scheme: str, encoding: str, rest: str, octets: bytes) -> bool:
    import hashlib

    _, version, salt, rounds, digest = rest.split("$")  # $1$salt$rounds$digest in hexadecimal
    if version != "1":
        raise ValueError("its version is not 1")
    found = hashlib.pbkdf2_hmac("sha1", octets, salt.encode(), int(rounds))
    return _same(found, a2b_hex(digest))


def _same(one: bytes, other: bytes) -> bool:
    import hmac  # rare, as all that is loaded for a login only

    return hmac.compare_digest(one, other)


def _binary(text: str, encoding: str, *, hexadecimal: bool) -> bytes:
    if encoding == "HEX" or (not encoding and hexadecimal):
        return a2b_hex(text)
    try:
        return a2b_base64(text, strict_mode=True)
    except Base64Error as error:
        raise ValueError(str(error)) from error


# -- making ---------------------------------------------------------------------------------------


def _crypted(scheme: str, prefix: str, octets: bytes) -> str:
    from mailtools.services.access.crypt import crypt, new_setting

    setting = new_setting(prefix)
    found = crypt(octets, setting) if setting else ""
    return f"{{{scheme}}}{found}" if found else ""


def _argon2_hash(octets: bytes) -> str:
    import argon2

    return argon2.PasswordHasher().hash(octets)


def _cram_contexts(octets: bytes) -> bytes:
    from mailtools.protocol.sasl import cram  # rare

    return cram.contexts(octets)


def _scrammed(password: str) -> str:
    import secrets

    keys = scram.derive(password, secrets.token_bytes(16), scram.ITERATIONS, "sha256")
    parts = (_base64(part) for part in (keys.salt, keys.stored_key, keys.server_key))
    salt, stored, server = parts
    return f"{{SCRAM-SHA-256}}{keys.iterations},{salt},{stored},{server}"


def _salted_digest(octets: bytes) -> str:
    import hashlib
    import secrets

    salt = secrets.token_bytes(16)
    return "{SSHA512}" + _base64(hashlib.sha512(octets + salt).digest() + salt)


def _base64(octets: bytes) -> str:
    return b2a_base64(octets, newline=False).decode("ascii")
