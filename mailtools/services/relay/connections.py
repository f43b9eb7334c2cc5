"""Open connections of relay-send: made, used for one job after the other, kept a few seconds.

A destination has a limit of tasks at work with it; who comes later waits for a slot. An idle
connection serves the next job for the same destination, or for another one that leads to the same
address under the same TLS policy.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from mailtools.errors import AuthTrouble, Failure, NoAnswer, TlsTrouble
from mailtools.net.channel import Channel
from mailtools.net.loop import Later, Loop
from mailtools.protocol.smtp.carrier import Carrier
from mailtools.protocol.smtp.client import LOGIN_REFUSED, SmtpClient
from mailtools.protocol.smtp.transaction import Login, Outcome, Tls, Transaction
from mailtools.services.relay import by_domain
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.health import Health, Place
from mailtools.services.relay.route import Destination
from mailtools.services.relay.source import Source
from mailtools.services.relay.tls_policy import OPPORTUNISTIC, Level, TlsPolicy, check_of

if TYPE_CHECKING:
    import ssl

SLOTS = 20  # tasks at work with one destination (Postfix's default_destination_concurrency_limit)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a target is spoken to; connections are shared only between equal ones."""

    policy: TlsPolicy
    lmtp: bool = False
    implicit_tls: bool = False
    login: Login | None = None
    loops: bool = True
    """Whether a peer that calls itself by our name is us."""
    plain: bool = False
    """STARTTLS has failed here before: do without."""
    ignored: tuple[str, ...] = ()
    """Extensions that are not used, though offered."""
    source: Source | None = None
    """From which address of ours, and how we greet; None: as the kernel has it."""
    remembered: str = ""
    """Why encryption is demanded, where only the host's past does so (tls_floor.py)."""
    quick: str = ""
    """`qmtp` or `qmqp`, where one of these is spoken."""


NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def manner_of(
    destination: Destination, login: Login | None, ignored: Mapping[str, tuple[str, ...]]
) -> Manner:
    """Say how a destination is spoken to; `ignored` as in `ignored-offers`."""
    route, source = destination.route, destination.source
    left_out = by_domain.find(ignored, route.host if route else destination.domain) or ()
    if route is None:
        return Manner(OPPORTUNISTIC, ignored=left_out, source=source)
    return Manner(
        OPPORTUNISTIC,
        route.lmtp,
        route.implicit_tls,
        login,
        loops=bool(destination.domain),  # an address literal may be one of ours
        ignored=left_out,
        source=source,
        quick=route.quick,
    )


def client_of(target: Target, manner: Manner, me: str, keep: float) -> Carrier:
    """Make the engine that speaks to a target in its manner, and greets as `me` by default."""
    if manner.quick:
        from mailtools.protocol.qmtp.client import QmtpClient  # few routes say so

        qmqp, secured = manner.quick == "qmqp", manner.implicit_tls
        return QmtpClient(target.peer, qmqp=qmqp, tls=starttls(manner), secured=secured, keep=keep)
    return SmtpClient(
        (manner.source.hello if manner.source else "") or me,
        target.peer,
        tls=starttls(manner),
        secured=manner.implicit_tls,
        lmtp=manner.lmtp,
        login=manner.login,
        loops=manner.loops,
        keep=keep,
        ignored=manner.ignored,
    )


class Connection:
    """One connection: an engine on a channel, and the outcome that is waited for."""

    def __init__(
        self,
        pool: Pool,
        target: Target,
        manner: Manner,
    ) -> None:
        """Prepare a connection; `send` makes it."""
        self.target, self.manner = target, manner
        self.destination = ""
        """Whom it serves now."""
        source = manner.source
        self._source = source.towards(target.address) if source else ""
        self._place = place_of(target, manner)
        self.engine = client_of(target, manner, pool.me, pool.keep)
        self.channel = Channel(
            pool.loop,
            self.engine,
            self._progress,
            tls=lambda: pool.context(manner.policy),
            host=expected_name(target, manner),
            check=check_of(manner.policy),
            implicit=manner.implicit_tls,
        )
        self._pool = pool
        self._begun = self._known = False
        self._result: Later[list[Outcome]] | None = None

    @property
    def usable(self) -> bool:
        """Whether it can take another transaction now."""
        return self.engine.idle and not self.channel.closed

    @property
    def answered(self) -> bool:
        """Whether the peer has said anything."""
        return self.engine.answered

    @property
    def spoke(self) -> bool:
        """Whether the peer has answered, and was not left for want of TLS."""
        return self.answered and not isinstance(self.died, TlsTrouble)

    @property
    def died(self) -> Failure | None:
        """Why it ended early."""
        return self.engine.died

    @property
    def login_refused(self) -> bool:
        """Whether it ended since the peer did not take our secret."""
        died = self.engine.died
        return isinstance(died, AuthTrouble) and died.status == LOGIN_REFUSED

    @property
    def tls(self) -> str:
        """The TLS version reached, `none` without TLS."""
        session = self.channel.tls
        return (session.version() or "none") if session is not None else "none"

    def send(self, transaction: Transaction) -> Later[list[Outcome]]:
        """Do a transaction; the outcomes of all its forward-paths come later."""
        self._result = Later()
        self.engine.send(transaction)
        if self._begun:
            self.channel.wake()
        else:
            self._begun = True
            self.channel.connect(self.target.address, self.target.port, self._source)
        return self._result

    def quit(self) -> None:
        """Say goodbye and close."""
        self.engine.quit()
        self.channel.wake()

    def _progress(self) -> None:
        if not self._known and (self.channel.reached or self.channel.closed):
            self._known = True
            if self.channel.reached:
                self._pool.health.reached(self._place)
            else:
                self._pool.health.failed(self._place, self.died or NoAnswer())
        result = self._result
        if result is not None and not self.engine.busy and (self.usable or self.engine.leaving):
            self._result = None
            result.put(self.engine.collect())
        if self.channel.closed:
            self._pool.forget(self)


class Pool:
    """All connections, and who may make more."""

    def __init__(
        self,
        loop: Loop,
        me: str,
        context: Callable[[TlsPolicy], ssl.SSLContext],
        *,
        slots: int = SLOTS,
        keep: float = 5.0,
    ) -> None:
        """Greet as `me`; `keep` is how many seconds an idle connection stays open."""
        self.loop, self.me, self.context, self.keep = loop, me, context, keep
        self.health = Health()
        """Which addresses answer."""
        self._slots = slots
        self._taken: dict[str, int] = {}
        self._waiting: dict[str, deque[Later[None]]] = {}
        self._all: set[Connection] = set()
        self._idle: dict[str, list[Connection]] = {}

    def slot(self, destination: str) -> Later[None]:
        """Wait until one more task may work with a destination; `release` gives it back."""
        later: Later[None] = Later()
        if self._taken.get(destination, 0) < self._slots:
            self._taken[destination] = self._taken.get(destination, 0) + 1
            later.put(None)
        else:
            self._waiting.setdefault(destination, deque()).append(later)
        return later

    def release(self, destination: str) -> None:
        """Give a slot back: the next in line has it."""
        waiting = self._waiting.get(destination)
        if waiting:
            waiting.popleft().put(None)
            return
        self._waiting.pop(destination, None)
        self._taken[destination] -= 1
        if not self._taken[destination]:
            del self._taken[destination]

    def make(self, target: Target, manner: Manner, destination: str) -> Connection:
        """Make a new connection for a destination."""
        connection = Connection(self, target, manner)
        connection.destination = destination
        self._all.add(connection)
        return connection

    def idle(self, destination: str) -> Connection | None:
        """Take an idle connection that last served this destination."""
        connections = self._idle.get(destination, [])
        while connections:
            connection = connections.pop()
            if connection.usable:
                return connection
        self._idle.pop(destination, None)
        return None

    def idle_at(self, target: Target, manner: Manner, destination: str) -> Connection | None:
        """Take an idle connection to the same address, spoken to in the same manner."""
        for connections in self._idle.values():
            for connection in connections:
                if (
                    connection.usable
                    and connection.manner == manner
                    and connection.target == target
                ):
                    connections.remove(connection)
                    connection.destination = destination
                    return connection
        return None

    def keep_idle(self, connection: Connection) -> None:
        """Put a connection back after its transaction."""
        if connection.usable:
            self._idle.setdefault(connection.destination, []).append(connection)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is closed."""
        self._all.discard(connection)
        idle = self._idle.get(connection.destination)
        if idle and connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[connection.destination]

    def quit(self) -> None:
        """Say goodbye on all idle connections."""
        for connection in list(self._all):
            if connection.usable:
                connection.quit()

    def close(self) -> None:
        """Cut what is still open."""
        for connection in list(self._all):
            connection.channel.close()

    @property
    def empty(self) -> bool:
        """Whether no connection is open."""
        return not self._all


def weaker_manners(manner: Manner) -> list[Manner]:
    """Give the manners to fall back on, one after the other, where TLS fails and may."""
    if manner.implicit_tls or manner.plain or manner.policy.mandatory:
        return []
    plain = replace(manner, policy=OPPORTUNISTIC, plain=True)
    if manner.policy.level is Level.VERIFY:  # an MTA-STS policy in testing
        return [replace(manner, policy=OPPORTUNISTIC), plain]
    return [plain]


def place_of(target: Target, manner: Manner) -> Place:
    """Say what is remembered of a target that does not answer."""
    source = manner.source
    return target.address, target.port, source.towards(target.address) if source else ""


def starttls(manner: Manner) -> Tls:
    """Say what the client is to make of STARTTLS."""
    if manner.implicit_tls or manner.plain or manner.policy.level is Level.NONE:
        return Tls.NEVER
    return Tls.MUST if manner.policy.mandatory else Tls.MAY


def expected_name(target: Target, manner: Manner) -> str | None:
    """Give the name for the handshake, and for the certificate where that counts."""
    if manner.policy.names:
        return manner.policy.names[0]  # RFC 7672 8.1
    named = target.host != target.address
    return target.host if named or manner.policy.level is Level.VERIFY else None
