"""Submission (RFC 6409): who may send as whom, and what a message from a mail client still lacks.

A client's message gets a Date and a Message-ID where it has none, loses its Bcc, and its addresses
without a domain get ours. Nothing else is touched, and mail from other servers is never mended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from mailtools.errors import BadAddress, BadMessage, Failure, PolicyRefused
from mailtools.mail import fields
from mailtools.mail.address import Address, ascii_domain, parse_address
from mailtools.mail.address_list import parse_address_list
from mailtools.mail.dates import format_date_field
from mailtools.mail.qualify import qualify
from mailtools.services.access.accounts import Account, Accounts
from mailtools.services.local.directory import Directory

_ADDRESS_FIELDS = frozenset(
    (b"from", b"sender", b"reply-to", b"to", b"cc", b"resent-from", b"resent-sender",
     b"resent-to", b"resent-cc")
)  # fmt: skip
_BLIND = frozenset((b"bcc", b"resent-bcc"))


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
        """Give the function that checks and mends a header (see services/reception/intake.py)."""

        def work(header: bytes, id_: str) -> bytes:
            mended = mend_header(header, id_=id_, domain=self.domain, reverse_path=reverse_path)
            if account is not None:
                self._check_from(account, mended)
            return mended

        return work

    def _check_from(self, account: Account, header: bytes) -> None:
        found = list(fields.find(header[: fields.header_end(header)], b"from"))
        if len(found) != 1:
            raise BadMessage("A message has exactly one From field (RFC 5322 3.6)", reply=550)
        for mailbox in parse_address_list(found[0].body):
            if mailbox.local is None or mailbox.domain is None:
                continue  # the begin or end of a group
            text = (mailbox.local + b"@" + mailbox.domain).decode("utf-8", "replace")
            try:
                address = parse_address(text)
            except BadAddress:
                quoted = Address(mailbox.local.decode("utf-8", "replace"), "")
                raise BadMessage(f"The From field holds no address: {quoted}", reply=550) from None
            self.check_sender(account, address)


def mend_header(header: bytes, *, id_: str, domain: str, reverse_path: str) -> bytes:
    """Complete the header of a client's message (RFC 6409 8): LF text in, LF text out.

    `id_` is the entry's, which makes a Message-ID; `reverse_path` is From where there is none.
    """
    kept: list[bytes] = []
    seen = set()
    end = 0
    for field in fields.fields(header):
        if not header.startswith(field.raw, end):
            break
        end += len(field.raw)
        key = field.key
        if key in _BLIND:
            continue  # RFC 5322 3.6.3: nobody is to see it
        seen.add(key)
        if key in _ADDRESS_FIELDS:
            name, colon, body = field.raw.partition(b":")
            kept.append(name + colon + qualify(body, domain.encode()))
        else:
            kept.append(field.raw)
    if kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    rest = header[end:]  # begins with a line that is no field: text, from a client without a header
    now = time.time()
    if b"from" not in seen and reverse_path:
        kept.append(f"From: <{reverse_path}>\n".encode())
    if b"date" not in seen:
        offset = time.localtime(now).tm_gmtoff // 60
        kept.append(f"Date: {format_date_field(now, offset)}\n".encode())
    if b"message-id" not in seen:
        kept.append(f"Message-ID: <{id_}@{domain}>\n".encode())
    if rest:
        kept += (b"\n", rest)
    return b"".join(kept)
