"""BATV with this site's secrets: the control file `batv-secrets`; the rules are in `trust/batv.py`.

Mail that is submitted here goes out with a tag in a reverse-path of `locals`. A DSN to such an
address without one is for nothing that was sent from here: backscatter.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from mailtools.errors import BadAddress
from mailtools.mail.address import LOCAL_PART_MOST, Address, ascii_domain, parse_address
from mailtools.mail.envelope import SUBMITTED
from mailtools.services.access.secrets_file import SecretLines

_TAG = "prvs="
_SRS = ("srs0", "srs1")
_LENGTH = 16  # of a tag; trust/batv.py, which is loaded where there is one to make or to check


class Batv:
    """The tags of a site; the secrets are read again when their file changes."""

    def __init__(self, path: str, locals_: Iterable[str]) -> None:
        """Name the file of secrets, and the local domains (`.example.org`: its subdomains)."""
        names = [ascii_domain(name) for name in locals_]
        self._domains = frozenset(name for name in names if name[:1] != ".")
        self._below = tuple(name for name in names if name[:1] == ".")
        self._secrets = SecretLines(path)

    def reverse_path(self, path: str, parameters: Mapping[str, str]) -> str:
        """Give the reverse-path to send with; `parameters` are the envelope's."""
        if not path or SUBMITTED not in parameters:
            return path
        try:
            address = parse_address(path)
        except BadAddress:
            return path
        if not self._is_covered(address) or address.local[: len(_TAG)].lower() == _TAG:
            return path
        from mailtools.trust.batv import tagged  # hashlib: only where mail is sent

        return str(tagged(address, self._secrets.read()[0], int(time.time())))

    def untagged(self, address: Address) -> Address:
        """Give the address that a tagged one stands for; the same for any other."""
        if address.local[: len(_TAG)].lower() != _TAG or not self._is_ours(address.domain):
            return address
        from mailtools.trust.batv import untagged

        return untagged(address) or address

    def doubts(self, forward_path: str) -> bool:
        """Whether a DSN to an address cannot be for something that was sent from here."""
        try:
            address = parse_address(forward_path)
        except BadAddress:
            return False
        if not self._is_covered(self.untagged(address)):
            return False
        from mailtools.trust.batv import is_proved

        return not is_proved(address, self._secrets.read(), int(time.time()))

    def _is_ours(self, domain: str) -> bool:
        try:
            name = ascii_domain(domain)
        except BadAddress:
            return False
        return name in self._domains or (bool(self._below) and name.endswith(self._below))

    def _is_covered(self, address: Address) -> bool:
        """Whether mail of an address, without a tag, goes out with one."""
        octets = len(address.local.encode("utf-8", "surrogateescape"))
        too_long = octets + _LENGTH > LOCAL_PART_MOST
        is_srs = address.local[:4].lower() in _SRS  # it has a hash of its own
        return self._is_ours(address.domain) and not too_long and not is_srs
