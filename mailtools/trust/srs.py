"""SRS: rewrite the reverse-path of what is forwarded, so that SPF passes and DSNs come back.

The guarded scheme of the SRS paper, as libsrs2 and postsrsd compute it, so that a site may keep
its secret: SRS0=HASH=DAY=DOMAIN=LOCAL for the first forwarder, SRS1=HASH=DOMAIN=…  for those
after it. Hash and day keep others from using us as an open relay for null reverse-paths.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

from mailtools.errors import BadAddress
from mailtools.mail.address import Address, ascii_domain

DAYS = 21  # an address lives; DSNs come within days
HASH_LENGTH = 4  # characters of base64, the paper's default
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_srs0 = re.compile(r"SRS0[=+-]([^=]*)=([^=]*)=([^=]+)=(.+)\Z", re.IGNORECASE | re.DOTALL)
_srs0_any = re.compile(r"SRS0([=+-].+)\Z", re.IGNORECASE | re.DOTALL)
_srs1 = re.compile(r"SRS1[=+-]([^=]*)=([^=]+)=([=+-].+)\Z", re.IGNORECASE | re.DOTALL)


def is_srs(address: Address) -> bool:
    """Tell whether a local-part looks like ours or another forwarder's SRS."""
    return address.local[:4].upper() in ("SRS0", "SRS1") and address.local[4:5] in ("=", "+", "-")


def srs_forward(address: Address, domain: str, secret: bytes, now: int) -> Address:
    """Give the reverse-path to forward with, at `domain`, which must be ours and pass SPF.

    `secret` is the current one; `now` is seconds since 1970. The local-part may grow beyond the
    64 octets that each host must take (RFC 5321 4.5.3.1.1); a second rewriting adds little.
    """
    srs1 = _srs1.match(address.local)
    if srs1:  # somewhere behind the second hop: only our hash is new
        first, rest = srs1[2], srs1[3]
        return Address(f"SRS1={_hash(first + rest, secret)}={first}={rest}", domain)
    origin = ascii_domain(address.domain)
    srs0 = _srs0_any.match(address.local)
    if srs0:
        return Address(f"SRS1={_hash(origin + srs0[1], secret)}={origin}={srs0[1]}", domain)
    day = _day(now // 86400)
    mark = _hash(day + origin + address.local, secret)
    return Address(f"SRS0={mark}={day}={origin}={address.local}", domain)


def srs_reverse(address: Address, secrets: Sequence[bytes], now: int) -> Address:
    """Give the address a DSN to one of ours must go on to; raise BadAddress.

    `secrets` are all that may have been used, the current one first: a new secret is put in front
    and the old one dropped three weeks later.
    """
    srs1 = _srs1.match(address.local)
    if srs1:
        _check(srs1[1], srs1[2] + srs1[3], secrets)
        return Address(f"SRS0{srs1[3]}", srs1[2])
    srs0 = _srs0.match(address.local)
    if not srs0:
        raise BadAddress("Not an SRS address")
    _check(srs0[1], srs0[2] + srs0[3] + srs0[4], secrets)
    if srs0[2].upper() not in (_day(now // 86400 - age) for age in range(-1, DAYS)):
        raise BadAddress("The SRS address has expired")
    return Address(srs0[4], srs0[3])


def _check(mark: str, text: str, secrets: Sequence[bytes]) -> None:
    # in any case: hosts on the way may have changed it, as libsrs2 knows
    if not any(_same(_hash(text, secret), mark) for secret in secrets):
        raise BadAddress("The SRS address is forged or from another secret")


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.lower().encode(), theirs.lower().encode())


def _hash(text: str, secret: bytes) -> str:
    digest = hmac.new(secret, text.lower().encode(), hashlib.sha1).digest()
    return base64.b64encode(digest).decode("ascii")[:HASH_LENGTH]


def _day(day: int) -> str:
    return _DIGITS[day >> 5 & 31] + _DIGITS[day & 31]
