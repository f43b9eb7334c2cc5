"""What is sent on from here: whether it may go, and under which reverse-path.

A stranger's message that leaves again gets a reverse-path of ours (SRS), so that SPF passes and
DSNs come back; From stays as it is. One whose author's domain wants it rejected is not sent on:
the next host would refuse it, and think worse of us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mailtools.errors import BadAddress, PolicyRefused
from mailtools.mail.address import parse_address
from mailtools.mail.envelope import SUBMITTED
from mailtools.services.local.srs import Srs


class Onward:
    """The rules for forwards."""

    def __init__(
        self, is_local: Callable[[str], bool], *, srs: Srs | None = None, authserv_id: str = ""
    ) -> None:
        """`is_local` tells of a domain; `authserv_id` is who we are in Authentication-Results."""
        self._is_local, self._srs, self._authserv_id = is_local, srs, authserv_id

    def check(self, header: bytes, addresses: Iterable[str]) -> None:
        """Raise PolicyRefused where a message must not go to one of these addresses."""
        abroad = [address for address in addresses if not self.stays(address)]
        if not abroad or b"authentication-results:" not in header.lower():
            return
        # grammar of its own: only where a stranger's message is sent on
        from mailtools.trust.own_results import author_forbids, own_results

        found = own_results(header, self._authserv_id)
        if found and author_forbids(found):
            text = "DMARC failed when the message came, and its author's domain asks to reject it"
            raise PolicyRefused(f"Not sent on to {', '.join(abroad)}: {text}", status="5.7.26")

    def reverse_path(self, path: str, parameters: Mapping[str, str]) -> str:
        """Give the reverse-path for what goes elsewhere; `parameters` are the envelope's."""
        if not path or self._srs is None or SUBMITTED in parameters or self.stays(path):
            return path
        return self._srs.forward(path)

    def stays(self, address: str) -> bool:
        """Whether an address is one of this host."""
        try:
            domain = parse_address(address).domain
        except BadAddress:
            return False
        return not domain or self._is_local(domain)
