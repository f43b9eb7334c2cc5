"""What an account's mailbox may hold: the extra fields `quota` and `quota_rule` of its line.

    quota=2G          quota=2G,10000          quota_rule=*:storage=2G:messages=10000

The second is Dovecot's; `storage` counts KiB where no unit stands there, `bytes` octets. And how
long it keeps what was refused: `rejects=7`, in days.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mailtools.store.quota import Limits

if TYPE_CHECKING:
    from mailtools.services.access.account_line import Account

_size = re.compile(r"([0-9]{1,18})([BKMGT]?)(?:i?B)?\Z", re.IGNORECASE)
DAY = 86400.0
USUAL = 7 * DAY  # seconds that rejects are kept where an account says just `yes`
_number = re.compile(r"[0-9]{1,18}\Z")
_UNITS = {"B": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def limits_of(account: Account) -> Limits | None:
    """Give the limits that an account's line sets; None where it sets none, or none we can read."""
    if not account.fields:
        return None
    plain = account.fields.get("quota", "")
    if plain:
        octets, _, messages = plain.partition(",")
        return _limits(octets, messages, "B")
    rule = account.fields.get("quota_rule", "")
    if not rule.startswith("*:"):
        return None
    words = dict(word.partition("=")[::2] for word in rule[2:].split(":"))
    if "bytes" in words:
        return _limits(words["bytes"], words.get("messages", ""), "B")
    return _limits(words.get("storage", "0"), words.get("messages", ""), "K")


def _limits(octets: str, messages: str, unit: str) -> Limits | None:
    match = _size.match(octets or "0")
    if not match or not _number.match(messages or "0"):
        return None
    limits = Limits(int(match[1]) * _UNITS[match[2].upper() or unit], int(messages or "0"))
    return limits if limits else None


def kept_for(account: Account, usual: float) -> float:
    """Say how many seconds an account's rejects are kept, 0: not at all.

    Its extra field `rejects` is a number of days, `yes` or `no`; without one `usual` counts.
    """
    said = account.fields.get("rejects", "").lower()
    if said.isascii() and said.isdigit():
        return min(int(said), 3650) * DAY
    if said == "yes":
        return usual or USUAL
    return 0.0 if said else usual
