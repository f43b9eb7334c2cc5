"""A Maildir as POP3 shows it (RFC 1939).

The drop lock keeps a second POP3 session out, as RFC 1939 4 asks. IMAP readers and deliverers do
not know it and go on: the list of messages is that of the login, and a message that goes meanwhile
is one that RETR finds gone and that QUIT need not remove.

What was retrieved gets the S flag and so moves from new/ to cur/, as Dovecot and Courier do it;
what was only listed stays in new/. Both happen at QUIT, so a session that breaks off changes
nothing, and its client fetches all again.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO

from mailtools import log
from mailtools.errors import (
    Failure,
    MailboxInUse,
    NoSuchMessage,
    SystemTrouble,
)
from mailtools.store.disk import BUFFER, trouble
from mailtools.store.lock import hold_folder
from mailtools.store.maildir import Maildir
from mailtools.store.maildir_names import Message
from mailtools.store.quota import Quota
from mailtools.store.uidlist import UidList

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
