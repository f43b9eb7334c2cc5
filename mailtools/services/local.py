"""Deliver here: mailboxes, programs, forwards; one report for each forward-path.

A forward-path is followed through the directory to its ends. What may be repeated goes first:
Maildirs, where a second attempt finds the first one's file; then programs; then, in one new queue
entry, the addresses elsewhere. So an attempt that is cut off repeats as little as can be, and one
that must wait (a mailbox is full) has run no program and sent nothing on.

On top stand Return-Path (RFC 5321 4.4) and Delivered-To; a message that has this very Delivered-To
already goes in a circle and fails (RFC 9228).
"""

from __future__ import annotations

import os
import re
import time
from binascii import crc32
from collections.abc import Iterator
from typing import Protocol

from mailtools import log
from mailtools.errors import Failure, MailboxFull, MailLoop, Misconfigured, SystemTrouble
from mailtools.mail.address import Address, parse_address
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.fields import header_end
from mailtools.mail.report import DELIVERED, EXPANDED, Report, report_failure
from mailtools.services.accounts import Account
from mailtools.services.agent import Job
from mailtools.services.aliases import Kind, Word
from mailtools.services.directory import Target, Where, check_account
from mailtools.services.limits import limits_of
from mailtools.services.local_child import Outcome, acting_as_owner, done_as
from mailtools.services.local_forward import included, own_rules
from mailtools.services.local_pipe import Errand, environment, owner_of, run
from mailtools.store.maildir import Maildir
from mailtools.store.queue import Queue
from mailtools.store.queue_id import arrival, is_id
from mailtools.store.quota import Quota

PROGRAM_LIMIT = 1000.0  # seconds, as Postfix' command_time_limit
MAILDIRS_MOST = 256  # kept in memory

_delivered_to = re.compile(rb"^delivered-to:[ \t]*(\S+)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_return_path = re.compile(rb"^return-path:.*\n(?:[ \t].*\n)*", re.MULTILINE | re.IGNORECASE)


class Ways(Protocol):
    """What is asked of the directory."""

    def resolve(self, address: Address) -> tuple[Target, ...]:
        """Give where a local address leads."""


class Parcel:
    """A message as it goes to one forward-path: what stands on top, and what it is called."""

    def __init__(self, job: Job, message: bytes) -> None:
        """Take the job and its message; the header is looked at once for all paths."""
        self.job = job
        self.message = message
        end = header_end(message)
        header = message[:end]
        folded = header.lower()
        self._visited: set[bytes] = set()
        if b"delivered-to:" in folded:
            self._visited = {value.lower() for value in _delivered_to.findall(header)}
        self._body = message
        if b"return-path:" in folded:  # ours replaces what is there (RFC 5321 4.4)
            self._body = _return_path.sub(b"", header) + message[end:]
        self.address = Address("", "")
        self.path = ""

    def for_path(self, path: str) -> None:
        """Turn to a forward-path; raise MailLoop where the message was there already."""
        self.path = path
        self.address = parse_address(path)
        if self._visited and path.lower().encode() in self._visited:
            raise MailLoop(f"The message was delivered to {path} already (RFC 9228)")

    @property
    def delivered_to(self) -> bytes:
        """The field that says where it is delivered to."""
        return b"Delivered-To: " + self.path.encode("utf-8", "surrogateescape") + b"\n"

    @property
    def pieces(self) -> tuple[bytes, bytes]:
        """The message for a mailbox, with its trace fields on top."""
        reverse_path = self.job.reverse_path.encode("utf-8", "surrogateescape")
        return b"Return-Path: <" + reverse_path + b">\n" + self.delivered_to, self._body

    @property
    def unique(self) -> str:
        """The left part of its name in a Maildir: the same in every attempt; "" without an ID."""
        id_ = self.job.id
        path = crc32(self.path.lower().encode("utf-8", "surrogateescape"))
        return f"{id_}Q{path:08x}" if is_id(id_) else ""


class Local:
    """The local delivery agent; `deliver` is what services/agent.py asks for."""

    def __init__(
        self,
        directory: Ways,
        queue: Queue | None = None,
        *,
        program_limit: float = PROGRAM_LIMIT,
    ) -> None:
        """Take the directory, and the queue for what is sent on."""
        self._directory = directory
        self._queue = queue
        self._limit = program_limit
        self._started = time.time()
        self._maildirs: dict[str, Maildir] = {}

    def deliver(self, job: Job) -> Iterator[Report]:
        """Deliver a message to each forward-path of a job."""
        parcel = Parcel(job, job.message())
        for path in job.forward_paths:
            try:
                yield self._deliver(parcel, path)
            except Failure as failure:
                if failure.detail:
                    log.event("trouble", id=job.id or None, to=f"<{path}>", detail=failure.detail)
                yield report_failure(path, failure)

    def _deliver(self, parcel: Parcel, path: str) -> Report:
        parcel.for_path(path)
        targets = self._directory.resolve(parcel.address)
        if len(targets) == 1 and targets[0].where is Where.MAILBOX:
            outcome = self._mailbox(parcel, targets[0])
            forwards = [(address, "") for address in outcome.forwards]
        else:
            outcome = Outcome()
            forwards = self._several(parcel, targets, outcome)
        if not forwards:
            return Report(path, DELIVERED, "2.0.0", outcome.text)
        ids = self._send_on(parcel, forwards)
        names = ", ".join(dict.fromkeys(address for address, _ in forwards))
        return Report(path, EXPANDED, "2.0.0", f"sent on to {names} as {' '.join(ids)}")

    def _several(
        self, parcel: Parcel, targets: tuple[Target, ...], outcome: Outcome
    ) -> list[tuple[str, str]]:
        """Do all ends but the forwards, which are given back with their reverse-paths."""
        refused: Failure | None = None
        forwards = [(t.value, t.owner) for t in targets if t.where is Where.FORWARD]
        for where in (Where.MAILBOX, Where.MAILDIR, Where.PROGRAM):
            for target in targets:
                if target.where is not where:
                    continue
                try:
                    done = self._target(parcel, target)
                except Failure as failure:
                    if not failure.permanent:
                        raise
                    refused = failure
                else:
                    outcome.text = f"{outcome.text}, {done.text}" if outcome.text else done.text
                    forwards += ((address, target.owner) for address in done.forwards)
        outcome.text = outcome.text or "thrown away, as its alias says"
        if refused:
            if forwards:
                self._send_on(parcel, forwards)
            raise refused
        return forwards

    def _target(self, parcel: Parcel, target: Target) -> Outcome:
        if target.where is Where.MAILBOX:
            return self._mailbox(parcel, target)
        if target.where is Where.PROGRAM:
            return self._alias_program(parcel, target)
        uid, gid = _writer_of(target) if os.geteuid() == 0 else (-1, -1)
        if uid == 0:
            if not target.by_hand:
                raise Misconfigured(detail=f"{target.value} lies in a folder of root's: chown it")
            return self._store(parcel, target.value)  # root at a shell named a folder of root's
        return done_as(uid, gid, "", lambda: self._store(parcel, target.value))

    # -- a mailbox --------------------------------------------------------------------------------

    def _mailbox(self, parcel: Parcel, target: Target) -> Outcome:
        account = target.account
        assert account
        check_account(account, room=False)

        def work() -> Outcome:
            rules = None
            if account.home and not target.plain:
                rules = own_rules(account.home, target.extension)
            if rules is None:
                return self._store(parcel, account.maildir, account)
            return self._own(parcel, account, target.extension, *rules)

        if os.geteuid() != 0:
            return work()
        return done_as(account.uid, account.gid, account.name, work)

    def _own(
        self, parcel: Parcel, account: Account, extension: str, words: list[Word], qmail: bool
    ) -> Outcome:
        """Do what a user's own .forward or .qmail says."""
        outcome = Outcome()
        own = {account.name.lower(), parcel.path.lower()}
        done: dict[str, None] = {}
        words = _unfolded(words)
        if not qmail:  # dot-qmail(5) keeps the order of the lines
            words.sort(key=lambda word: word.kind is Kind.PROGRAM)
        for word in words:
            if word.kind is Kind.PROGRAM:
                done[f"program {word.value.split()[0]}"] = None
                if self._own_program(parcel, account, extension, word.value, qmail):
                    break
            elif word.kind is Kind.MAILDIR:
                done[self._store(parcel, word.value).text] = None
            elif word.kind is Kind.PLAIN or word.value.lower() in own:
                done[self._store(parcel, account.maildir, account).text] = None
            elif word.kind is Kind.ADDRESS:
                outcome.forwards.append(self._whole(word.value, parcel))
        outcome.text = ", ".join(done) or "thrown away, as its user says"
        return outcome

    def _whole(self, name: str, parcel: Parcel) -> str:
        return name if "@" in name else str(Address(name, parcel.address.domain))

    def _own_program(
        self, parcel: Parcel, account: Account, extension: str, command: str, qmail: bool
    ) -> bool:
        told = environment(
            reverse_path=parcel.job.reverse_path,
            forward_path=parcel.address,
            user=account.name,
            home=account.home,
            extension=extension,
        )
        top, body = parcel.pieces
        stdin = body if qmail else top + body  # qmail-command(8) leaves that to preline(1)
        return run(Errand(command, told, account.home, stdin), self._limit)

    def _store(self, parcel: Parcel, path: str, account: Account | None = None) -> Outcome:
        """Put the message into a Maildir: on disk and synced when this returns."""
        top, body = parcel.pieces
        size = len(top) + len(body)
        quota = Quota(path, limits_of(account) if account else None)
        if not quota.allows(size):
            raise MailboxFull
        unique = parcel.unique
        delivery = self._maildir(path).begin(unique, repeated=self._maybe_repeated(parcel.job))
        try:
            delivery.write(top)
            delivery.write(body)
        except BaseException:
            delivery.abort()
            raise
        delivery.commit()
        quota.add(size, 1)
        return Outcome(f"delivered to {account.name if account else path}")

    def _maildir(self, path: str) -> Maildir:
        maildir = self._maildirs.get(path)
        if maildir is None:
            if len(self._maildirs) >= MAILDIRS_MOST:
                self._maildirs.clear()
            maildir = self._maildirs[path] = Maildir(path)
        return maildir

    def _maybe_repeated(self, job: Job) -> bool:
        """Whether an earlier attempt may have delivered this: then its file is looked for.

        Not for an entry that came after this agent was started, is still in new/, and of which no
        attempt is on record: it was in nobody's hands.
        """
        folder, id_ = os.path.split(job.path)
        queue, state = os.path.split(folder)
        if state != "new" or not is_id(id_) or arrival(id_) <= self._started:
            return bool(id_)
        return os.path.lexists(f"{queue}/log/{id_}")

    # -- aliases ----------------------------------------------------------------------------------

    def _alias_program(self, parcel: Parcel, target: Target) -> Outcome:
        user, home = owner_of(target.uid)
        told = environment(
            reverse_path=target.owner or parcel.job.reverse_path,
            forward_path=parcel.address,
            user=user,
            home=home,
            extension=target.extension,
        )
        stdin = b"".join(parcel.pieces)
        run(Errand(target.value, told, home, stdin, target.uid, target.gid), self._limit)
        return Outcome(f"program {target.value.split()[0]}")

    def _send_on(self, parcel: Parcel, forwards: list[tuple[str, str]]) -> list[str]:
        """Commit a new queue entry for each reverse-path; give their IDs."""
        if self._queue is None:
            raise SystemTrouble(detail=f"{parcel.path}: there is no queue to send on through")
        groups: dict[str, dict[str, None]] = {}
        for address, owner in forwards:
            # The null reverse-path stays: what answers it must find nobody (RFC 5321 4.5.5).
            reverse_path = (owner or parcel.job.reverse_path) if parcel.job.reverse_path else ""
            groups.setdefault(reverse_path, {})[address] = None
        with acting_as_owner(self._queue.path):
            return [self._commit(parcel, *group) for group in groups.items()]

    def _commit(self, parcel: Parcel, reverse_path: str, addresses: dict[str, None]) -> str:
        assert self._queue
        envelope = parcel.job.envelope
        # RFC 3461 5.2.7: a list (an alias with an owner) answers for its members itself.
        keeps = reverse_path == parcel.job.reverse_path
        told = parcel.job.parameters(parcel.path) if keeps else {}
        parameters = dict(envelope.parameters)
        if not keeps:
            parameters.pop("ENVID", None)
        paths = tuple(ForwardPath(address, told) for address in addresses)
        writer = self._queue.begin(Envelope(reverse_path, paths, parameters, envelope.client))
        try:
            writer.write(parcel.delivered_to)
            writer.write(parcel.message)
        except BaseException:
            writer.abort()
            raise
        return writer.commit()


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


def _writer_of(target: Target) -> tuple[int, int]:
    """Who writes a Maildir that is nobody's account: the alias' owner, or its folder's for root."""
    if target.uid > 0:
        return target.uid, target.gid
    path = target.value
    while path != "/":
        try:
            about = os.stat(path)
        except OSError:
            path = os.path.dirname(path)
            continue
        return about.st_uid, about.st_gid
    return 0, 0
