"""Checks of what the operator wrote: the control folder, accounts, addresses, who may read what."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from mailtools.errors import BadAddress, Failure
from mailtools.mail.address import Address, parse_domain
from mailtools.services.access.account_line import Account
from mailtools.services.access.accounts import Accounts
from mailtools.services.check.finding import Finding, complaints, fault, said, warning
from mailtools.services.check.foreign import FOREIGN
from mailtools.services.local.directory import POSTMASTER, Directory

LIFETIME_LEAST = 3600  # seconds
RETRY_LEAST = 60
OURS = ("app-passwords",)  # files of the control folder that are no settings
_BESIDE = (
    ".lock",
    "~",
    ".bak",
    ".orig",
    ".old",
    ".new",
    ".swp",
    ".rpmsave",
    ".dpkg-old",
    ".dpkg-dist",
)
_assignment = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_for_shell = re.compile(r"[^\w/.+-]")
_KEYS = (".pem", ".key", ".crt", ".private")


def control_folder(folder: str, known: Collection[str]) -> Iterator[Finding]:
    """Look for files that nobody reads: a setting whose name is misspelt is no setting."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield fault(folder, f"cannot be read: {error.strerror}")
        return
    for name in names:
        path = os.path.join(folder, name)
        if name in known or name in OURS or name[0] in ".#" or os.path.isdir(path):
            continue
        if name.endswith((*_BESIDE, *_KEYS)):
            continue
        if name in FOREIGN:
            whose, ours = FOREIGN[name]
            mend = f"say it in {os.path.join(folder, ours)}; see mailtools-switching(7)"
            yield fault(path, f"is a name of {whose}'s: here it is {ours}", mend)
            continue
        near = _nearest(name, known)
        if near:
            target = os.path.join(folder, near)
            there = os.path.exists(target)
            mend = f"take over what it says into {target}" if there else f"mv {path} {target}"
            yield fault(path, f"is no setting; {near} is", mend)
        else:
            yield warning(path, "is no setting: nobody reads it", "see mailtools-control(5)")


def _nearest(name: str, known: Collection[str]) -> str:
    from difflib import get_close_matches

    return next(iter(get_close_matches(name.lower().replace("_", "-"), known, 1, 0.75)), "")


def names(me: str, domains: Iterable[str]) -> Iterator[Finding]:
    """Look at the names of this host and of its domains."""
    for setting, name in (("me", me), *(("locals", domain) for domain in domains)):
        try:
            parse_domain(name.removeprefix(".") if setting == "locals" else name)
        except BadAddress as failure:
            mend = "a name a line, as in example.org: no dot at the end, no blanks"
            yield fault(setting, f"{name!r}: {failure.text}", mend)
    if "." not in me:
        yield warning(
            "me", f"{me!r} is no full name; many hosts refuse to be greeted with it",
            "echo mail.YOUR.DOMAIN > me",
        )  # fmt: skip


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def accounts(
    book: Accounts,
    is_local: Callable[[str], bool],
    *,
    system_users: bool,
    mends: Mapping[str, str],
) -> Iterator[Finding]:
    """Look at the accounts, and at the mailboxes that are there."""
    yield from complaints(book.everyone, mends)
    try:
        everyone = book.everyone()
    except Failure:
        return
    if not everyone and not system_users:
        yield warning("accounts", "nobody has a mailbox here", "mail-account add LOGIN")
    root = os.geteuid() == 0
    of_root = [one.name for one in everyone if one.uid == 0 and one.maildir] if root else []
    if of_root:
        yield warning(
            f"accounts: {of_root[0]}", "its mailbox belongs to root: IMAP, POP3 and deliveries run"
            f" as root{f', and {len(of_root) - 1} more' if len(of_root) > 1 else ''}",
            "name another user in mailbox-owner, or as its uid",
        )  # fmt: skip
    for account in everyone:
        where = f"accounts: {account.name}"
        if account.maildir:
            yield from _mailbox(account, root=root)
        elif _reads(account):
            yield warning(
                where, "has no Maildir: no mail comes to it",
                "echo '/srv/mail/%d/%n' > maildir, or give it a home; services=submission is for"
                " who only sends",
            )  # fmt: skip
        domain = account.name.rpartition("@")[2] if "@" in account.name else ""
        if domain and account.maildir and not is_local(domain):
            yield warning(
                where, f"{domain} is not local here: no mail comes to it",
                f"echo {domain} >> locals, or mend the login",
            )  # fmt: skip


def _reads(account: Account) -> bool:
    services = account.fields.get("services", "imap").split(",")
    return "nologin" not in account.fields and not {"imap", "pop3"}.isdisjoint(services)


def times(given: Mapping[str, int]) -> Iterator[Finding]:
    """Look for times that stand there without a unit: who wrote 5 meant days."""
    for name in ("lifetime", "bounce-lifetime"):
        if given[name] < LIFETIME_LEAST:
            yield warning(
                name, f"a message is given up after {given[name]} s", f"echo 5d > {name}"
            )  # fmt: skip
    if given["retry-first"] < RETRY_LEAST:
        yield warning(
            "retry-first", f"{given['retry-first']} s are so short that hosts take it for abuse",
            "echo 5min > retry-first",
        )  # fmt: skip
    if given["retry-most"] < given["retry-first"]:
        yield warning("retry-most", "is shorter than retry-first", "rm retry-most")


def _mailbox(account: Account, *, root: bool) -> Iterator[Finding]:
    where = f"accounts: {account.name}"
    if root and account.uid < 0:
        yield fault(where, "nobody owns the mailbox", "echo USER > mailbox-owner")
        return
    about = _stat(account.maildir)
    if about is None:
        return  # it is made with the first message
    path = shlex.quote(account.maildir)
    if root and about.st_uid != account.uid:
        mend = f"chown -R {account.uid}:{account.gid} {path}"
        yield fault(
            where, f"{account.maildir} belongs to uid {about.st_uid}, the account to {account.uid}",
            mend if account.uid else "name another user than root in mailbox-owner, or as its uid",
        )  # fmt: skip
    if about.st_mode & 0o002:
        yield fault(where, f"others may write {account.maildir}", f"chmod o-w {path}")


def maildirs(book: Accounts) -> list[str]:
    """Give the Maildirs of the accounts; none where the file has faults."""
    try:
        return [account.maildir for account in book.everyone() if account.maildir]
    except Failure:
        return []


def addresses(
    directory: Directory, domains: Iterable[str], mends: Mapping[str, str]
) -> Iterator[Finding]:
    """Look where all aliases lead, and whether each domain has its postmaster (RFC 5321 4.5.1)."""
    found = directory.faults()
    yield from said(found, mends)
    if found:
        return
    for domain in domains:
        if domain[:1] == ".":
            continue
        try:
            directory.resolve(Address(POSTMASTER, domain))
        except Failure as failure:
            yield fault(
                f"{POSTMASTER}@{domain}", (failure.detail or failure.text).split(": ")[-1],
                f"echo '{POSTMASTER}: LOGIN' >> aliases",
            )  # fmt: skip


def programs(table: Mapping[str, str]) -> Iterator[Finding]:
    """Look for the programs that settings name: the setting and its place, the command line."""
    import shutil

    for where, command in table.items():
        try:
            words = shlex.split(command)
        except ValueError as error:
            yield fault(where, f"{command!r}: {error}")
            continue
        while words and _assignment.match(words[0]):  # content-programs are lines of sh(1)
            words.pop(0)
        if words and not _for_shell.search(words[0]) and not shutil.which(words[0]):
            yield fault(where, f"there is no program {words[0]}", "give its whole path")
