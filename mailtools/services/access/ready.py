"""What logins load, loaded ahead: by a listener before it forks, and by who gives root up.

Whoever it becomes may not be allowed to read Python; and what is loaded before the fork is shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailtools.errors import Misconfigured
from mailtools.protocol.sasl.wire import CRAM
from mailtools.services.access import schemes

if TYPE_CHECKING:
    from mailtools.services.access.accounts import Accounts


def make_ready(accounts: Accounts) -> None:
    """Load what a login to one of these accounts may ask for; an account of later is no matter."""
    import hashlib  # noqa: F401
    import hmac  # noqa: F401
    import ipaddress  # noqa: F401
    import secrets  # noqa: F401
    import stringprep  # noqa: F401
    import unicodedata  # noqa: F401

    import mailtools.protocol.sasl.server
    import mailtools.services.access.app_passwords
    import mailtools.services.access.login

    try:
        used = accounts.schemes()
    except Misconfigured:
        used = set()  # who logs in is told
    if used & schemes.ARGON:
        import argon2  # noqa: F401
    if used & schemes.CRYPT:
        from mailtools.services.access import crypt

        crypt.load()
    if accounts.offers(CRAM):
        import mailtools.protocol.sasl.cram  # noqa: F401
    accounts.elsewhere.make_ready()
