"""What a stored secret says of itself: its `{SCHEME}`, and whether a password can fit at all.

Apart from `passwords.py`, which does the checking: reading accounts must not load that.
"""

import re

from mailtools.protocol.sasl.wire import CRAM, HASHES

PLAIN = frozenset(("PLAIN", "CLEAR", "CLEARTEXT"))
CRYPT = frozenset(
    ("CRYPT", "DES-CRYPT", "MD5-CRYPT", "MD5", "SHA256-CRYPT", "SHA512-CRYPT", "BLF-CRYPT")
)
ARGON = frozenset(("ARGON2I", "ARGON2ID"))
DIGESTS = {  # scheme: hashlib's name, whether a salt follows the digest
    "SHA": ("sha1", False),
    "SHA1": ("sha1", False),
    "SHA256": ("sha256", False),
    "SHA512": ("sha512", False),
    "LDAP-MD5": ("md5", False),
    "PLAIN-MD5": ("md5", False),
    "SMD5": ("md5", True),
    "SSHA": ("sha1", True),
    "SSHA256": ("sha256", True),
    "SSHA512": ("sha512", True),
}
KNOWN = PLAIN | CRYPT | ARGON | {*DIGESTS, *HASHES, "PBKDF2", CRAM}
_des = re.compile(r"[./0-9A-Za-z]{13}")
_SAME = {"HMAC-MD5": CRAM}  # Dovecot's old name for it
_ENCODINGS = ("HEX", "B64", "BASE64")


def split(secret: str) -> tuple[str, str, str]:
    """Part a stored secret: scheme in capitals (CRYPT where none is named), encoding, the rest."""
    name, brace, rest = secret.partition("}")
    scheme, dot, encoding = name[1:].upper().partition(".")
    if name[:1] != "{" or not brace or not scheme or (dot and encoding not in _ENCODINGS):
        return "CRYPT", "", secret
    return _SAME.get(scheme, scheme), encoding, rest


def known(secret: str) -> bool:
    """Whether we can check this secret's scheme."""
    return split(secret)[0] in KNOWN


def bare(secret: str) -> bool:
    """Whether this is neither a {SCHEME} nor what crypt(3) makes, such as a password as typed."""
    return secret[:1] not in "{$_" and not _des.fullmatch(secret)


def locked(secret: str) -> bool:
    """Whether no password can fit: empty, or what passwd(5) writes for "no login"."""
    return not secret or secret[0] in "!*" or secret == "x"


def elsewhere(secret: str) -> bool:
    """Whether the password is kept elsewhere: the field is empty, or `x` as in passwd(5)."""
    return secret in ("", "x")


def can_prove(secret: str, mechanism: str) -> bool:
    """Whether SCRAM, CRAM-MD5 or APOP can use a secret: it is of that one, PLAIN, or no login."""
    return locked(secret) or split(secret)[0] in PLAIN | {mechanism}
