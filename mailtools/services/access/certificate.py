"""Who a TLS client certificate stands for: the account whose field `cert` has its fingerprint.

cert=sha256:5E:0B:…      cert=sha256:5e0b…,sha256:77aa…
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailtools.errors import Misconfigured
from mailtools.services.access.account_line import read_fingerprint

if TYPE_CHECKING:
    import ssl

    from mailtools.services.access.account_line import Account
    from mailtools.services.access.accounts import Accounts


def _has(account: Account, digest: str) -> bool:
    return digest in map(read_fingerprint, account.fields.get("cert", "").split(","))


def wanted(accounts: Accounts) -> bool:
    """Whether some account has a certificate, so that it is worth asking for one."""
    try:
        return accounts.has_field("cert")
    except Misconfigured:
        return False


def login_of(accounts: Accounts | None, tls: ssl.SSLObject | None) -> str:
    """Give the login that the peer's certificate stands for, "" for none."""
    der = tls.getpeercert(binary_form=True) if tls is not None and accounts is not None else None
    if not der or accounts is None or not wanted(accounts):
        return ""
    import hashlib  # rare

    digest = hashlib.sha256(der).hexdigest()
    names = [one.name for one in accounts.everyone() if _has(one, digest)]
    return names[0] if len(names) == 1 else ""
