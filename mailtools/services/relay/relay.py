"""What relay-send does: brings a message to the hosts that take mail for its forward-paths.

For each destination of a job: a connection that is still open, else the exchangers in order, until
every forward-path has an outcome that another exchanger could not better. All jobs run side by side
as tasks of one loop (net/loop.py). What is tried in one attempt is limited; the queue run makes
the next.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from mailtools import log
from mailtools.errors import Failure, SystemTrouble, TlsTrouble
from mailtools.mail.envelope import REPORT
from mailtools.mail.report import Report, report_failure
from mailtools.net.loop import Loop, Task
from mailtools.protocol.smtp.transaction import Login, Outcome, Transaction
from mailtools.services.agent import Job
from mailtools.services.relay import outgoing
from mailtools.services.relay.connections import (
    NOTHING,
    Connection,
    Manner,
    Pool,
    manner_of,
    place_of,
    weaker_manners,
)
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.families import Families
from mailtools.services.relay.plan import Planner, is_plain
from mailtools.services.relay.route import Destination, Route, Routes
from mailtools.services.relay.signing import Signing
from mailtools.services.relay.tls_floor import TlsFloor
from mailtools.services.relay.tls_policy import VERIFIED
from mailtools.services.relay.tls_rules import Planned, TlsRules
from mailtools.trust.tls_required import TlsWish

if TYPE_CHECKING:
    from mailtools.mail.tls_report import Applied
    from mailtools.net.dns import Resolver

ADDRESSES_MOST = 5  # addresses tried in one attempt (Postfix's smtp_mx_address_limit)
SESSIONS_MOST = 2  # of them, hosts that answered (Postfix's smtp_mx_session_limit)

NO_ANSWER = ("4.4.1", "4.4.3", "4.4.4")
NO_WAY = "4.4.0"

Say = Callable[[Report], None]
Credentials = Callable[[Route, str], "Login | None"]
"""Who we are to a host; a second argument is the secret it has refused, "" for none."""

ReversePath = Callable[[str, Mapping[str, str]], str]
"""Gives the reverse-path to send with, for that of an envelope and its parameters."""


def unchanged(path: str, _: Mapping[str, str]) -> str:
    """Give the envelope's own."""
    return path


class Relay:
    """Relays jobs side by side; `start` a job, turn the loop, hear its reports."""

    def __init__(
        self,
        loop: Loop,
        pool: Pool,
        routes: Routes,
        resolver: Callable[[], Resolver],
        *,
        credentials: Credentials | None = None,
        rules: TlsRules | None = None,
        signing: Signing | None = None,
        ignored: Mapping[str, tuple[str, ...]] = NOTHING,
        port: int = 25,
        sessions: Sessions | None = None,
        families: Families | None = None,
        floor: TlsFloor | None = None,
        reverse_path: ReversePath = unchanged,
    ) -> None:
        """Use `resolver` (made when first needed) for names; `port` is where exchangers listen.

        `ignored` has the extensions that are not used, by domain or by the host of a route;
        `sessions` notes for reports how TLS went, `floor` for ourselves.
        """
        self._floor = floor
        self._sessions = sessions
        self._signing = signing
        self._planner = Planner(pool.me, resolver, rules, families=families, port=port)
        self._loop, self._pool, self._routes = loop, pool, routes
        self._credentials, self._ignored = credentials, ignored
        self._reverse_path = reverse_path
        self.at_work = 0
        """Destinations of jobs under way."""

    def start(self, job: Job, say: Say) -> None:
        """Begin a job: `say` gets one report for each forward-path, sooner or later."""
        self.at_work += 1
        self._loop.spawn(self._begin(job, say))

    def _begin(self, job: Job, say: Say) -> Task[None]:
        """Read a job's entry, and begin what is to be done with it."""
        try:
            if outgoing.is_large(job):
                loaded = yield self._loop.in_thread(lambda: outgoing.load(job))
            else:
                loaded = outgoing.load(job)
            finish = None
            if self._signing is not None:
                finish = self._signing.finish(job.id, loaded.envelope, loaded.message)
        except Failure as failure:
            _log_trouble(job, failure)
            for path in job.forward_paths:
                say(report_failure(path, failure))
        else:
            reverse_path = self._reverse_path(job.reverse_path, loaded.envelope.parameters)
            for destination, paths in self._grouped(job, say).items():
                transaction = outgoing.transaction(job, reverse_path, tuple(paths), loaded, finish)
                attempt = _Attempt(job, transaction, loaded.wish, say, own=destination.own_way)
                attempt.counts = loaded.envelope.client != REPORT
                self.at_work += 1
                self._loop.spawn(self._guarded(attempt, destination))
        finally:
            self.at_work -= 1

    def _grouped(self, job: Job, say: Say) -> dict[Destination, list[str]]:
        groups: dict[Destination, list[str]] = {}
        for path in job.forward_paths:
            try:
                destination = self._routes.destination(path, job.reverse_path)
                groups.setdefault(destination, []).append(path)
            except Failure as failure:
                say(report_failure(path, failure))
        return groups

    def _guarded(self, attempt: _Attempt, destination: Destination) -> Task[None]:
        """Relay, and report what is left open, whatever happens."""
        yield self._pool.slot(destination.name)
        rest: Failure = SystemTrouble("No exchanger was tried")
        try:
            yield from self._relay(attempt, destination)
        except Failure as failure:
            _log_trouble(attempt.job, failure)
            rest = failure
        except Exception:
            traceback.print_exc()
            rest = SystemTrouble()
        finally:
            attempt.finish(rest)
            self._pool.release(destination.name)
            self.at_work -= 1

    # -- one attempt at one destination -----------------------------------------------------------

    def _relay(self, attempt: _Attempt, destination: Destination) -> Task[None]:
        # What a message asks of TLS is part of the name: only its equals share a connection.
        share = f"{destination.name} {attempt.wish} {destination.source or ''}"
        while attempt.open and (connection := self._pool.idle(share)):
            yield from self._use(attempt, connection)
            if not attempt.stale:
                break
        if not attempt.open:
            return
        planned: Planned = yield from self._plan(destination, attempt.wish)
        manner = yield from self._manner(destination)
        static = attempt.wish is TlsWish.OPTIONAL or self._planner.is_static(destination)
        floor = None if static else self._floor
        tried = sessions = 0
        for target, policy in self._answering_first(planned, manner):
            if target in attempt.asked or (tried and self._is_avoided(target, manner)):
                continue
            if not attempt.open or tried >= ADDRESSES_MOST or sessions >= SESSIONS_MOST:
                break
            fitting = replace(manner, policy=policy) if manner.policy is not policy else manner
            if manner.login and not (manner.login.plaintext or policy.authenticates):
                fitting = replace(manner, policy=VERIFIED)  # a secret is for its owner only
            if floor is not None:
                fitting = floor.raised(fitting, target)
            connection = yield from self._try(attempt, target, fitting, share)
            if connection is not None and connection.login_refused and fitting.login:
                manner = yield from self._manner(destination, fitting.login.secret)
                if manner.login != fitting.login:  # a token that had expired, and a new one
                    fitting = replace(fitting, login=manner.login)
                    connection = yield from self._try(attempt, target, fitting, share)
            if connection is not None and attempt.lacked:
                continue  # it cannot have this message at all: that is no word on the domain yet
            tried += connection is None or not connection.channel.no_route
            sessions += connection is not None and connection.spoke

    def _answering_first(self, planned: Planned, manner: Manner) -> Planned:
        """Put those that did not answer a while ago behind all others."""
        return sorted(planned, key=lambda each: self._is_avoided(each[0], manner))

    def _is_avoided(self, target: Target, manner: Manner) -> bool:
        return self._pool.health.avoided(place_of(target, manner))

    def _try(
        self, attempt: _Attempt, target: Target, manner: Manner, share: str
    ) -> Task[Connection | None]:
        """Try one target: by an open connection, by a new one, in plain where TLS fails.

        None where another attempt has just found that it does not answer.
        """
        open_one = self._pool.idle_at(target, manner, share)
        if open_one:
            yield from self._use(attempt, open_one)
            if not attempt.stale:
                return open_one
        silent: Failure | None = yield self._pool.health.enter(place_of(target, manner))
        if silent is not None:
            attempt.asked.add(target)
            attempt.fail(silent)
            return None
        connection = self._pool.make(target, manner, share)
        yield from self._use(attempt, connection)
        if self._sessions is not None and manner.policy.applied is not None and attempt.counts:
            self._sessions.session(manner.policy.applied, connection)
        for weaker in weaker_manners(manner):
            if not isinstance(connection.died, TlsTrouble):
                break
            log.event(
                "unsecured" if weaker.plain else "unverified",
                id=attempt.job.id or None,
                peer=target.peer,
                reason=connection.died.text,
            )
            attempt.stale = False
            connection = self._pool.make(target, weaker, share)
            yield from self._use(attempt, connection)
        while connection.engine.exhausted and attempt.open:  # RFC 9422: MAILMAX
            connection = self._pool.make(target, connection.manner, share)
            yield from self._use(attempt, connection)
        return connection

    def _use(self, attempt: _Attempt, connection: Connection) -> Task[None]:
        reused = connection.engine.transactions > 0
        outcomes: list[Outcome] = yield connection.send(attempt.transaction)
        if self._floor is not None:
            outcomes = self._remember(self._floor, connection, outcomes)
        attempt.stale = reused and connection.died is not None
        if not attempt.stale and not connection.engine.exhausted:
            attempt.asked.add(connection.target)
        level = connection.manner.policy.level
        facts = f"tls={connection.tls} tls_wanted={level}" if connection.answered else ""
        attempt.take(outcomes, facts)
        log.event(
            "attempted",
            id=attempt.job.id or None,
            peer=connection.target.peer,
            tls=connection.tls,
            tls_wanted=level,
            paths=len(outcomes),
            open=attempt.open or None,
        )
        self._pool.keep_idle(connection)

    def _remember(
        self, floor: TlsFloor, connection: Connection, outcomes: list[Outcome]
    ) -> list[Outcome]:
        """Note how TLS went, and say more of a host that had it before."""
        manner, target = connection.manner, connection.target
        if connection.tls != "none" and not isinstance(connection.died, TlsTrouble):
            floor.reached(manner, target)
        elif isinstance(connection.died, TlsTrouble):
            floor.failed(manner, target)
            if manner.remembered:
                return [_explained(outcome, manner.remembered) for outcome in outcomes]
        return outcomes

    # -- whom to ask, and how ---------------------------------------------------------------------

    def _plan(self, destination: Destination, wish: TlsWish) -> Task[Planned]:
        """Find the targets, each with what is asked of its TLS."""
        if is_plain(destination):
            return self._planner.plan(destination, wish)
        planned: Planned = yield self._loop.in_thread(lambda: self._planner.plan(destination, wish))
        return planned

    def _manner(self, destination: Destination, refused: str = "") -> Task[Manner]:
        route, credentials = destination.route, self._credentials
        login: Login | None = None
        if route is not None and credentials is not None:
            login = yield self._loop.in_thread(lambda: credentials(route, refused))
        return manner_of(destination, login, self._ignored)


class Sessions(Protocol):
    """Who notes for reports how TLS went (services/reports/tls_data.py)."""

    def session(self, applied: Applied, connection: Connection) -> None:
        """Note a session under a policy."""


class _Attempt:
    """What is known of one transaction's forward-paths while exchanger after exchanger is asked."""

    def __init__(
        self, job: Job, transaction: Transaction, wish: TlsWish, say: Say, *, own: bool = False
    ) -> None:
        self.job, self.wish, self._own = job, wish, own
        self.stale = False
        """The connection used last had been idle, and died: that says nothing of the peer."""
        self.lacked = False
        """The connection used last lacks an extension that the message cannot do without."""
        self.counts = True
        """How TLS goes is noted for reports: not for reports themselves (RFC 8460 3)."""
        self.asked: set[Target] = set()
        self._say = say
        self._first = transaction
        self._paths = {path.address: path for path in transaction.forward_paths}
        self._best: dict[str, Report] = {}

    @property
    def open(self) -> int:
        """How many forward-paths still have no final outcome."""
        return len(self._paths)

    @property
    def transaction(self) -> Transaction:
        """The transaction for the forward-paths that are open."""
        if len(self._paths) == len(self._first.forward_paths):
            return self._first
        return replace(self._first, forward_paths=tuple(self._paths.values()))

    def take(self, outcomes: list[Outcome], facts: str = "") -> None:
        """Report what is final, and remember the rest: another exchanger may do better.

        `facts` of the session go with each report.
        """
        self.lacked = bool(outcomes) and all(
            outcome.elsewhere and outcome.report.settled for outcome in outcomes
        )
        for outcome in outcomes:
            report = outcome.report._replace(facts=facts)
            address = report.forward_path
            if not outcome.elsewhere:
                if self._paths.pop(address, None) is not None:
                    self._tell(report)
            elif not self.stale and (address not in self._best or not report.settled):
                # A temporary failure somewhere outweighs permanent ones elsewhere.
                self._best[address] = report

    def fail(self, failure: Failure) -> None:
        """Remember why an exchanger could not be asked."""
        self.take([Outcome(report_failure(path, failure), True) for path in self._paths])

    def finish(self, rest: Failure) -> None:
        """Report every open forward-path: by what the exchangers said, else by `rest`."""
        for address in self._paths:
            self._tell(self._best.get(address) or report_failure(address, rest))
        self._paths.clear()

    def _tell(self, report: Report) -> None:
        if self._own and report.status in NO_ANSWER:
            # RFC 3463 3.5: no answer on this sender's way. The queue run is not to think that the
            # domain does not answer anybody.
            report = report._replace(status=NO_WAY)
        self._say(report)


def _explained(outcome: Outcome, why: str) -> Outcome:
    report = outcome.report
    return replace(outcome, report=report._replace(text=f"{report.text}; {why}"))


def _log_trouble(job: Job, failure: Failure) -> None:
    if failure.detail:
        log.event("trouble", id=job.id or None, detail=failure.detail)
