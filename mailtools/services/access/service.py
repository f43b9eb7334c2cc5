"""What the readers' servers share: PROXY, TLS, the login, the owner's rights, what is logged.

POP3 and IMAP are this with an engine each, and with what a login opens.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from mailtools import log
from mailtools.errors import Failure, MailboxDisabled, NoSuchFolder
from mailtools.net.drive import LOGIN_TIME, drive
from mailtools.protocol.sasl.wire import APOP
from mailtools.services.access.certificate import login_of
from mailtools.services.access.networks import NOBODY, Networks
from mailtools.services.access.proxied import serve_peer

if TYPE_CHECKING:
    import ssl
    from typing import Protocol

    from mailtools.net.session import Peer
    from mailtools.net.stream import Stream
    from mailtools.protocol.engine import Engine
    from mailtools.services.access.account_line import Account
    from mailtools.services.access.accounts import Accounts
    from mailtools.services.access.login import Login

Opened = TypeVar("Opened")

if TYPE_CHECKING:

    class MakeEngine(Protocol[Opened]):
        """Makes a protocol's engine, which asks the site."""

        def __call__(
            self,
            site: Site[Opened],
            /,
            *,
            host: str,
            tls: bool,
            secure: bool,
            plaintext_login: bool,
        ) -> Engine:
            """Greet as `host`; `tls` can be started, or is on already (`secure`)."""


class Door(NamedTuple):
    """How peers come in: the same for all sessions, and for each protocol."""

    accounts: Accounts
    host: str
    """The name to greet as."""
    certificates: Callable[[], ssl.SSLContext] | None = None
    """Gives a TLS context for a session; None: no TLS."""
    implicit_tls: bool = False
    """TLS starts before the greeting."""
    plaintext_login: bool = False
    """Passwords are taken from the network without TLS."""
    proxies: Networks = NOBODY
    """From these a PROXY header is awaited, and believed."""


class Service(Generic[Opened]):
    """Serves sessions of one protocol: the launcher calls `session` for each."""

    def __init__(
        self,
        door: Door,
        protocol: str,
        engine: MakeEngine[Opened],
        open_: Callable[[Account], Opened],
        told: Callable[[Opened], Mapping[str, object]] = lambda _: {},
    ) -> None:
        """Take the protocol's name, its engine, and what a login opens.

        `told` gives what the log says of a session at its end.
        """
        self._door, self._protocol = door, protocol
        self._engine, self._open, self._told = engine, open_, told

    def session(self, stream: Stream, connected: Peer) -> None:
        """Serve one session to its end; raise ConnectionDied or TlsTrouble when it breaks."""
        serve_peer(stream, connected, self._door.proxies, self._serve)

    def _serve(self, stream: Stream, peer: Peer) -> None:
        door = self._door
        if door.implicit_tls:
            assert door.certificates
            stream.start_tls(door.certificates())
        site = Site(door.accounts, self._protocol, stream, peer, self._open)
        engine = self._engine(
            site,
            host=door.host,
            tls=door.certificates is not None,
            secure=door.implicit_tls or bool(peer.tls),
            # A pipe or a Unix socket has no wire that others could read.
            plaintext_login=door.plaintext_login or not peer.address,
        )
        try:
            drive(engine, stream, door.certificates, lifetime=site.lifetime)
        finally:
            engine.abort()
            if site.opened is not None:
                note_end(self._protocol, site.user, peer, self._told(site.opened))


class Site(Generic[Opened]):
    """What the engine asks before and at a login, for one session."""

    def __init__(
        self,
        accounts: Accounts,
        protocol: str,
        stream: Stream,
        peer: Peer,
        open_: Callable[[Account], Opened],
    ) -> None:
        self._accounts, self._protocol, self._open = accounts, protocol, open_
        self._stream, self._address, self._tls_before = stream, peer.address, peer.tls
        self.user = ""
        self.opened: Opened | None = None

    def lifetime(self) -> float:
        """How many seconds the session may last: who does not log in has his place for a while."""
        return math.inf if self.opened is not None else LOGIN_TIME

    @property
    def authority(self) -> Login:
        """Who knows the accounts."""
        from mailtools.services.access.login import Login  # at a login only

        return Login(
            self._accounts,
            service=self._protocol,
            address=self._address,
            certificate_login=login_of(self._accounts, self._stream.tls),
            tls=self._tls,
        )

    @property
    def _tls(self) -> str:
        tls = self._stream.tls
        return (tls.version() or "") if tls is not None else self._tls_before.partition(" ")[0]

    @property
    def mechanisms(self) -> Sequence[str]:
        """SASL mechanisms to offer."""
        found = self._accounts.mechanisms()
        return ("EXTERNAL", *found) if login_of(self._accounts, self._stream.tls) else found

    @property
    def apop(self) -> bool:
        """Whether POP3's APOP is offered."""
        return self._accounts.offers(APOP)

    def open(self, account: Account, /) -> Opened:
        """Open what the protocol shows of an account's mailbox; raise a Failure, logged."""
        try:
            if not account.maildir:
                raise MailboxDisabled("This account has no mailbox")
            opened = self.opened = self._open(account)
        except Failure as failure:
            reason = failure.detail or failure.text
            log.event("not-opened", user=account.name, proto=self._protocol, reason=reason)
            raise
        self.user = account.name
        return opened


def take_mailbox(account: Account) -> None:
    """Become an account's owner, and make its Maildir where there is none; raise a Failure."""
    from mailtools.services.access.become import become  # all this after a login only
    from mailtools.store.maildir import Maildir

    become(account.uid, account.gid, account.name)
    maildir = Maildir(account.maildir)
    if not maildir.exists:
        maildir.create()


def take_maildir(path: str) -> None:
    """Become the owner of a Maildir, where we are root; raise NoSuchFolder or another Failure."""
    from mailtools.services.access.become import become, owner_of
    from mailtools.store.disk import trouble

    try:
        os.stat(f"{path}/cur")
    except FileNotFoundError:
        raise NoSuchFolder(detail=f"{path} is no Maildir: it has no cur/") from None
    except OSError as error:
        raise trouble(error, "open", path) from error
    become(*owner_of(f"{path}/cur"))


def note_end(protocol: str, user: str, peer: Peer, told: Mapping[str, object]) -> None:
    """Log the end of a session that had a mailbox open."""
    log.event("closed", user=user or None, proto=protocol, rip=peer.address or None, **told)
