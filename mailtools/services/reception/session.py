"""What smtpd-accept decides: who may send what to whom, and that it is queued before it is taken.

A Reception is the Session of one connection (protocol/smtp/session.py); a Policy (policy.py) is
what is the same for all of them. Recipients are checked during RCPT: what is taken here can be
delivered or relayed, so no bounce goes to a forged sender.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from mailtools import log
from mailtools.errors import (
    AuthRequired,
    Failure,
    PolicyRefused,
    RelayDenied,
    SystemTrouble,
    TlsRequired,
    TooManyRecipients,
)
from mailtools.mail.address import Address
from mailtools.mail.envelope import SUBMITTED, Envelope, ForwardPath
from mailtools.services.access.certificate import login_of
from mailtools.services.access.networks import is_loopback
from mailtools.services.reception.release import check_release, release_until

if TYPE_CHECKING:
    from mailtools.net.crowd import Crowd
    from mailtools.net.session import Peer
    from mailtools.net.stream import Stream
    from mailtools.protocol.sasl import server as sasl
    from mailtools.protocol.smtp.session import Sink
    from mailtools.services.access.account_line import Account
    from mailtools.services.reception.intake import HeaderWork
    from mailtools.services.reception.policy import Policy
    from mailtools.services.reception.received import Hop
    from mailtools.services.reception.stranger import Stranger

PATHS_TOLD = 20  # recipients that a log line names
FREE_ERRORS = 3  # refusals since the last message that are answered at once

_NOT_KEPT = frozenset(("SIZE", "AUTH"))  # parameters that are about this session only


class Reception:
    """One connection."""

    def __init__(self, policy: Policy, stream: Stream, peer: Peer) -> None:
        self._policy = policy
        self._stream = stream
        self._peer = peer
        self._account: Account | None = None
        self._hello = ""
        self._verb = ""
        self._tls = ""
        self.secure = False
        self.release_until = release_until() if policy.clients_only else ""
        self._relay_client = "RELAYCLIENT" in os.environ  # UCSPI's word for it, tcprules(1)
        self._begin: tuple[str, dict[str, str]] | None = None
        self._paths: dict[str, ForwardPath] = {}
        self._stranger: Stranger | None = None
        self._refusals = 0
        self._certified = ""
        self._meet()

    def _meet(self) -> None:
        """Work out what the peer's address alone decides."""
        policy, address = self._policy, self._peer.address
        self._relay_client = self._relay_client or address in policy.relay_clients
        self.trusted = self._relay_client or policy.lmtp
        self.xclient_allowed = address in policy.xclient_clients
        if policy.belief is not None:
            from mailtools.services.reception.stranger import meet  # DNS, cryptography

            self._stranger = meet(policy.belief, address, self._peer.local)
        self._see_tls()

    def _see_tls(self) -> None:
        policy, tls = self._policy, self._stream.tls
        self._tls, self.secure = self._peer.tls, tls is not None or bool(self._peer.tls)
        if tls is not None:
            name, _, bits = tls.cipher() or ("unknown", "", 0)
            self._tls = f"{tls.version()} with cipher {name} ({bits}/{bits} bits)"
        self.mechanisms: tuple[str, ...] = ()
        self.plaintext_refused = False
        if policy.accounts is None or self._account is not None:
            return
        if self.secure or policy.plaintext_login:
            self.mechanisms = policy.accounts.mechanisms()
            self._certified = login_of(policy.accounts, tls)
            if self._certified:
                self.mechanisms = ("EXTERNAL", *self.mechanisms)
        else:
            self.plaintext_refused = policy.starttls

    # -- who is there -----------------------------------------------------------------------------

    @property
    def known(self) -> tuple[Peer, Account | None, Stranger | None]:
        """Whom the session is with, as far as that is known."""
        return self._peer, self._account, self._stranger

    def greet(self, *, early: bool) -> None:
        """Turn away who talks before the greeting, or comes too often."""
        crowd = self._crowd()
        if crowd is not None:
            self._keep_to(crowd.enter(self._peer.address))
        if early and not self.trusted:
            raise PolicyRefused("Protocol error: you talked before the greeting", status="5.5.0")

    def _crowd(self) -> Crowd | None:
        return None if self._near or self.trusted or self.xclient_allowed else self._policy.crowd

    @property
    def _near(self) -> bool:
        """Whether the peer is a process of this host, or our proxy: no limit is made for it."""
        peer = self._peer
        return not peer.address or peer.probe or is_loopback(peer.address)

    def _keep_to(self, limit: str) -> None:
        if limit:
            text = f"Too many {limit} from {self._peer}, try again later"
            raise PolicyRefused(text, status="4.7.0", reply=421)

    def secured(self) -> None:
        """Forget who the peer said it was, and note the cipher."""
        self._hello, self._verb, self._account = "", "", None
        self.trusted = self._relay_client or self._policy.lmtp
        self._see_tls()

    def hello(self, name: str, verb: str) -> None:
        """Take the peer's name."""
        self._hello, self._verb = name, verb

    def authenticate(self, mechanism: str) -> sasl.Exchange[Account]:
        """Begin an authentication."""
        from mailtools.protocol.sasl.server import start  # at a login only
        from mailtools.services.access.login import Login

        accounts = self._policy.accounts
        assert accounts is not None
        login = Login(
            accounts,
            service="submission",
            address=self._peer.address,
            certificate_login=self._certified,
            tls=self._tls.partition(" ")[0],
        )
        return start(mechanism, login)

    def authenticated(self, mechanism: str, identity: Account) -> None:
        """Trust the peer with that account's rights."""
        self._account = identity
        self.mechanisms = ()
        self.trusted = True

    def xclient(self, attributes: Mapping[str, str]) -> None:
        """Take the peer to be whom a trusted proxy says (Postfix's XCLIENT)."""
        peer = self._peer
        self._peer = peer._replace(
            address=attributes.get("ADDR", peer.address),
            port=int(attributes.get("PORT") or 0),
            name=attributes.get("NAME", peer.name),
            local=attributes.get("DESTADDR", peer.local),
            local_port=int(attributes.get("DESTPORT") or peer.local_port),
        )
        self._hello, self._account = attributes.get("HELO", ""), None
        self._verb = "HELO" if attributes.get("PROTO") == "SMTP" else "EHLO"
        self._relay_client = False
        self._meet()
        login, accounts = attributes.get("LOGIN", ""), self._policy.accounts
        if login and accounts is not None:
            account = accounts.find(login)
            address = self._peer.address
            if account is None or not accounts.may_log_in(account, "submission", address):
                raise PolicyRefused(f"No account that may log in: {login}")
            self.authenticated("XCLIENT", account)

    def turn(self, node: str, *, subdomains: bool) -> int:
        """Make due what waits for a domain; give how many messages that are."""
        from mailtools.services.reception.etrn import turn  # rare

        policy, wanted = self._policy, f".{node}" if subdomains else node
        if policy.directory.is_local(node):
            text = f"Node {node} not allowed: its mail is delivered here"
            raise PolicyRefused(text, status="4.7.0", reply=459)
        mark = f"@{node}" if subdomains else node
        if not self.trusted:
            # By the line of relay-domains: a stranger could ask for any number of subdomains.
            relayed = policy.relay_domains
            mark = relayed.find(wanted) if relayed and self.may_turn else ""
            if not mark:
                text = f"Node {node} not allowed: who may relay may ask"
                raise RelayDenied(text, status="4.7.1", reply=459)
        return turn(policy.queue, node, str(self._peer), subdomains=subdomains, mark=mark)

    @property
    def may_turn(self) -> bool:
        """Whether the peer may ask for something by ETRN."""
        policy = self._policy
        return self.trusted or (policy.relay_domains is not None and not policy.clients_only)

    # -- the envelope -----------------------------------------------------------------------------

    def mail(self, reverse_path: Address | None, parameters: dict[str, str]) -> None:
        """Begin a message, where its sender may send it and there is room."""
        policy, account = self._policy, self._account
        if account is None:
            self._keep_to_clients()
        elif reverse_path is not None and policy.submission is not None:
            policy.submission.check_sender(account, reverse_path)
        crowd = self._crowd()
        if crowd is not None:
            self._keep_to(crowd.message(self._peer.address))
        check_release(parameters, time.time())
        policy.room.check(int(parameters.get("SIZE", "0")))
        kept = {key: value for key, value in parameters.items() if key not in _NOT_KEPT}
        self._begin = (str(reverse_path) if reverse_path else "", kept)

    def _keep_to_clients(self) -> None:
        """Refuse who has not logged in where only mail clients are served."""
        policy = self._policy
        if policy.clients_only and policy.starttls and not self.secure:
            raise TlsRequired
        if policy.clients_only and not self._relay_client:
            raise AuthRequired

    def rcpt(self, forward_path: Address, parameters: dict[str, str]) -> None:
        """Add a forward-path: a mailbox here, or anybody's where the peer may relay."""
        assert self._begin is not None
        policy = self._policy
        if not forward_path.domain:
            forward_path = Address(forward_path.local, policy.home)  # <postmaster>
        if policy.directory.is_local(forward_path.domain):
            if policy.check_mailboxes:
                policy.directory.check(forward_path)
        elif policy.relay_domains and policy.relay_domains.find(forward_path.domain):
            policy.relay_domains.check(forward_path)
        elif not (self._relay_client or self._account is not None):
            raise RelayDenied
        if not self._begin[0] and self._paths and not self.trusted:
            # A bounce is for one; a server that says 452 is given the others one by one.
            raise TooManyRecipients("One recipient for a message from <>")
        if self._stranger is not None and not self.trusted:
            self._stranger.rcpt(self._hello, self._begin[0], forward_path)
        address = str(forward_path)
        self._paths[address] = ForwardPath(address, parameters)

    def forget(self, forward_path: Address) -> None:
        """Drop the forward-path that was just added."""
        self._paths.pop(str(forward_path), None)

    def data(self) -> Sink:
        """Give where the message goes."""
        from mailtools.services.reception.intake import (  # at the first message
            Intake,
            one_after_other,
            without_forged,
        )

        policy, peer = self._policy, self._peer
        assert self._begin is not None
        self._refusals = 0
        reverse_path, parameters = self._begin
        binary = parameters.get("BODY") == "BINARYMIME"
        if binary:
            parameters = {**parameters, "BODY": "8BITMIME"}
        if self._relay_client or self._account is not None:
            parameters = {**parameters, SUBMITTED: ""}
        client = f"{peer.address or 'local'} {self._hello if peer.address else peer.user}".rstrip()
        envelope = Envelope(reverse_path, tuple(self._paths.values()), parameters, client)
        account = self._account
        hop = self._hop(utf8="SMTPUTF8" in parameters)
        facts: dict[str, object] = {
            "client": str(peer),
            "local_user": peer.user or None,
            "helo": self._hello or None,
            "protocol": hop.protocol,
            "user": account.name if account else None,
        }
        work: HeaderWork | None = None
        if policy.authserv_id and not self._relay_client:
            work = without_forged(policy.authserv_id)
        if policy.submission is not None and (policy.clients_only or account is not None):
            mend = policy.submission.header_work(account, reverse_path)
            work = one_after_other(work, mend) if work else mend
        intake = Intake(
            policy.screen(self._told()) if policy.screen else policy.queue,
            envelope,
            hop,
            hops=policy.hops,
            facts=facts,
            work=work,
            binary=binary,
            hold=partial(policy.budget.hold, account) if policy.budget and account else None,
        )
        paths = list(self._paths)
        if self.trusted or policy.clients_only:
            return policy.correspondents().sink(intake, paths) if policy.correspondents else intake
        sink: Sink = intake
        if self._stranger is not None:
            sink = self._stranger.sink(intake, self._hello, reverse_path, paths, binary=binary)
        return policy.rejects().sink(sink, hop, reverse_path, paths) if policy.rejects else sink

    def _hop(self, *, utf8: bool) -> Hop:
        """Say how the message comes in, for its Received field."""
        from mailtools.services.reception.received import Hop, protocol_name

        policy, peer, account = self._policy, self._peer, self._account
        name = peer.name
        if self._stranger is not None and not self.trusted:
            name = self._stranger.name()
        hidden = policy.hide_client and account is not None
        return Hop(
            hello="" if hidden else self._hello,
            address="" if hidden else peer.address,
            peer_name="" if hidden else (name if peer.address else peer.user),
            here=policy.me,
            protocol=protocol_name(
                self._verb, secure=self.secure, identified=account is not None, utf8=utf8
            ),
            tls=self._tls,
        )

    def _told(self) -> dict[str, str]:
        """What programs are told of the peer, in UCSPI's words where it has some."""
        peer, account = self._peer, self._account
        told = {"TCPREMOTEIP": peer.address, "TCPREMOTEHOST": peer.name, "HELO": self._hello}
        return {**told, "USER": account.name if account else ""}

    def reset(self) -> None:
        """Forget the envelope."""
        self._begin = None
        self._paths = {}

    # -- what is noted ----------------------------------------------------------------------------

    def refused(self, command: str, argument: str, failure: Failure) -> None:
        """Log a refusal, with the envelope as far as it is known."""
        log.event(
            "refused",
            at=command.lower() or "line",
            said=argument or None,
            code=failure.reply,
            status=failure.status,
            client=str(self._peer),
            helo=self._hello or None,
            user=self._account.name if self._account else None,
            from_=f"<{self._begin[0]}>" if self._begin else None,
            to=self._told_paths() if command == "message" else None,
            text=failure.text,
            detail=failure.detail or None,
        )
        self._refusals += 1
        extra = self._refusals - FREE_ERRORS
        if extra > 0 and self._policy.tarpit and not self._near and not self.trusted:
            self._stream.linger(min(2.0 ** min(extra - 1, 30), self._policy.tarpit))

    def _told_paths(self) -> str | None:
        paths = [f"<{path}>" for path in self._paths]
        more = f" and {len(paths) - PATHS_TOLD} more" if len(paths) > PATHS_TOLD else ""
        return ",".join(paths[:PATHS_TOLD]) + more or None

    def mishap(self, error: Exception) -> Failure:
        """Log our own mistake with its traceback; the peer may try again."""
        import traceback  # costs 8 ms, and is never needed

        for line in "".join(traceback.format_exception(error)).splitlines():
            log.line(line)
        return SystemTrouble(detail=repr(error))

    def lost(self, command: str) -> None:
        """Log that the peer left without QUIT in the middle of something."""
        if self._begin is not None or command == "package":
            log.event("lost", client=str(self._peer), helo=self._hello or None, after=command)
