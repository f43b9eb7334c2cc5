"""Who has a mailbox here, and where an address leads: locals, virtual, aliases, accounts.

In this order, first for the whole local-part, then without its extension (`bob+lists`: `bob`):
`virtual` by the whole address, `aliases` by the local-part (in the domains of `locals`), the
accounts; then postmaster, who is always somebody; then `@domain` in `virtual`, the catch-all; then
abuse, which is postmaster.
smtpd-accept asks `check` at RCPT and local-deliver `resolve` at delivery, so that nothing is
accepted that cannot be delivered.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Protocol

from mailtools.errors import (
    BadAddress,
    Failure,
    MailboxDisabled,
    MailboxFull,
    Misconfigured,
    NoSuchMailbox,
)
from mailtools.mail.address import Address, ascii_domain, parse_address
from mailtools.services.access.account_line import Account
from mailtools.services.local.aliases import AliasFile, Kind, Word
from mailtools.services.local.batv import Batv
from mailtools.services.local.lists import Lists
from mailtools.services.local.srs import Srs
from mailtools.services.local.way import Step, Steps, Target, Way, Where

DEPTH_MOST = 50  # aliases within aliases
POSTMASTER = "postmaster"  # RFC 5321 4.5.1
ABUSE = "abuse"  # RFC 2142 4: postmaster hears of it where nobody else does


class AccountsLike(Protocol):
    """What is asked of the accounts (services/access/accounts.py)."""

    def find(self, login: str) -> Account | None:
        """Give the account of a login or an address."""

    def everyone(self) -> list[Account]:
        """List the accounts of the file."""


class Directory:
    """The addresses of a site; files that change are read again."""

    def __init__(
        self,
        me: str,
        locals_: Iterable[str],
        accounts: AccountsLike,
        *,
        aliases: str = "",
        virtual: str = "",
        separators: str = "+",
        srs: Srs | None = None,
        batv: Batv | None = None,
    ) -> None:
        """Take the host's name, the local domains (`.example.org` has its subdomains), the files.

        `aliases` and `virtual` are paths, "" for none. Each of `separators` parts a user from an
        extension.
        """
        names = [ascii_domain(name) for name in locals_]
        self._locals = frozenset(name for name in names if name[:1] != ".")
        self._below = tuple(name for name in names if name[:1] == ".")
        self.home = next((name for name in names if name[:1] != "."), me)
        """The domain of names that have none."""
        self._accounts = accounts
        self._aliases = AliasFile(aliases)
        self._virtual = AliasFile(virtual, addresses=True)
        self._separators = separators
        self._srs, self._batv = srs, batv
        self._lists = Lists()

    # -- questions --------------------------------------------------------------------------------

    def is_local(self, domain: str) -> bool:
        """Whether mail for a domain is delivered here."""
        self._virtual.refresh()
        try:
            name = ascii_domain(domain)
        except BadAddress:
            return False
        return self._is_home(name) or name in self._virtual.domains

    def check(self, address: Address) -> None:
        """Raise NoSuchMailbox, MailboxDisabled, MailboxFull, or what else stands in the way.

        Misconfigured means an alias that leads nowhere, or a file with faults: try again later.
        """
        targets = self.resolve(address)
        if len(targets) == 1 and targets[0].account:
            check_account(targets[0].account)

    def resolve(self, address: Address, steps: Steps | None = None) -> tuple[Target, ...]:
        """Give where a local address leads, each end once; raise as `check` does.

        The way is added to `steps` as it is gone, also where it ends in a fault.
        """
        self._aliases.refresh()
        self._virtual.refresh()
        way = Way({}, steps=steps)
        self._follow(address, way)
        return tuple(way.targets.values())

    def faults(self) -> list[str]:
        """Everything wrong in aliases and virtual, a line each: for newaliases and mail-check."""
        found: list[str] = []
        for file in (self._aliases, self._virtual):
            try:
                file.refresh()
            except Misconfigured as failure:
                found += failure.detail.split("\n")
        for file in (self._aliases, self._virtual):
            for key in file.keys():  # noqa: SIM118 (not a dict)
                words = file.get(key) or ()
                try:
                    self._expand(words, Address(key, ""), Way({}, (f"{file.path} {key}",)), file)
                except Misconfigured as failure:
                    found += failure.detail.split("\n")
                except Failure:
                    continue  # error: and the like are meant
        return list(dict.fromkeys(found))

    def programs(self) -> Iterator[tuple[str, str]]:
        """Yield the programs that aliases and virtual name: place, command line."""
        for file in (self._aliases, self._virtual):
            for key in file.keys():  # noqa: SIM118 (not a dict)
                for word in file.get(key) or ():
                    if word.kind is Kind.PROGRAM:
                        yield word.place, word.value

    # -- the way of an address --------------------------------------------------------------------

    def _is_home(self, domain: str) -> bool:
        return domain in self._locals or (bool(self._below) and domain.endswith(self._below))

    def _account(self, local: str, domain: str) -> Account | None:
        """Find the account of an address; a bare name may be that of a login at home."""
        if domain:
            return self._accounts.find(f"{local}@{domain}")
        return self._accounts.find(local) or self._accounts.find(f"{local}@{self.home}")

    def _follow(self, address: Address, way: Way, place: str = "") -> None:
        """Add the ends of a local address; `place` is the line that names it."""
        address = self._batv.untagged(address) if self._batv else address
        domain = ascii_domain(address.domain) if address.domain else ""
        home = not domain or self._is_home(domain)
        fault = self._came_back(address, way)
        if fault is None:
            return
        for local, extension in self._parts(address.local.lower()):
            if self._virtual.get(f"{local}@{domain}") is not None:
                self._through(self._virtual, f"{local}@{domain}", local, address, way)
                return
            if home and self._aliases.get(local) is not None:
                self._through(self._aliases, local, local, address, way)
                return
            account = self._account(local, domain)
            if account:
                way.add(_mailbox(account, extension, way.owner))
                return
        if fault:
            raise NoSuchMailbox(fault)
        if address.local.lower() == POSTMASTER:
            self._postmaster(address, way)
            return
        if self._virtual.get(f"@{domain}") is None:
            if address.local.lower() == ABUSE:
                self._postmaster(address, way)
                return
            if place:
                raise Misconfigured(detail=f"{place}: {address} has no mailbox and no alias")
            raise NoSuchMailbox
        self._through(self._virtual, f"@{domain}", address.local, address, way)

    def _came_back(self, address: Address, way: Way) -> str | None:
        """Follow an SRS address of ours to whom it stands for: None where that is done.

        Else say why it is no good; "" where it is no SRS address at all.
        """
        try:
            sender = self._srs.reverse(address) if self._srs else None
        except BadAddress as fault:
            return fault.text
        if sender is None:
            return ""
        if self.is_local(sender.domain):
            self._follow(sender, way)
        else:
            way.add(Target(Where.FORWARD, str(sender)))
        return None

    def _through(self, file: AliasFile, key: str, name: str, address: Address, way: Way) -> None:
        words = file.get(key) or ()
        step = f"{file.path} {key}"
        if step in way.trail:
            # An alias that names itself means the mailbox of that name.
            account = self._account(name, address.domain)
            if not account:
                names = [at.rpartition(" ")[2] for at in (*way.trail, step)]
                raise Misconfigured(detail=f"{words[0].place}: a loop: {' → '.join(names)}")
            way.add(_mailbox(account, "", way.owner, plain=True))
            return
        if len(way.trail) >= DEPTH_MOST:
            raise Misconfigured(detail=f"{words[0].place}: more than {DEPTH_MOST} aliases deep")
        owner = way.owner
        if file is self._aliases and self._aliases.get(f"owner-{key}") is not None:
            owner = f"owner-{key}@{address.domain or self.home}"
        way.note(Step(key, words[0].place))
        self._expand(words, address, way.deeper(step, owner), file)

    def _expand(
        self,
        words: Iterable[Word],
        address: Address,
        way: Way,
        file: AliasFile | None,
        owner: tuple[int, int] | None = None,
    ) -> None:
        uid, gid = owner or (file.owner if file else (-1, -1))
        for word in words:
            match word.kind:
                case Kind.ADDRESS:
                    self._name(word, way)
                case Kind.DOMAIN:
                    self._onward(Address(address.local, word.value), word, way)
                case Kind.PLAIN:
                    account = self._account(word.value, "")
                    if not account:
                        raise Misconfigured(detail=f"{word.place}: there is no user {word.value}")
                    way.add(_mailbox(account, "", way.owner, plain=True))
                case Kind.PROGRAM:
                    way.add(Target(Where.PROGRAM, word.value, uid=uid, gid=gid, owner=way.owner))
                case Kind.MAILDIR:
                    way.add(Target(Where.MAILDIR, word.value, uid=uid, gid=gid))
                case Kind.INCLUDE:
                    if len(way.trail) >= DEPTH_MOST:
                        raise Misconfigured(detail=f"{word.place}: lists that include each other")
                    members, who = self._lists.read(word, owner)
                    way.note(Step(f":include:{word.value}", word.place))
                    self._expand(members, address, way.deeper(word.value, way.owner), None, who)
                case Kind.NOTHING:
                    way.add(Target(Where.NOTHING))
                case Kind.ERROR:
                    _refuse(word)

    def _name(self, word: Word, way: Way) -> None:
        if "@" not in word.value:
            self._follow(Address(word.value, ""), way, word.place)
        else:
            self._onward(parse_address(word.value), word, way)

    def _onward(self, address: Address, word: Word, way: Way) -> None:
        if self.is_local(address.domain):
            self._follow(address, way, word.place)
        else:
            way.add(Target(Where.FORWARD, str(address), owner=way.owner))

    def _postmaster(self, address: Address, way: Way) -> None:
        """RFC 5321 4.5.1: the alias of that name, the account of that name, the first account."""
        if self._aliases.get(POSTMASTER) is not None:
            self._through(self._aliases, POSTMASTER, POSTMASTER, Address(POSTMASTER, ""), way)
            return
        account = self._accounts.find(POSTMASTER) or next(iter(self._accounts.everyone()), None)
        if not account:
            raise Misconfigured(detail=f"{address}: nobody is postmaster: no alias, no account")
        way.add(_mailbox(account, "", way.owner))

    def _parts(self, local: str) -> Iterator[tuple[str, str]]:
        """Yield the local-part whole, then parted at each separator, the longest user first."""
        yield local, ""
        for place in range(len(local) - 1, 0, -1):
            if local[place] in self._separators:
                yield local[:place], local[place + 1 :]


class OneMaildir:
    """A directory where every address leads to one Maildir: `local-deliver --maildir`."""

    def __init__(self, path: str) -> None:
        """Name the Maildir; it belongs to whoever owns its folder."""
        self._target = Target(Where.MAILDIR, os.path.abspath(path), by_hand=True)

    def resolve(self, address: Address) -> tuple[Target, ...]:
        """Give the Maildir."""
        return (self._target,)


def check_account(account: Account, *, room: bool = True) -> None:
    """Raise NoSuchMailbox, MailboxDisabled or MailboxFull unless an account can get mail now.

    Without `room` the quota is left to who knows the message's size.
    """
    from mailtools.services.reception.limits import limits_of  # with the Maildir: at a RCPT only

    if not account.maildir:
        raise NoSuchMailbox
    if account.fields and account.fields.get("disabled", "no") != "no":
        raise MailboxDisabled
    limits = limits_of(account) if room else None
    if limits:
        from mailtools.store.quota import Quota

        try:
            full = not Quota(account.maildir, limits, writes=False).allows(1)
        except Failure:
            return  # not ours to read, or not there yet: the deliverer will see
        if full:
            raise MailboxFull


def _mailbox(account: Account, extension: str, owner: str, *, plain: bool = False) -> Target:
    return Target(Where.MAILBOX, "", account, extension, plain, account.uid, account.gid, owner)


def _refuse(word: Word) -> None:
    status, _, text = word.value.partition(" ")
    permanent = status.startswith("5")
    raise NoSuchMailbox(text, status=status, reply=550 if permanent else 450)
