"""BATV: a tag in the reverse-paths of mail sent here, so that a bounce of anything else is known.

The scheme `prvs` of draft-levine-smtp-batv: prvs=KDDDHHHHHH=LOCAL, with the number of a key (here
always 0), three digits of the day on which the tag ends, and three octets of an HMAC. That day
changes once a week only, since greylists elsewhere go by the reverse-path.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence

from mailtools.mail.address import Address, ascii_domain

DAY, WEEK = 86400, 7  # seconds; days
DAYS = 21  # a tag lives, two weeks at least: a message may wait five days, its DSN as long
_tag = re.compile(r"prvs=([0-9])([0-9]{3})([0-9a-f]{6})=(.*)\Z", re.IGNORECASE | re.DOTALL)


def tagged(address: Address, secret: bytes, now: int) -> Address:
    """Give the reverse-path to send with; `now` is seconds since 1970."""
    mark = f"0{(now // DAY // WEEK + 3) * WEEK % 1000:03d}"
    return Address(f"prvs={mark}{_hash(mark, address, secret)}={address.local}", address.domain)


def untagged(address: Address) -> Address | None:
    """Give the address without its tag, whoever made that; None where it has none."""
    match = _tag.match(address.local)
    return Address(match[4], address.domain) if match else None


def is_proved(address: Address, secrets: Sequence[bytes], now: int) -> bool:
    """Tell whether a tag is one of ours and holds; `secrets` are all that may have been used."""
    match = _tag.match(address.local)
    if not match or (int(match[2]) - now // DAY) % 1000 > DAYS:
        return False
    mark, bare = match[1] + match[2], Address(match[4], address.domain)
    said = match[3].lower()
    return any(hmac.compare_digest(_hash(mark, bare, secret), said) for secret in secrets)


def _hash(mark: str, address: Address, secret: bytes) -> str:
    # in lower case: hosts on the way may have changed it
    text = f"{mark}{address.local}@{ascii_domain(address.domain)}".lower()
    data = text.encode("utf-8", "surrogateescape")
    return hmac.new(secret, data, hashlib.sha1).hexdigest()[:6]
