"""A session of smtpd-accept whose milters have a say in each step.

Our own rules come first, as in Postfix: milters are asked about what we would take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mailtools.errors import Failure, UnknownCommand
from mailtools.mail.address import Address
from mailtools.services.reception.milter.entry import Filtered
from mailtools.services.reception.milter.session import MilterSession
from mailtools.services.reception.session import Reception

if TYPE_CHECKING:
    from mailtools.net.session import Peer
    from mailtools.net.stream import Stream
    from mailtools.protocol.smtp.session import Sink
    from mailtools.services.access.account_line import Account
    from mailtools.services.reception.intake import Entries
    from mailtools.services.reception.milter.session import Milters
    from mailtools.services.reception.policy import Policy


class MilterReception:
    """A Reception (protocol/smtp/session.py) behind milters. Its user ends it with `close`."""

    def __init__(
        self,
        milters: Milters,
        policy: Policy,
        stream: Stream,
        peer: Peer,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Take the milters, what Reception takes, and who is told what milters say."""
        self._tell = tell
        self._milters, self._behind, self._stream = milters, policy, stream
        self._reception = Reception(policy._replace(screen=self._entries), stream, peer)
        self._mechanism = ""
        self._id = ""
        self._taken: set[str] = set()
        self._session = self._meet()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reception, name)

    def _meet(self) -> MilterSession:
        peer, _, _ = self._reception.known
        milters = self._milters
        if peer.address in milters.exempt:
            milters = milters._replace(rows=())
        return MilterSession(milters, peer, self._tell)

    # -- the peer ---------------------------------------------------------------------------------

    def greet(self, *, early: bool) -> None:
        """Begin: the milters are told who the peer is."""
        self._reception.greet(early=early)
        _, _, stranger = self._reception.known
        self._session.greet(stranger.iprev() if stranger is not None else None)

    def hello(self, name: str, verb: str) -> None:
        """Take the peer's name."""
        self._reception.hello(name, verb)
        if name:  # peers of QMTP have none
            self._session.hello(name, self._stream.tls)

    def authenticated(self, mechanism: str, identity: Account) -> None:
        """Go on with an account."""
        self._reception.authenticated(mechanism, identity)
        self._mechanism = mechanism

    def secured(self) -> None:
        """Go on under TLS, as if nothing had been said before."""
        self._reception.secured()
        self._mechanism = ""

    def xclient(self, attributes: Mapping[str, str]) -> None:
        """Take the peer to be somebody else: whom milters have not seen either."""
        self._reception.xclient(attributes)
        _, account, _ = self._reception.known
        self._mechanism = "XCLIENT" if account else ""
        self._session.close()
        self._session = self._meet()

    # -- the message ------------------------------------------------------------------------------

    def mail(self, reverse_path: Address | None, parameters: dict[str, str]) -> None:
        """Begin a message."""
        self._reception.mail(reverse_path, parameters)
        self._taken.clear()
        self._id = self._behind.queue.new_id(time.time())
        macros = {"i": self._id}
        _, account, _ = self._reception.known
        if account is not None:
            macros |= {"auth_authen": account.name, "auth_type": self._mechanism}
        try:
            self._session.mail(reverse_path, parameters, macros)
        except Failure:
            self.reset()
            raise

    def rcpt(self, forward_path: Address, parameters: dict[str, str]) -> None:
        """Add a forward-path."""
        if not forward_path.domain:  # <postmaster>
            forward_path = Address(forward_path.local, self._behind.home)
        try:
            self._reception.rcpt(forward_path, parameters)
        except Failure as failure:
            self._session.rcpt_refused(forward_path, parameters, failure)
            raise
        local = self._behind.directory.is_local(forward_path.domain)
        try:
            self._session.rcpt(forward_path, parameters, local=local)
        except Failure:
            if str(forward_path) not in self._taken:  # else it was promised before
                self._reception.forget(forward_path)
            raise
        self._taken.add(str(forward_path))

    def data(self) -> Sink:
        """Give where the message goes."""
        self._session.data()
        return self._reception.data()

    def _entries(self, told: Mapping[str, str]) -> Entries:
        policy = self._behind
        behind = policy.screen(told) if policy.screen else policy.queue
        return Filtered(self._session, behind, self._id, f"{policy.queue.path}/tmp")

    def reset(self) -> None:
        """Forget the message."""
        self._taken.clear()
        self._reception.reset()
        self._session.reset()

    # -- the end ----------------------------------------------------------------------------------

    def refused(self, command: str, argument: str, failure: Failure) -> None:
        """Log a refusal; milters hear of commands that nobody knows."""
        self._reception.refused(command, argument, failure)
        if command and isinstance(failure, UnknownCommand):
            self._session.unknown(command)

    def close(self) -> None:
        """End the session with the milters."""
        self._session.close()
