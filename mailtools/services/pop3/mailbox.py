"""A Maildir as POP3 shows it, and the session that serves it (RFC 1939).

The drop lock keeps a second POP3 session out, as RFC 1939 4 asks. IMAP readers and deliverers do
not know it and go on: the list of messages is that of the login, and a message that goes meanwhile
is one that RETR finds gone and that QUIT need not remove.

What was retrieved gets the S flag and so moves from new/ to cur/, as Dovecot and Courier do it;
what was only listed stays in new/. Both happen at QUIT, so a session that breaks off changes
nothing, and its client fetches all again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import (
    Failure,
    MailboxDisabled,
    MailboxInUse,
    NoSuchFolder,
    NoSuchMessage,
    SystemTrouble,
)
from mailtools.net.drive import drive
from mailtools.net.stream import Stream
from mailtools.protocol.pop3.server import Pop3Server
from mailtools.services.access.accounts import Account, Accounts
from mailtools.services.access.become import become
from mailtools.services.access.login import Login
from mailtools.services.access.networks import NOBODY, Networks
from mailtools.services.reception.proxied import true_peer
from mailtools.store.disk import BUFFER, trouble
from mailtools.store.lock import hold_folder
from mailtools.store.maildir import Maildir
from mailtools.store.maildir_names import Message
from mailtools.store.quota import Quota
from mailtools.store.uidlist import UidList

if TYPE_CHECKING:
    import ssl

    from mailtools.net.session import Peer

LOCK = "mailtools-pop3.lock"  # used where the folder itself cannot be locked
LAST = 1 << 32  # behind every POP3 order that a UID list can name


class Maildrop:
    """A locked Maildir: the messages of the moment it was opened, in the order of their UIDs."""

    def __init__(self, path: str) -> None:
        """Open and lock the Maildir at `path`; raise MailboxInUse or a Failure."""
        self._maildir = Maildir(path)
        self._uids = UidList(self._maildir)
        self._uid_trouble: Failure | None = None
        self.retrieved = self.removed = 0
        """Messages that `update` flagged and removed."""
        hold = hold_folder(path, LOCK)
        if hold is None:
            raise MailboxInUse
        self._hold = hold
        try:
            self._listed = self._list()
        except BaseException:
            hold.release()
            raise

    def _list(self) -> list[tuple[int, Message]]:
        messages = self._maildir.messages()
        try:
            pairs = self._uids.sync(messages)
        except Failure as failure:
            # A full disk must not keep anybody from emptying it: only UIDL does without.
            self._uid_trouble = failure
            messages = sorted(messages, key=lambda message: (message.seconds, message.unique))
            pairs = [(0, message) for message in messages]
        pairs = sorted(pairs, key=self._order)
        self.sizes: list[int] = []
        listed = []
        for uid, message in pairs:
            try:
                self.sizes.append(message.wire_size)
            except FileNotFoundError:
                continue  # removed since the scan
            except OSError as error:
                raise trouble(error, "read", message.path) from error
            listed.append((uid, message))
        return listed

    def _order(self, pair: tuple[int, Message]) -> tuple[int, int]:
        # Where a mailbox came from another server, its clients know the messages in that order.
        order = self._uids.pop3_order(pair[1])
        return (LAST if order is None else order), pair[0]

    def uid(self, index: int) -> str:
        """The UIDL of a message: the UID list's own, else in Dovecot's default form."""
        if self._uid_trouble:
            raise self._uid_trouble
        return self._uids.uidl(*self._listed[index])

    def read(self, index: int) -> Iterator[bytes]:
        """Open a message and give its text in pieces; raise NoSuchMessage where it is gone."""
        return _pieces(self._maildir.open(self._listed[index][1]))

    def update(self, removed: set[int], retrieved: set[int]) -> None:
        """Flag what was retrieved, remove what was marked, durably; raise a Failure.

        All are tried, whatever becomes of one: what could be removed is.
        """
        failure: Failure | None = None
        for index in sorted(retrieved - removed):
            try:
                self._maildir.change_flags(self._listed[index][1], add="S")
                self.retrieved += 1
            except NoSuchMessage:
                pass
            except Failure as seen_trouble:
                # It will be seen as unread, which is no reason to tell of a failure.
                log.event("not-flagged", proto="pop3", reason=seen_trouble.detail)
        octets = 0
        for index in sorted(removed):
            message = self._listed[index][1]
            try:
                if self._maildir.remove(message):
                    self.removed += 1
                    octets += message.size
            except Failure as found:
                failure = found
        if removed:
            self._maildir.sync()  # RFC 1939 6: "+OK" says that they are gone
            self._note_room(octets)
        if failure:
            raise SystemTrouble("Some messages were not removed", detail=failure.detail)

    def _note_room(self, octets: int) -> None:
        try:
            Quota(self._maildir.path).add(-octets, -self.removed)
        except Failure as failure:
            log.event(
                "not-counted", proto="pop3", reason=failure.detail
            )  # mended when next reckoned

    def release(self) -> None:
        """Let other POP3 sessions in."""
        self._hold.release()


def _pieces(file: FileIO) -> Iterator[bytes]:
    with file:
        while data := file.read(BUFFER):
            yield data


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
        site = _Site(self._accounts, peer)
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

    def __init__(self, accounts: Accounts, peer: Peer) -> None:
        self.authority = Login(accounts, service="pop3", address=peer.address)
        self.user = ""
        self.drop: Maildrop | None = None

    @property
    def mechanisms(self) -> Sequence[str]:
        return self.authority.mechanisms()

    def open(self, account: Account, /) -> Maildrop:
        try:
            if not account.maildir:
                raise MailboxDisabled("This account has no mailbox")
            become(account.uid, account.gid, account.name)
            maildir = Maildir(account.maildir)
            if not maildir.exists:
                maildir.create()
            self.drop = Maildrop(account.maildir)
        except Failure as failure:
            reason = failure.detail or failure.text
            log.event("not-opened", user=account.name, proto="pop3", reason=reason)
            raise
        self.user = account.name
        return self.drop


def open_maildir(path: str) -> Maildrop:
    """Open the Maildir at `path` without any login, as its owner where we are root.

    Raises NoSuchFolder where there is none, MailboxInUse, or a Failure.
    """
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
