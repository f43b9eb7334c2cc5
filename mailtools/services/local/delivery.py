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
from collections.abc import Iterator
from typing import Protocol

from mailtools import log
from mailtools.errors import Failure, MailLoop, Misconfigured, SystemTrouble
from mailtools.mail.address import Address, parse_address
from mailtools.mail.dsn_wishes import TOLD_BEYOND, sent_on
from mailtools.mail.envelope import JUNK, REJECTED, Envelope, ForwardPath
from mailtools.mail.fields import header_end
from mailtools.mail.report import DELIVERED, EXPANDED, Report, report_failure
from mailtools.mail.verp import XVERP
from mailtools.services.access.become import acting_for, owner_of
from mailtools.services.agent import Job
from mailtools.services.local.child import Deputies, Outcome
from mailtools.services.local.directory import check_account
from mailtools.services.local.mailbox import Letter, Mailboxes, order
from mailtools.services.local.onward import Onward
from mailtools.services.local.pipe import Errand, environment, run, user_of
from mailtools.services.local.way import Target, Where
from mailtools.services.reception.limits import kept_for
from mailtools.store.queue import Queue
from mailtools.store.queue_id import arrival, is_id

PROGRAM_LIMIT = 1000.0  # seconds, as Postfix' command_time_limit
DEPUTY_MORE = 120.0  # seconds for what else a mailbox wants done: a large one is counted anew

_delivered_to = re.compile(rb"^delivered-to:[ \t]*(\S+)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_return_path = re.compile(rb"^return-path:.*\n(?:[ \t].*\n)*", re.MULTILINE | re.IGNORECASE)


class Ways(Protocol):
    """What is asked of the directory."""

    def resolve(self, address: Address) -> tuple[Target, ...]:
        """Give where a local address leads."""


class Parcel:
    """A job's message, its header looked at once for all forward-paths."""

    def __init__(self, job: Job, repeated: bool) -> None:
        """Take the job; `repeated`: an earlier attempt may have delivered it."""
        self.job = job
        self.message = message = job.message()
        self._repeated = repeated
        end = header_end(message)
        header = message[:end]
        folded = header.lower()
        self.header = header
        self._visited: set[bytes] = set()
        if b"delivered-to:" in folded:
            self._visited = {value.lower() for value in _delivered_to.findall(header)}
        self._body = message
        if b"return-path:" in folded:  # ours replaces what is there (RFC 5321 4.4)
            self._body = _return_path.sub(b"", header) + message[end:]

    def letter(self, path: str) -> Letter:
        """Make the letter for a forward-path; raise MailLoop where it was delivered already."""
        if self._visited and path.lower().encode("utf-8", "surrogateescape") in self._visited:
            raise MailLoop(f"The message was delivered to {path} already (RFC 9228)")
        job = self.job
        junk = JUNK in job.envelope.parameters
        return Letter(
            job.id, job.reverse_path, path, self._body, repeated=self._repeated, junk=junk
        )


class Local:
    """The local delivery agent; `deliver` is what services/agent.py asks for."""

    def __init__(
        self,
        directory: Ways,
        queue: Queue | None = None,
        *,
        onward: Onward | None = None,
        program_limit: float = PROGRAM_LIMIT,
        rejects: float = 0.0,
    ) -> None:
        """Take the directory, and the queue and the rules for what is sent on.

        `rejects` is how many seconds rejects are kept where an account does not say.
        """
        self._rejects = rejects
        self._onward = onward or Onward(lambda _: False)
        self._directory = directory
        self._queue = queue
        self._limit = program_limit
        self._started = time.time()
        self._deputies = Deputies(Mailboxes(program_limit).work, program_limit + DEPUTY_MORE)

    def deliver(self, job: Job) -> Iterator[Report]:
        """Deliver a message to each forward-path of a job."""
        parcel = Parcel(job, self._maybe_repeated(job))
        for path in job.forward_paths:
            try:
                yield self._deliver(parcel, path)
            except Failure as failure:
                if failure.detail:
                    log.event("trouble", id=job.id or None, to=f"<{path}>", detail=failure.detail)
                yield report_failure(path, failure)

    def close(self) -> None:
        """Let go of the processes that deliver for others."""
        self._deputies.close()

    def _deliver(self, parcel: Parcel, path: str) -> Report:
        if REJECTED in parcel.job.envelope.parameters:
            return self._keep(parcel, path)
        letter = parcel.letter(path)
        targets = self._directory.resolve(parse_address(path))
        if len(targets) == 1 and targets[0].where is Where.MAILBOX:
            outcome = self._target(letter, targets[0])
            forwards = [(address, "") for address in outcome.forwards]
        else:
            outcome = Outcome()
            forwards = self._several(parcel, letter, targets, outcome)
        if not forwards:
            return Report(path, DELIVERED, "2.0.0", outcome.text)
        # RFC 3461 5.2.7.2: an alias of one address is told of where that is.
        alone = not outcome.text and len(forwards) == 1 and not forwards[0][1]
        ids = self._send_on(parcel, letter, forwards, alone=alone)
        names = ", ".join(dict.fromkeys(address for address, _ in forwards))
        done = f"{outcome.text}, " if outcome.text else ""
        status = TOLD_BEYOND if alone else "2.0.0"
        return Report(path, EXPANDED, status, f"{done}sent on to {names} as {' '.join(ids)}")

    def _keep(self, parcel: Parcel, path: str) -> Report:
        """File what was refused into the folder Rejects of who wants that, or throw it away.

        It is never sent on or given to a program, and no failure is told: the peer was refused.
        """
        try:
            letter = parcel.letter(path)
            targets = self._directory.resolve(parse_address(path))
            account = targets[0].account if len(targets) == 1 else None
            if account is None or not kept_for(account, self._rejects):
                return Report(path, DELIVERED, "2.0.0", "thrown away: it was refused")
            letter.rejected = True
            self._target(letter, targets[0]._replace(plain=True))
        except Failure as failure:
            return Report(path, DELIVERED, "2.0.0", f"thrown away, it was refused: {failure.text}")
        return Report(path, DELIVERED, "2.0.0", f"kept for {letter.path} in Rejects")

    def _several(
        self, parcel: Parcel, letter: Letter, targets: tuple[Target, ...], outcome: Outcome
    ) -> list[tuple[str, str]]:
        """Do all ends but the forwards, which are given back with their reverse-paths."""
        refused: Failure | None = None
        forwards = [(t.value, t.owner) for t in targets if t.where is Where.FORWARD]
        for where in (Where.MAILBOX, Where.MAILDIR, Where.PROGRAM):
            for target in targets:
                if target.where is not where:
                    continue
                try:
                    done = self._target(letter, target)
                except Failure as failure:
                    if not failure.permanent:
                        raise
                    refused = failure
                else:
                    outcome.text = f"{outcome.text}, {done.text}" if outcome.text else done.text
                    forwards += ((address, target.owner) for address in done.forwards)
        if not outcome.text and not forwards:
            outcome.text = "thrown away, as its alias says"
        if refused:
            if forwards:
                self._send_on(parcel, letter, forwards)
            raise refused
        return forwards

    def _target(self, letter: Letter, target: Target) -> Outcome:
        if target.where is Where.PROGRAM:
            return self._program(letter, target)
        account, value = target.account, target.value
        if account:
            check_account(account, room=False)
            letter.keep = kept_for(account, self._rejects)
            owner = (account.uid, account.gid, account.name)
            value = "plain" if target.plain else ""
        else:
            owner = (*_writer_of(target), "")
        said = order(letter, account, target.extension, value)
        return self._deputies.do(owner, said, letter.body)

    def _program(self, letter: Letter, target: Target) -> Outcome:
        user, home = user_of(target.uid)
        told = environment(
            reverse_path=target.owner or letter.reverse_path,
            forward_path=letter.address,
            user=user,
            home=home,
            extension=target.extension,
        )
        stdin = letter.top + letter.body
        run(Errand(target.value, told, home, stdin, target.uid, target.gid), self._limit)
        return Outcome(f"program {target.value.split()[0]}")

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

    # -- sending on -------------------------------------------------------------------------------

    def _send_on(
        self,
        parcel: Parcel,
        letter: Letter,
        forwards: list[tuple[str, str]],
        *,
        alone: bool = False,
    ) -> list[str]:
        """Commit a new queue entry for each reverse-path; give their IDs.

        `alone`: that is all that becomes of the message here.
        """
        if self._queue is None:
            raise SystemTrouble(detail=f"{letter.path}: there is no queue to send on through")
        self._onward.check(parcel.header, (address for address, _ in forwards))
        groups: dict[tuple[str, bool], dict[str, None]] = {}
        for address, owner in forwards:
            # The null reverse-path stays: what answers it must find nobody (RFC 5321 4.5.5).
            reverse_path = (owner or letter.reverse_path) if letter.reverse_path else ""
            groups.setdefault((reverse_path, self._onward.stays(address)), {})[address] = None
        with acting_for(self._queue.path):
            return [
                self._commit(parcel, letter, path, addresses, stays=stays, alone=alone)
                for (path, stays), addresses in groups.items()
            ]

    def _commit(
        self,
        parcel: Parcel,
        letter: Letter,
        reverse_path: str,
        addresses: dict[str, None],
        *,
        stays: bool,
        alone: bool,
    ) -> str:
        assert self._queue
        envelope = parcel.job.envelope
        # RFC 3461 5.2.7: a list (an alias with an owner) answers for its members itself.
        keeps = reverse_path == letter.reverse_path
        told = dict(parcel.job.parameters(letter.path)) if keeps else {}
        if keeps and reverse_path:
            told = sent_on(told, letter.path, alone=alone)
        parameters = dict(envelope.parameters)
        parameters.pop(XVERP, None)  # the reverse-path is that of this recipient already
        if not keeps:
            parameters.pop("ENVID", None)
        if keeps and not stays:
            reverse_path = self._onward.reverse_path(reverse_path, parameters)
        paths = tuple(ForwardPath(address, told) for address in addresses)
        writer = self._queue.begin(Envelope(reverse_path, paths, parameters, envelope.client))
        try:
            writer.write(letter.delivered_to)
            writer.write(parcel.message)
        except BaseException:
            writer.abort()
            raise
        return writer.commit()


def _writer_of(target: Target) -> tuple[int, int]:
    """Who writes a Maildir that is nobody's account: the alias' owner, or its folder's for root.

    A folder of root's is refused, unless root named it at a shell.
    """
    if target.uid > 0 or os.geteuid() != 0:
        return target.uid, target.gid
    uid, gid = owner_of(target.value)
    if uid == 0 and not target.by_hand:
        raise Misconfigured(detail=f"{target.value} lies in a folder of root's: chown it")
    return uid, gid
