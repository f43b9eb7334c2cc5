"""IMAP sessions: logged in by the accounts, or by hand on a Maildir; what the launcher calls."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mailtools.net.drive import drive
from mailtools.protocol.imap.server import ImapServer
from mailtools.services.access.service import Door, Service, take_mailbox, take_maildir

if TYPE_CHECKING:
    from mailtools.net.session import Peer
    from mailtools.net.stream import Stream
    from mailtools.services.access.account_line import Account
    from mailtools.services.imap.mailbox import ImapSession
    from mailtools.services.imap.room import Room


def preload() -> None:
    """Load what a login and every session need once somebody is logged in.

    A peer that does not log in is spared it, under inetd; a listener does it before it forks, and
    everybody before root is given up, as the files may then be out of reach.
    """
    import mailtools.protocol.imap.append
    import mailtools.protocol.imap.mailboxes
    import mailtools.protocol.imap.messages
    import mailtools.services.access.app_passwords
    import mailtools.services.access.become
    import mailtools.services.access.checkpassword
    import mailtools.services.access.login
    import mailtools.services.imap.mailbox
    import mailtools.services.imap.view
    import mailtools.services.reception.limits  # noqa: F401


def imap_service(door: Door, append_limit: int) -> Service[ImapSession]:
    """Make what serves IMAP sessions; an appended message may have `append_limit` octets."""
    return Service(door, "imap", ImapServer, partial(_open, append_limit=append_limit))


def _open(account: Account, *, append_limit: int) -> ImapSession:
    preload()
    from mailtools.services.imap.mailbox import ImapSession

    take_mailbox(account)
    return ImapSession(account.maildir, append_limit=append_limit, room=_room_of(account))


def _room_of(account: Account) -> Room:
    from mailtools.services.imap.room import ANY_ROOM, Room
    from mailtools.services.reception.limits import limits_of
    from mailtools.store.quota import Quota

    limits = limits_of(account)
    return Room(Quota(account.maildir, limits)) if limits else ANY_ROOM


def open_maildir(path: str, append_limit: int) -> ImapSession:
    """Open the Maildir at `path` without any login, as its owner where we are root.

    Raises NoSuchFolder where there is none, or a Failure.
    """
    preload()
    from mailtools.services.imap.mailbox import ImapSession

    take_maildir(path)
    return ImapSession(path, append_limit=append_limit)


def serve_maildir(session: ImapSession, stream: Stream, peer: Peer) -> None:
    """Serve a session that is logged in from the beginning, to its end."""
    engine = ImapServer(None, session=session)
    try:
        drive(engine, stream)
    finally:
        engine.abort()
