"""SRS with this site's secrets: the control files `srs-secrets` and `srs-domain`.

A secret a line, the newest first; old ones are still taken for what comes back. The rules are in
`trust/srs.py`.
"""

from __future__ import annotations

import time

from mailtools.errors import BadAddress
from mailtools.mail.address import PATH_MOST, Address, ascii_domain, parse_address
from mailtools.services.access.secrets_file import SecretLines

_PREFIXES = ("SRS0", "SRS1")


class Srs:
    """Reverse-paths of forwards; the secrets are read again when their file changes."""

    def __init__(self, path: str, domain: str) -> None:
        """Name the file of secrets and the domain, a local one; raise Misconfigured."""
        self.domain = ascii_domain(domain)
        self._secrets = SecretLines(path)

    def forward(self, reverse_path: str) -> str:
        """Give the reverse-path to forward with; the same where it cannot be rewritten."""
        from mailtools.trust.srs import srs_forward  # hashlib: only where something is forwarded

        secrets = self._secrets.read()
        try:
            address = parse_address(reverse_path)
            found = str(srs_forward(address, self.domain, secrets[0], int(time.time())))
        except BadAddress:
            return reverse_path
        too_long = len(found.encode("utf-8", "surrogateescape")) > PATH_MOST - 2
        return reverse_path if too_long or address.domain.startswith("[") else found

    def reverse(self, address: Address) -> Address | None:
        """Give the address behind one of ours; None for an address that is no SRS of ours.

        Raises BadAddress for one that is forged or has expired.
        """
        if address.local[:4].upper() not in _PREFIXES or address.local[4:5] not in ("=", "+", "-"):
            return None
        if not address.domain or ascii_domain(address.domain) != self.domain:
            return None
        from mailtools.trust.srs import srs_reverse  # hashlib, as above

        found = srs_reverse(address, self._secrets.read(), int(time.time()))
        return parse_address(str(found))
