"""POP3 sessions: logged in by the accounts, or by hand on a Maildir; what the launcher calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailtools.net.drive import drive
from mailtools.protocol.pop3.server import Pop3Server
from mailtools.services.access.service import (
    Door,
    Service,
    note_end,
    take_mailbox,
    take_maildir,
)

if TYPE_CHECKING:
    from mailtools.net.session import Peer
    from mailtools.net.stream import Stream
    from mailtools.services.access.account_line import Account
    from mailtools.services.pop3.mailbox import Maildrop


def preload() -> None:
    """Load what a login and an open maildrop need: a listener does it before it forks."""
    import mailtools.services.access.app_passwords
    import mailtools.services.access.become
    import mailtools.services.access.checkpassword
    import mailtools.services.access.login
    import mailtools.services.pop3.mailbox  # noqa: F401


def pop3_service(door: Door) -> Service[Maildrop]:
    """Make what serves POP3 sessions."""
    return Service(door, "pop3", Pop3Server, _open, _told)


def _open(account: Account) -> Maildrop:
    from mailtools.services.pop3.mailbox import Maildrop  # after a login only

    take_mailbox(account)
    return Maildrop(account.maildir)


def open_maildir(path: str) -> Maildrop:
    """Open the Maildir at `path` without any login, as its owner where we are root.

    Raises NoSuchFolder where there is none, MailboxInUse, or a Failure.
    """
    from mailtools.services.pop3.mailbox import Maildrop

    take_maildir(path)
    return Maildrop(path)


def serve_maildir(drop: Maildrop, stream: Stream, peer: Peer) -> None:
    """Serve a session that is logged in from the beginning, to its end."""
    engine = Pop3Server(None, drop=drop)
    try:
        drive(engine, stream)
    finally:
        engine.abort()
        note_end("pop3", "", peer, _told(drop))


def _told(drop: Maildrop) -> dict[str, object]:
    return {"messages": len(drop.sizes), "retrieved": drop.retrieved, "removed": drop.removed}
