"""What is done as the owner of a mailbox: his own rules, his Maildir, his programs.

`Mailboxes.work` takes an order as JSON could carry it, since a deputy may do it (local_child.py).
"""

from __future__ import annotations

import os
import time
from binascii import crc32

from mailtools.errors import MailboxFull
from mailtools.mail.address import Address, parse_address
from mailtools.services.access.account_line import Account
from mailtools.services.local.aliases import Kind, Word
from mailtools.services.local.child import Order, Outcome
from mailtools.services.local.forward import included, own_rules
from mailtools.services.local.pipe import Errand, environment, run
from mailtools.services.reception.limits import limits_of
from mailtools.store.maildir import Maildir
from mailtools.store.queue_id import is_id
from mailtools.store.quota import Quota

MAILDIRS_MOST = 256  # kept in memory
REJECTS_FOLDER = "Rejects"
REJECTS_MOST = 100  # messages it holds
JUNK_FOLDERS = ("Junk", "Spam", "Junk E-mail")  # as imapd shows with \\Junk (RFC 6154)


class Letter:
    """A message as it goes to one forward-path."""

    __slots__ = ("body", "id", "junk", "keep", "path", "rejected", "repeated", "reverse_path")

    def __init__(
        self,
        id: str,
        reverse_path: str,
        path: str,
        body: bytes,
        *,
        repeated: bool = True,
        junk: bool = False,
        rejected: bool = False,
        keep: float = 0.0,
    ) -> None:
        self.id = id
        """The queue entry's ID; "" for none."""
        self.reverse_path = reverse_path
        self.path = path
        """The forward-path."""
        self.body = body
        """The message without what stands on top of it."""
        self.repeated = repeated
        """Whether an earlier attempt may have delivered it."""
        self.junk = junk
        """Whether it is for the folder Junk of a mailbox: smtpd-accept said so."""
        self.rejected = rejected
        """Whether it was refused, and is for the folder Rejects of a mailbox."""
        self.keep = keep
        """Seconds that the mailbox keeps such messages; 0: it has no such folder."""

    @property
    def address(self) -> Address:
        """The forward-path as an address."""
        return parse_address(self.path)

    @property
    def delivered_to(self) -> bytes:
        """The field that says where it is delivered to."""
        return b"Delivered-To: " + self.path.encode("utf-8", "surrogateescape") + b"\n"

    @property
    def top(self) -> bytes:
        """The trace fields a mailbox wants on top."""
        reverse_path = self.reverse_path.encode("utf-8", "surrogateescape")
        return b"Return-Path: <" + reverse_path + b">\n" + self.delivered_to

    @property
    def unique(self) -> str:
        """The left part of its name in a Maildir: the same in every attempt; "" without an ID."""
        path = crc32(self.path.lower().encode("utf-8", "surrogateescape"))
        return f"{self.id}Q{path:08x}" if is_id(self.id) else ""


def order(letter: Letter, account: Account | None, extension: str, value: str) -> Order:
    """Put into an order what goes to an account, or (without one) to the Maildir `value`.

    An account with `value` "plain" gets it without asking his own rules.
    """
    said: Order = {
        "id": letter.id,
        "reverse_path": letter.reverse_path,
        "path": letter.path,
        "repeated": letter.repeated,
        "junk": letter.junk,
        "rejected": letter.rejected,
        "keep": letter.keep,
        "extension": extension,
        "value": value,
    }
    if account:
        fields = dict(account.fields) if account.fields else {}
        said["account"] = [account.name, account.home, account.maildir, fields]
    return said


class Mailboxes:
    """Maildirs and their owners' rules, with the rights that this process has."""

    def __init__(self, program_limit: float) -> None:
        """Take how long a program may run, in seconds."""
        self._limit = program_limit
        self._maildirs: dict[str, Maildir] = {}

    def work(self, order: Order, message: bytes) -> Outcome:
        """Do an order; raise Failures."""
        letter = Letter(
            order["id"],
            order["reverse_path"],
            order["path"],
            message,
            repeated=order["repeated"],
            junk=order["junk"],
            rejected=order["rejected"],
            keep=order["keep"],
        )
        about = order.get("account")
        if about is None:
            return self.store(letter, order["value"])
        name, home, maildir, fields = about
        account = Account(name, -1, -1, home, maildir, "", fields)
        rules = None
        if home and order["value"] != "plain":
            rules = own_rules(home, order["extension"])
        if rules is None:
            return self.store(letter, maildir, account)
        return self._obey(letter, account, order["extension"], *rules)

    def store(self, letter: Letter, path: str, account: Account | None = None) -> Outcome:
        """Put the message into a Maildir: on disk and synced when this returns."""
        top = letter.top
        size = len(top) + len(letter.body)
        quota = Quota(path, limits_of(account) if account else None)
        if not quota.allows(size):
            raise MailboxFull
        maildir, rejects = self._maildir(path), f"{path}/.{REJECTS_FOLDER}"
        if (letter.junk or letter.rejected) and account:
            if not maildir.exists:
                maildir.create()
            maildir = self._maildir(rejects if letter.rejected else junk_folder(path))
        delivery = maildir.begin(letter.unique, repeated=letter.repeated)
        try:
            delivery.write(top)
            delivery.write(letter.body)
        except BaseException:
            delivery.abort()
            raise
        delivery.commit()
        quota.add(size, 1)
        if letter.keep and os.path.isdir(rejects):
            expire(self._maildir(rejects), quota, time.time() - letter.keep)
        return Outcome(f"delivered to {account.name if account else path}")

    def _obey(
        self, letter: Letter, account: Account, extension: str, words: list[Word], qmail: bool
    ) -> Outcome:
        """Do what a user's own .forward or .qmail says."""
        outcome = Outcome()
        own = {account.name.lower(), letter.path.lower()}
        done: dict[str, None] = {}
        words = _unfolded(words)
        end = time.monotonic() + self._limit  # for all programs: others wait meanwhile
        if not qmail:  # dot-qmail(5) keeps the order of the lines
            words.sort(key=lambda word: word.kind is Kind.PROGRAM)
        for word in words:
            if word.kind is Kind.PROGRAM:
                done[f"program {word.value.split()[0]}"] = None
                if self._run(letter, account, extension, (word.value, qmail), end):
                    break
            elif word.kind is Kind.MAILDIR:
                done[self.store(letter, word.value).text] = None
            elif word.kind is Kind.PLAIN or word.value.lower() in own:
                done[self.store(letter, account.maildir, account).text] = None
            elif word.kind is Kind.ADDRESS:
                outcome.forwards.append(_whole(word.value, letter))
        outcome.text = ", ".join(done)
        if not done and not outcome.forwards:
            outcome.text = "thrown away, as its user says"
        return outcome

    def _run(
        self,
        letter: Letter,
        account: Account,
        extension: str,
        program: tuple[str, bool],
        end: float,
    ) -> bool:
        command, qmail = program
        told = environment(
            reverse_path=letter.reverse_path,
            forward_path=letter.address,
            user=account.name,
            home=account.home,
            extension=extension,
        )
        # qmail-command(8) leaves what stands on top to preline(1).
        stdin = letter.body if qmail else letter.top + letter.body
        return run(Errand(command, told, account.home, stdin), end - time.monotonic())

    def _maildir(self, path: str) -> Maildir:
        maildir = self._maildirs.get(path)
        if maildir is None:
            if len(self._maildirs) >= MAILDIRS_MOST:
                self._maildirs.clear()
            maildir = self._maildirs[path] = Maildir(path)
            maildir.sweep()
        return maildir


def expire(maildir: Maildir, quota: Quota, oldest: float) -> None:
    """Remove from Rejects what came before `oldest`, and all but the newest REJECTS_MOST."""
    found = sorted(maildir.messages(), key=lambda message: message.seconds)
    surplus = len(found) - REJECTS_MOST
    octets = count = 0
    for place, message in enumerate(found):
        if place < surplus or message.seconds < oldest:
            size = message.size
            if maildir.remove(message):
                octets, count = octets + size, count + 1
    if count:
        quota.add(-octets, -count)


def junk_folder(root: str) -> str:
    """Give the folder of a Maildir where junk goes: one that is called so, else `.Junk`."""
    for name in JUNK_FOLDERS:
        if os.path.isdir(folder := f"{root}/.{name}"):
            return folder
    return f"{root}/.{JUNK_FOLDERS[0]}"


def _whole(name: str, letter: Letter) -> str:
    return name if "@" in name else str(Address(name, letter.address.domain))


def _unfolded(words: list[Word]) -> list[Word]:
    """Replace each :include: by what its list says; a list does not include others."""
    found: list[Word] = []
    seen: set[str] = set()
    for word in words:
        if word.kind is not Kind.INCLUDE:
            found.append(word)
        elif word.value not in seen:
            seen.add(word.value)
            found += (inner for inner in included(word) if inner.kind is not Kind.INCLUDE)
    return found
