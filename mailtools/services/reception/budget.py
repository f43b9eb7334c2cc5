"""What an account may send: recipients an hour, for each user and for each domain of users.

What goes beyond is accepted, and held in the queue: a hijacked account stops at its budget, its
owner loses nothing, and postmaster decides about the batch. He is told once a day of each account.
Only so much is held, too: then the account hears 450 until its hour is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from mailtools import log
from mailtools.errors import Failure, PolicyRefused
from mailtools.mail.address import ascii_domain
from mailtools.mail.dates import format_date_field
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.services.access.account_line import Account
from mailtools.store.queue import Queue
from mailtools.store.tally import Tally

HELD_MOST = 200  # messages of an account that are held in an hour


class Overdraft(NamedTuple):
    """Whose budget a message would go beyond: `of` is a user or a domain."""

    of: str
    limit: int
    sent: int
    """Recipients of the last hour, without this message's."""


class Budget(NamedTuple):
    """The budgets of a site."""

    folder: str
    """Where recipients are counted, in the spool."""
    queue: Queue
    home: str
    """The domain of users that have none, and postmaster's."""
    me: str
    user: int = 0
    """Recipients a user may write to in an hour; 0 for any number."""
    domains: Mapping[str, int] = {}
    """The same for all users of a domain; "" is every domain that is not named."""
    clock: Callable[[], float] = time.time

    def hold(self, account: Account, envelope: Envelope, id_: str) -> str:
        """Count a message, and tell why it is held ("": it is not); raise PolicyRefused (450).

        A count that cannot be kept lets the message pass: mail goes before limits.
        """
        try:
            over = self._spend(account, len(envelope.forward_paths))
            if over is None:
                return ""
            held = Tally(self.folder).add(f"held:{account.name.lower()}", 1, self.clock())
        except Failure as failure:
            log.event("trouble", user=account.name, detail=failure.detail)
            return ""
        if held > HELD_MOST:
            text = f"{over.limit} recipients an hour for {over.of}: try again later"
            raise PolicyRefused(text, status="4.7.1", reply=450)
        log.event(
            "exceeded", id=id_, user=account.name, of=over.of, limit=over.limit, sent=over.sent,
            to=len(envelope.forward_paths),
        )  # fmt: skip
        self._alert(account, envelope, over)
        return (
            f"the budget of {over.of}: {over.limit} recipients an hour, "
            f"{over.sent} were written to and here are {len(envelope.forward_paths)} more"
        )

    def _spend(self, account: Account, recipients: int) -> Overdraft | None:
        now, tally, spent = self.clock(), Tally(self.folder), []
        for name, of, limit in self._limits(account):
            total = tally.add(name, recipients, now)
            spent.append(name)
            if total > limit:
                for one in spent:
                    tally.add(one, -recipients, now)
                return Overdraft(of, limit, total - recipients)
        return None

    def _limits(self, account: Account) -> list[tuple[str, str, int]]:
        """Give the budgets that count for an account: the count's name, whose it is, how much."""
        login = account.name.lower()
        domain = ascii_domain(login.rpartition("@")[2] if "@" in login else self.home)
        own = account.fields.get("budget", "")
        user = int(own) if own.isascii() and own.isdigit() else self.user
        shared = self.domains.get(domain, self.domains.get("", 0))
        found = [(f"user:{login}", account.name, user), (f"domain:{domain}", domain, shared)]
        return [row for row in found if row[2]]

    def _alert(self, account: Account, envelope: Envelope, over: Overdraft) -> None:
        """Tell postmaster, the first time of a day."""
        now = self.clock()
        try:
            if not Tally(self.folder).first_today(f"alert:{account.name.lower()}", now):
                return
            postmaster = ForwardPath(f"postmaster@{self.home}", {})
            # As a double bounce: when it fails, nobody is told.
            writer = self.queue.begin(Envelope("", (postmaster,), {}, "double-bounce"))
            writer.write(self._letter(writer.id, account, envelope, over, now).encode())
            writer.commit()
        except Failure as failure:
            log.event("trouble", user=account.name, detail=failure.detail)

    def _letter(
        self, id_: str, account: Account, envelope: Envelope, over: Overdraft, now: float
    ) -> str:
        import shlex  # rare

        sender = shlex.quote(envelope.reverse_path or "<>")
        shown = account.name if account.name.isascii() else "an account"
        return (
            f"From: mailtools at {self.me} <postmaster@{self.home}>\n"
            f"To: postmaster@{self.home}\n"
            f"Subject: Mail of {shown} is held: budget used up\n"
            f"Date: {format_date_field(now, 0)}\n"
            f"Message-ID: <{id_}@{self.me}>\n"
            "Auto-Submitted: auto-generated\n"
            "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
            "Content-Transfer-Encoding: 8bit\n\n"
            f"{account.name} wanted to write to {len(envelope.forward_paths)} recipients, after\n"
            f"{over.sent} in the last hour. The budget of {over.of} is {over.limit} an hour.\n"
            "That message is held, and so is what follows until the hour is over.\n"
            "Was the password stolen? Then change it first.\n\n"
            "See what is held, let it go, or remove it:\n\n"
            f"    queue-list --state hold --from {sender}\n"
            f"    queue-list --state hold --from {sender} | queue-edit release\n"
            f"    queue-list --state hold --from {sender} | queue-edit remove\n\n"
            "You are told of an account once a day.\n"
        )
