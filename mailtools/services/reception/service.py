"""A session of smtpd-accept from its first octet to its last."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from mailtools.errors import Failure
from mailtools.mail.reply import reply
from mailtools.net.drive import LOGIN_TIME, drive
from mailtools.net.session import Peer
from mailtools.net.stream import Stream
from mailtools.protocol.smtp.server import SmtpServer
from mailtools.protocol.smtp.session import Settings
from mailtools.services.access.networks import NOBODY, Networks
from mailtools.services.access.proxied import serve_peer
from mailtools.services.reception.policy import Policy
from mailtools.services.reception.session import Reception

if TYPE_CHECKING:
    import ssl

    from mailtools.protocol.engine import Engine
    from mailtools.protocol.smtp.session import Session
    from mailtools.services.reception.quick import Quick


class SmtpService:
    """All that sessions share; call it with a stream and its peer to serve one."""

    def __init__(
        self,
        policy: Policy,
        settings: Settings,
        tls: Callable[[], ssl.SSLContext] | None = None,
        implicit_tls: bool = False,
        proxies: Networks = NOBODY,
        *,
        quick: Quick | None = None,
    ) -> None:
        """Take the rules, the engine's settings, and what gives a TLS context (None: no TLS).

        From `proxies` a PROXY header is awaited, and believed. `quick` has another protocol spoken.
        """
        self.policy, self.settings = policy, settings
        self.tls, self.implicit_tls = tls, implicit_tls
        self.proxies, self.quick = proxies, quick

    def __call__(self, stream: Stream, connected: Peer) -> None:
        """Serve one session; raise ConnectionDied or TlsTrouble where the connection broke."""
        serve_peer(stream, connected, self.proxies, self._serve)

    def _serve(self, stream: Stream, found: Peer) -> None:
        if self.implicit_tls:
            assert self.tls is not None
            stream.start_tls(self.tls())
        try:
            with session_of(self.policy, stream, found) as session:
                engine: Engine = (
                    self.quick.engine(session)
                    if self.quick is not None
                    else SmtpServer(session, self.settings)
                )
                drive(
                    engine,
                    stream,
                    self.tls,
                    lifetime=partial(self._lifetime, session),
                    hurried=lambda: stream.pressed() and not session.trusted,
                )
        finally:
            if self.policy.crowd is not None:
                self.policy.crowd.leave()

    def _lifetime(self, session: Session) -> float:
        """How many seconds it may last: a mail client that does not log in has a while."""
        if self.quick is not None:
            return self.quick.lifetime
        return math.inf if session.trusted or not self.policy.clients_only else LOGIN_TIME


@contextmanager
def session_of(
    policy: Policy, stream: Stream, peer: Peer, tell: Callable[[str], None] | None = None
) -> Iterator[Session]:
    """Make what answers the engine's questions, and end it behind the session.

    `tell` is told what milters say.
    """
    if policy.milters is None or peer.probe:
        yield Reception(policy, stream, peer)
        return
    from mailtools.services.reception.milter.reception import MilterReception  # few sites have any

    session = MilterReception(policy.milters, policy, stream, peer, tell)
    try:
        yield session
    finally:
        session.close()


def preload() -> None:
    """Load what a session needs later than its banner: a listener does it before it forks."""
    import datetime  # noqa: F401
    import ipaddress  # noqa: F401
    import shlex  # noqa: F401
    import traceback  # noqa: F401

    import mailtools.services.access.app_passwords
    import mailtools.services.access.login
    import mailtools.services.reception.etrn
    import mailtools.services.reception.intake
    import mailtools.services.reception.limits
    import mailtools.services.reception.mending
    import mailtools.store.quota
    import mailtools.trust.authres
    import mailtools.trust.srs  # noqa: F401
    from mailtools.mail.address import ascii_domain

    ascii_domain("é")  # idna loads its tables at the first such domain


def turn_away(name: str) -> Callable[[Failure], bytes]:
    """Give the function that says in SMTP's words that there can be no session now."""

    def words(failure: Failure) -> bytes:
        return bytes(reply(421, failure.status, f"{name} {failure.text}"))

    return words
