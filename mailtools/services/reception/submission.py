"""Submission (RFC 6409): who may send as whom, and what a message from a mail client still lacks.

A client's message gets a Date and a Message-ID where it has none, loses its Bcc, and its addresses
without a domain get ours. Nothing else is touched, and mail from other servers is never mended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mailtools.errors import Failure, PolicyRefused
from mailtools.mail.address import Address, ascii_domain

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailtools.services.access.account_line import Account
    from mailtools.services.access.accounts import Accounts
    from mailtools.services.local.directory import Directory


class Submission(NamedTuple):
    """The rules of one service."""

    accounts: Accounts
    directory: Directory
    domain: str
    """Put behind addresses that have no domain, and into Message-IDs."""
    separators: str = "+"
    """What parts a user from an extension: user+extension."""

    def check_sender(self, account: Account, address: Address) -> None:
        """Raise PolicyRefused unless the account may send as that address."""
        if not self.may_send_as(account, address):
            raise PolicyRefused(f"{account.name} may not send as {address}")

    def may_send_as(self, account: Account, address: Address) -> bool:
        """Whether an address is the account's: its own, with an extension, an alias, or allowed.

        The extra field `send-as` of the accounts file allows more: addresses, `@domain`, or `*`,
        with commas between.
        """
        if self._is_own(account, address):
            return True
        for pattern in account.fields.get("send-as", "").lower().split(","):
            if pattern == "*":
                return True
            if pattern.startswith("@") and pattern[1:] == ascii_domain(address.domain):
                return True
            if pattern and pattern == address.key:
                return True
        return self._leads_to(account, address)

    def _leads_to(self, account: Account, address: Address) -> bool:
        """Whether an address here is another name of the account, and of nobody else."""
        try:
            targets = (
                self.directory.resolve(address) if self.directory.is_local(address.domain) else ()
            )
        except Failure:
            return False
        return len(targets) == 1 and targets[0].account == account

    def _is_own(self, account: Account, address: Address) -> bool:
        if self.accounts.find(address.key) == account:
            return True
        for separator in self.separators:
            user, found, _ = address.local.partition(separator)
            if found and user and self.accounts.find(Address(user, address.domain).key) == account:
                return True
        return False

    def header_work(
        self, account: Account | None, reverse_path: str
    ) -> Callable[[bytes, str], bytes]:
        """Give the function that checks and mends a header (services/reception/mending.py)."""

        def work(header: bytes, id_: str) -> bytes:
            from mailtools.services.reception.mending import authors, mend_header  # at a message

            mended = mend_header(header, id_=id_, domain=self.domain, reverse_path=reverse_path)
            if account is not None:
                for address in authors(mended):
                    self.check_sender(account, address)
            return mended

        return work
