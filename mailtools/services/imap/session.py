"""IMAP sessions: logged in by the accounts, or by hand on a Maildir; what the launcher calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import Failure, MailboxDisabled, NoSuchFolder
from mailtools.net.drive import drive
from mailtools.protocol.imap.server import ImapServer
from mailtools.services.access.certificate import login_of
from mailtools.services.access.networks import NOBODY, Networks
from mailtools.services.reception.proxied import true_peer

if TYPE_CHECKING:
    import ssl

    from mailtools.net.session import Peer
    from mailtools.net.stream import Stream
    from mailtools.services.access.accounts import Account, Accounts
    from mailtools.services.access.login import Login
    from mailtools.services.imap.mailbox import ImapSession


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
    import mailtools.services.imap.view  # noqa: F401


class ImapService:
    """Serves IMAP sessions: `session(stream, peer)` is what the launcher calls for each."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        host: str,
        append_limit: int,
        certificates: Callable[[], ssl.SSLContext] | None = None,
        implicit_tls: bool = False,
        plaintext_login: bool = False,
        proxies: Networks = NOBODY,
    ) -> None:
        """Take the accounts, the name to greet as, and the octets an appended message may have.

        `certificates` gives a TLS context for a session; `implicit_tls` starts TLS before the
        greeting. `plaintext_login` takes passwords from the network without TLS. From `proxies` a
        PROXY header is awaited, and believed.
        """
        self._accounts = accounts
        self._host = host
        self._append_limit = append_limit
        self._certificates = certificates
        self._implicit_tls = implicit_tls
        self._plaintext_login = plaintext_login
        self._proxies = proxies

    def session(self, stream: Stream, connected: Peer) -> None:
        """Serve one session to its end; raise ConnectionDied or TlsTrouble when it breaks."""
        peer = true_peer(stream, connected, self._proxies)
        if peer is None:
            return
        if self._implicit_tls:
            assert self._certificates
            stream.start_tls(self._certificates())
        site = _Site(self._accounts, stream, peer, self._append_limit)
        engine = ImapServer(
            site,
            host=self._host,
            tls=self._certificates is not None,
            secure=self._implicit_tls,
            # A pipe or a Unix socket has no wire that others could read.
            plaintext_login=self._plaintext_login or not peer.address,
        )
        try:
            drive(engine, stream, self._certificates)
        finally:
            engine.abort()
            if site.user:
                log.event("closed", user=site.user, proto="imap", rip=peer.address or None)


class _Site:
    """What the engine asks before login, for one session."""

    def __init__(self, accounts: Accounts, stream: Stream, peer: Peer, append_limit: int) -> None:
        self._accounts, self._address = accounts, peer.address
        self._stream = stream
        self.user = ""
        self._append_limit = append_limit

    @property
    def authority(self) -> Login:
        from mailtools.services.access.login import Login  # at a login only

        return Login(
            self._accounts,
            service="imap",
            address=self._address,
            certificate_login=login_of(self._accounts, self._stream.tls),
        )

    @property
    def mechanisms(self) -> Sequence[str]:
        found = self._accounts.mechanisms()
        return ("EXTERNAL", *found) if login_of(self._accounts, self._stream.tls) else found

    def open(self, account: Account, /) -> ImapSession:
        try:
            if not account.maildir:
                raise MailboxDisabled("This account has no mailbox")
            session = _open(account, self._append_limit)
        except Failure as failure:
            reason = failure.detail or failure.text
            log.event("not-opened", user=account.name, proto="imap", reason=reason)
            raise
        self.user = account.name
        return session


def _open(account: Account, append_limit: int) -> ImapSession:
    preload()
    from mailtools.services.access.become import become
    from mailtools.services.imap.mailbox import ImapSession
    from mailtools.store.maildir import Maildir

    become(account.uid, account.gid, account.name)
    maildir = Maildir(account.maildir)
    if not maildir.exists:
        maildir.create()
    return ImapSession(account.maildir, append_limit=append_limit)


def open_maildir(path: str, append_limit: int) -> ImapSession:
    """Open the Maildir at `path` without any login, as its owner where we are root.

    Raises NoSuchFolder where there is none, or a Failure.
    """
    preload()
    from mailtools.services.access.become import become
    from mailtools.services.imap.mailbox import ImapSession
    from mailtools.store.disk import trouble

    try:
        owner = os.stat(f"{path}/cur")
    except FileNotFoundError:
        raise NoSuchFolder(detail=f"{path} is no Maildir: it has no cur/") from None
    except OSError as error:
        raise trouble(error, "open", path) from error
    if owner.st_uid != os.geteuid():
        become(owner.st_uid, owner.st_gid)
    return ImapSession(path, append_limit=append_limit)


def serve_maildir(session: ImapSession, stream: Stream, peer: Peer) -> None:
    """Serve a session that is logged in from the beginning, to its end."""
    engine = ImapServer(None, session=session)
    try:
        drive(engine, stream)
    finally:
        engine.abort()
