"""POP3 sessions: logged in by the accounts, or by hand on a Maildir; what the launcher calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import Failure, MailboxDisabled, NoSuchFolder
from mailtools.net.drive import drive
from mailtools.protocol.pop3.server import Pop3Server
from mailtools.services.access.certificate import login_of
from mailtools.services.access.networks import NOBODY, Networks
from mailtools.services.reception.proxied import true_peer

if TYPE_CHECKING:
    import ssl

    from mailtools.net.session import Peer
    from mailtools.net.stream import Stream
    from mailtools.services.access.accounts import Account, Accounts
    from mailtools.services.access.login import Login
    from mailtools.services.pop3.mailbox import Maildrop


def preload() -> None:
    """Load what a login and an open maildrop need: a listener does it before it forks."""
    import mailtools.services.access.app_passwords
    import mailtools.services.access.become
    import mailtools.services.access.checkpassword
    import mailtools.services.access.login
    import mailtools.services.pop3.mailbox  # noqa: F401


class Pop3Service:
    """Serves POP3 sessions: `session(stream, peer)` is what the launcher calls for each."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        host: str,
        certificates: Callable[[], ssl.SSLContext] | None = None,
        implicit_tls: bool = False,
        plaintext_login: bool = False,
        proxies: Networks = NOBODY,
    ) -> None:
        """Take the accounts and the name to greet as.

        `certificates` gives a TLS context for a session; `implicit_tls` starts TLS before the
        greeting. `plaintext_login` takes passwords from the network without TLS. From `proxies` a
        PROXY header is awaited, and believed.
        """
        self._accounts = accounts
        self._host = host
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
        site = _Site(self._accounts, stream, peer)
        engine = Pop3Server(
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
            if site.drop:
                note(site.drop, site.user, peer)


class _Site:
    """What the engine asks, for one session."""

    def __init__(self, accounts: Accounts, stream: Stream, peer: Peer) -> None:
        self._accounts, self._address = accounts, peer.address
        self._stream = stream
        self.user = ""
        self.drop: Maildrop | None = None

    @property
    def authority(self) -> Login:
        from mailtools.services.access.login import Login  # at a login only

        return Login(
            self._accounts,
            service="pop3",
            address=self._address,
            certificate_login=login_of(self._accounts, self._stream.tls),
        )

    @property
    def mechanisms(self) -> Sequence[str]:
        found = self._accounts.mechanisms()
        return ("EXTERNAL", *found) if login_of(self._accounts, self._stream.tls) else found

    def open(self, account: Account, /) -> Maildrop:
        try:
            if not account.maildir:
                raise MailboxDisabled("This account has no mailbox")
            self.drop = _open(account)
        except Failure as failure:
            reason = failure.detail or failure.text
            log.event("not-opened", user=account.name, proto="pop3", reason=reason)
            raise
        self.user = account.name
        return self.drop


def _open(account: Account) -> Maildrop:
    from mailtools.services.access.become import become  # all this after a login only
    from mailtools.services.pop3.mailbox import Maildrop
    from mailtools.store.maildir import Maildir

    become(account.uid, account.gid, account.name)
    maildir = Maildir(account.maildir)
    if not maildir.exists:
        maildir.create()
    return Maildrop(account.maildir)


def open_maildir(path: str) -> Maildrop:
    """Open the Maildir at `path` without any login, as its owner where we are root.

    Raises NoSuchFolder where there is none, MailboxInUse, or a Failure.
    """
    from mailtools.services.access.become import become
    from mailtools.services.pop3.mailbox import Maildrop
    from mailtools.store.disk import trouble

    try:
        owner = os.stat(f"{path}/cur")
    except FileNotFoundError:
        raise NoSuchFolder(detail=f"{path} is no Maildir: it has no cur/") from None
    except OSError as error:
        raise trouble(error, "open", path) from error
    if owner.st_uid != os.geteuid():
        become(owner.st_uid, owner.st_gid)
    return Maildrop(path)


def serve_maildir(drop: Maildrop, stream: Stream, peer: Peer) -> None:
    """Serve a session that is logged in from the beginning, to its end."""
    engine = Pop3Server(None, drop=drop)
    try:
        drive(engine, stream)
    finally:
        engine.abort()
        note(drop, "", peer)


def note(drop: Maildrop, user: str, peer: Peer) -> None:
    """Log what a session did."""
    log.event(
        "closed",
        user=user or None,
        proto="pop3",
        rip=peer.address or None,
        messages=len(drop.sizes),
        retrieved=drop.retrieved,
        removed=drop.removed,
    )
