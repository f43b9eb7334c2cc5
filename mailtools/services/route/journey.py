"""The dry run: where mail for an address would go, step by step, and what would become of it.

Asks what local-deliver and relay-send ask, of the same modules, and delivers nothing.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mailtools.errors import Failure, MailLoop, NoSuchMailbox
from mailtools.mail.address import parse_address
from mailtools.services.access.account_line import Account
from mailtools.services.access.become import acting_for
from mailtools.services.local.aliases import Kind, Word
from mailtools.services.local.directory import Directory, check_account
from mailtools.services.local.forward import own_rules
from mailtools.services.local.way import Step, Steps, Target, Where
from mailtools.services.queue.transports import LOCAL, RELAY, Transports
from mailtools.services.reception.relay_domains import RelayDomains
from mailtools.services.route.way_out import WayOut
from mailtools.store.destinations import Destinations
from mailtools.store.suppressed import Suppression

DEPTH_MOST = 20  # forwards that lead to forwards


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the tale: how deep it stands, a label, a text."""

    depth: int
    label: str
    text: str

    def __str__(self) -> str:
        return f"{'  ' * self.depth}{self.label:<9} {self.text}".rstrip()


class Journey:
    """Follows addresses; `failures` has what would go wrong, in the order it was found."""

    def __init__(
        self,
        directory: Directory,
        transports: Transports,
        way_out: Callable[[], WayOut],
        silent: Destinations,
        *,
        sender: str = "",
        suppressed: Callable[[str], Suppression | None] = lambda address: None,
        relayed: RelayDomains | None = None,
        retries: Callable[[str], str] = lambda address: "",
    ) -> None:
        """`way_out` is made when mail first leaves this host; `sender` is the reverse-path.

        `suppressed` says what is known against an address that is not tried, `relayed` whose mail
        is taken from strangers, `retries` when an address is tried again that was put off.
        """
        self._relayed, self._retries = relayed, retries
        self._directory, self._transports, self._silent = directory, transports, silent
        self._suppressed = suppressed
        self._make_way_out = way_out
        self._way_out: WayOut | None = None
        self._sender = sender
        self._seen: set[str] = set()
        self.failures: list[Failure] = []

    @property
    def exit(self) -> int:
        """The exit code: 0, else 75 where trying again may help, else that of the first failure."""
        if any(not failure.permanent for failure in self.failures):
            return os.EX_TEMPFAIL
        return self.failures[0].exit if self.failures else os.EX_OK

    def follow(self, text: str, depth: int = 0) -> Iterator[Line]:
        """Yield the tale of an address."""
        yield Line(depth, "address", text)
        if text.lower() in self._seen:
            yield Line(depth + 1, "again", "this address stands above already")
            return
        self._seen.add(text.lower())
        try:
            if depth > DEPTH_MOST:
                raise MailLoop(f"More than {DEPTH_MOST} forwards one after the other")
            agent, destination = self._transports.find(text)
            words = shlex.split(agent)
            name = os.path.basename(words[0])
            if depth == 0:
                yield from self._at_the_door(text)
            if name == LOCAL:
                yield from self._local(text, depth + 1)
            elif name == RELAY:
                yield from self._away(text, words, destination, depth + 1)
            else:
                yield Line(depth + 1, "agent", f"{agent} (transports)")
        except Failure as failure:
            yield self._failed(failure, depth + 1)

    def _failed(self, failure: Failure, depth: int) -> Line:
        self.failures.append(failure)
        word = "refused" if failure.permanent else "put off"
        detail = "; ".join(failure.detail.split("\n"))
        text = f"{failure.text} ({detail})" if detail else failure.text
        return Line(depth, word, f"{failure.status} {text}")

    def _at_the_door(self, text: str) -> Iterator[Line]:
        """Tell whether strangers may write there, where it is no mailbox of this host."""
        address = parse_address(text) if "@" in text else None
        if address is None or self._relayed is None or self._directory.is_local(address.domain):
            return
        if line := self._relayed.find(address.domain):
            yield Line(1, "relayed", f"for anybody: {line} (relay-domains)")
            self._relayed.check(address)

    # -- here -------------------------------------------------------------------------------------

    def _local(self, text: str, depth: int) -> Iterator[Line]:
        address = parse_address(text) if "@" in text else parse_address(f"{text}@{self._home}")
        steps: Steps = []
        failure: Failure | None = None
        try:
            self._directory.resolve(address, steps)
        except Failure as found:
            failure = found
        for level, step in steps:
            if isinstance(step, Step):
                yield Line(depth + level, "alias", f"{step.name} ({step.place})")
            else:
                yield from self._end(step, depth + level)
        if failure is not None:
            yield self._failed(failure, depth)

    @property
    def _home(self) -> str:
        return self._directory.home

    def _end(self, target: Target, depth: int) -> Iterator[Line]:
        match target.where:
            case Where.MAILBOX if target.account:
                yield from self._mailbox(target, target.account, depth)
            case Where.MAILDIR:
                yield Line(depth, "maildir", target.value)
            case Where.PROGRAM:
                yield Line(depth, "program", f"{target.value} (as uid {target.uid})")
            case Where.NOTHING:
                yield Line(depth, "nothing", "it is thrown away")
            case Where.FORWARD:
                sender = target.owner or self._sender
                if sender:
                    yield Line(depth, "from", f"<{sender}>")
                yield from self.follow(target.value, depth)

    def _mailbox(self, target: Target, account: Account, depth: int) -> Iterator[Line]:
        yield Line(depth, "account", account.name)
        try:
            check_account(account)
            if os.geteuid() == 0 and account.uid < 0:
                raise NoSuchMailbox("nobody owns the mailbox", status="4.3.5")
        except Failure as failure:
            yield self._failed(failure, depth + 1)
            return
        rules = None if target.plain else self._rules(account, target.extension)
        if isinstance(rules, Failure):
            yield self._failed(rules, depth + 1)
        elif rules is None:
            yield Line(depth + 1, "maildir", account.maildir)
        else:
            for word in rules:
                yield from self._obeyed(word, account, depth + 1)

    def _rules(self, account: Account, extension: str) -> list[Word] | Failure | None:
        """Read a user's own .forward or .qmail, as he would."""
        if not account.home:
            return None
        try:
            with acting_for(account.home):
                found = own_rules(account.home, extension)
        except Failure as failure:
            return failure
        except FileNotFoundError:
            return None
        return found[0] if found else None

    def _obeyed(self, word: Word, account: Account, depth: int) -> Iterator[Line]:
        """Tell what one line of a user's rules does."""
        match word.kind:
            case Kind.PROGRAM:
                yield Line(depth, "program", f"{word.value} ({word.place})")
            case Kind.MAILDIR:
                yield Line(depth, "maildir", f"{word.value} ({word.place})")
            case Kind.PLAIN:
                yield Line(depth, "maildir", f"{account.maildir} ({word.place})")
            case Kind.ADDRESS if word.value.lower() == account.name.lower():
                yield Line(depth, "maildir", f"{account.maildir} ({word.place})")
            case Kind.ADDRESS:
                whole = word.value if "@" in word.value else f"{word.value}@{self._home}"
                yield Line(depth, "forward", word.place)
                yield from self.follow(whole, depth)
            case Kind.INCLUDE:
                yield Line(depth, "include", f"{word.value} ({word.place})")
            case _:
                yield Line(depth, "nothing", f"it is thrown away ({word.place})")

    # -- elsewhere --------------------------------------------------------------------------------

    def _away(self, text: str, words: list[str], destination: str, depth: int) -> Iterator[Line]:
        parse_address(text)
        if one := self._suppressed(text):
            since = time.strftime("%Y-%m-%d", time.localtime(one.since))
            yield Line(depth, "lift", f"queue-edit unsuppress {text}")
            raise NoSuchMailbox(
                f"Suppressed, since it was refused on {since}: {one.text}", status=one.status
            )
        silence = self._silent.silent(destination, time.time())
        if silence:
            until = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(silence.until))
            yield Line(
                depth,
                "silence",
                f"not tried before {until}, since it did not answer: {silence.text};"
                f" queue-run --domain {destination} tries now",
            )
        if self._way_out is None:
            self._way_out = self._make_way_out()
        if again := self._retries(text):
            yield Line(depth, "retry", again)
        for label, said in self._way_out.tell(text, words, self._sender):
            yield Line(depth, label, said)
        self.failures += self._way_out.failures
        self._way_out.failures.clear()
