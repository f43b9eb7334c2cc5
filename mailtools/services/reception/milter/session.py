"""All milters of a site in one session: what each is told, and what its answers are worth.

At each stage they are asked in their order, until one refuses. As with Sendmail and Postfix a
refusal of the peer itself is said at the greeting where it is for good, and else at each MAIL.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from mailtools import log
from mailtools.errors import Failure, PolicyRefused
from mailtools.mail.envelope import SCREENED
from mailtools.mail.reply import Reply
from mailtools.protocol.milter.answers import Answer, Quarantined, Verdict
from mailtools.protocol.milter.client import DATA, RCPT, UNKNOWN
from mailtools.protocol.milter.wire import text
from mailtools.services.access.networks import NOBODY, Networks, is_loopback
from mailtools.services.reception.milter.link import Link, Milter

if TYPE_CHECKING:
    import ssl

    from mailtools.mail.address import Address
    from mailtools.net.session import Peer
    from mailtools.services.reception.milter.changes import Draft
    from mailtools.trust.iprev import IprevResult

_NO_NAME = "unknown"  # Postfix' word in {client_name}; Sendmail and milters know [address] too
_RESOLVED = {"pass": "OK", "fail": "FORGED", "temperror": "TEMP", "permerror": "FAIL"}
_SAID = {  # what Postfix says where a milter gave no reply of its own
    Verdict.REJECT: Reply(550, "5.7.1", ("Command rejected",)),
    Verdict.TEMPFAIL: Reply(451, "4.7.1", ("Service unavailable - try again later",)),
    Verdict.SHUTDOWN: Reply(421, "4.7.0", ("Server closing connection",)),
}
_MESSAGE = "message"


class Milters(NamedTuple):
    """What is the same for all sessions."""

    rows: tuple[Milter, ...]
    me: str
    version: str
    """What the macro v says."""
    exempt: Networks = NOBODY
    """Clients whose mail no milter sees."""
    iprev: Callable[[str], IprevResult] | None = None
    """Looks up the name of an address."""


class MilterSession:
    """The milters of one session. Each step raises the Failure with which a milter refuses it."""

    def __init__(
        self, milters: Milters, peer: Peer, tell: Callable[[str], None] | None = None
    ) -> None:
        """Take the milters, whom the session is with, and who is told each verdict in words."""
        self._milters, self._peer, self._tell = milters, peer, tell
        self._links = [Link(milter) for milter in milters.rows]
        self._macros: dict[str, str] = {}
        self._message: dict[str, str] = {}
        self.discarded = ""
        """Which milter wants the message in hand to vanish; "" where none does."""
        self.reason = ""
        """Why the message in hand is to be held."""

    # -- the peer ---------------------------------------------------------------------------------

    def greet(self, found: IprevResult | None) -> None:
        """Connect to the milters, and say who the peer is; `found` is its name in DNS."""
        peer = self._peer
        near = not peer.address or is_loopback(peer.address)
        if found is None and not near and not peer.name and self._milters.iprev:
            found = self._milters.iprev(peer.address)
        self._macros = _peer_macros(self._milters, peer, found)
        name = self._macros["client_name"]
        shown = f"[{peer.address}]" if name == _NO_NAME else name
        where = b"U"  # a pipe has no address
        if peer.address:
            family = b"6" if ":" in peer.address else b"4"
            where = family + peer.port.to_bytes(2) + text(peer.address)
        self._for_peer("connect", lambda link: link.greet(text(shown) + where, self._macros))

    def hello(self, name: str, tls: ssl.SSLObject | None) -> None:
        """Say what the peer calls itself, and how safe its connection is."""
        self._macros = {**self._macros, **_tls_macros(tls)}
        self._for_peer("helo", lambda link: link.hello(text(name), self._macros))

    def _for_peer(self, at: str, ask: Callable[[Link], Answer]) -> None:
        for link in self._links:
            answer = ask(link)
            self._note(link, at, answer)
            if not answer.refuses:
                continue
            failure = failure_of(answer)
            # Any other refusal is for MAIL: a peer is greeted by 220, 554 or 421, and EHLO by 250.
            if failure.reply == 421 or (failure.permanent and at == "connect"):
                raise failure
            return

    # -- the envelope -----------------------------------------------------------------------------

    def mail(
        self, path: Address | None, parameters: Mapping[str, str], more: Mapping[str, str]
    ) -> None:
        """Begin a message; `more` are the macros i and auth_*."""
        self.reset()
        self._message = {**self._macros, **more}
        macros = {**self._message, "mail_addr": str(path or ""), "mail_mailer": "smtp"}
        macros["mail_host"] = path.domain if path else ""
        words = _words(path, parameters)
        self._ask("mail", lambda link: link.mail(words, macros))

    def rcpt(self, path: Address, parameters: Mapping[str, str], *, local: bool) -> None:
        """Add a forward-path."""
        macros = {**self._message, "rcpt_addr": str(path), "rcpt_host": path.domain}
        macros["rcpt_mailer"] = "local" if local else "smtp"
        words = _words(path, parameters)
        self._ask("rcpt", lambda link: link.tell(RCPT, words, macros))

    def rcpt_refused(self, path: Address, parameters: Mapping[str, str], why: Failure) -> None:
        """Tell those who want to know it that we refuse a forward-path ourselves."""
        macros = {**self._message, "rcpt_mailer": "error", "rcpt_addr": why.text}
        macros["rcpt_host"] = why.status
        for link in self._links:
            if link.wants_refused:
                link.tell(RCPT, _words(path, parameters), macros)

    def data(self) -> None:
        """Say that the message comes."""
        self._ask("data", lambda link: link.tell(DATA, b"", self._message))

    def unknown(self, command: str) -> None:
        """Say that there was a command that nobody knows; our own answer stands."""
        for link in self._links:
            link.tell(UNKNOWN, text(command), {})

    def reset(self) -> None:
        """End the message in hand, if there is one; never raises."""
        self.discarded = self.reason = ""
        for link in self._links:
            link.reset()

    def close(self) -> None:
        """End the session; never raises."""
        for link in self._links:
            link.close()
        self._links = []

    def _ask(self, at: str, ask: Callable[[Link], Answer]) -> None:
        for link in () if self.discarded else self._links:
            answer = ask(link)
            self._note(link, at, answer)
            self._take(link, answer)

    def _take(self, link: Link, answer: Answer) -> None:
        if answer.refuses:
            raise failure_of(answer)
        if answer.verdict is Verdict.DISCARD:
            self.discarded = link.milter.name
        for change in answer.changes:
            if isinstance(change, Quarantined):
                why = f": {change.reason}" if change.reason else ""
                self.reason = self.reason or f"the milter {link.milter.name}{why}"

    # -- the message ------------------------------------------------------------------------------

    def examine(self, draft: Draft) -> None:
        """Let each milter see the message as those before it made it; raise what refuses it."""
        found = []  # in the words of content programs
        for link in self._links:
            if self.discarded:
                return
            start = time.monotonic()
            answer = link.message(draft.header, draft.body, self._message)
            self._note(link, _MESSAGE, answer, seconds=f"{time.monotonic() - start:.2f}")
            self._take(link, answer)
            was_junk = draft.junk
            draft.apply(answer.changes)
            found.append(f"{link.milter.name}:{99 if draft.junk and not was_junk else 0}")
            for complaint in draft.complaints:
                log.event(
                    "trouble", milter=link.milter.name, id=self._message.get("i"),
                    detail=f"a change that cannot be made: {complaint}",
                )  # fmt: skip
            draft.complaints.clear()
        parameters = {**draft.envelope.parameters, SCREENED: " ".join(found)}
        draft.envelope = draft.envelope._replace(parameters=parameters)

    def _note(self, link: Link, at: str, answer: Answer, **more: str) -> None:
        """Log what is no mere going on, and the end of each message."""
        if at != _MESSAGE and answer.verdict is Verdict.CONTINUE and not answer.changes:
            return
        changes = Counter(type(change).__name__ for change in answer.changes)
        facts = {
            "verdict": answer.verdict,
            "said": str(answer.reply) if answer.reply else None,
            "changes": ",".join(f"{name}:{count}" for name, count in changes.items()) or None,
            **more,
        }
        name, id_ = link.milter.name, self._message.get("i")
        log.event("filtered", id=id_, milter=name, at=at, client=str(self._peer), **facts)
        if self._tell is not None:
            said = [str(value) for key, value in facts.items() if value and key != "seconds"]
            self._tell(f"milter {name}: {at}: {' '.join(said)}")


def failure_of(answer: Answer) -> Failure:
    """Make the failure of an answer that refuses."""
    reply, usual = answer.reply, _SAID[answer.verdict]
    if reply is None:
        reply = usual
    between = " " if reply.code == 421 else "\n"
    lines = between.join(reply.lines).strip()
    return PolicyRefused(lines or usual.text, status=reply.status or usual.status, reply=reply.code)


def _words(path: Address | None, parameters: Mapping[str, str]) -> bytes:
    """Say a path and its parameters as MAIL and RCPT have them."""
    pairs = (f"{key}={value}" if value else key for key, value in parameters.items())
    return text(f"<{path or ''}>", *pairs)


def _peer_macros(milters: Milters, peer: Peer, found: IprevResult | None) -> dict[str, str]:
    near = not peer.address or is_loopback(peer.address)
    name = pointer = peer.name or ("localhost" if near else "")
    resolved = "OK" if name else "FAIL"
    if found is not None and not name:
        pointer, resolved = found.name, _RESOLVED.get(found.result, "FAIL")
        name = pointer if resolved == "OK" else ""
    address = f"IPv6:{peer.address}" if ":" in peer.address else peer.address
    forged = " (may be forged)" if pointer and not name else ""
    return {
        "j": milters.me,
        "daemon_name": milters.me,
        "daemon_addr": peer.local,
        "daemon_port": str(peer.local_port),
        "v": milters.version,
        "_": f"{pointer or _NO_NAME} [{peer.address}]{forged}",
        "client_addr": address,
        "client_port": str(peer.port),
        "client_name": name or _NO_NAME,
        "client_ptr": pointer or _NO_NAME,
        "client_resolve": resolved,
    }


def _tls_macros(tls: ssl.SSLObject | None) -> dict[str, str]:
    if tls is None:
        return {}
    name, _, bits = tls.cipher() or ("unknown", "", 0)
    macros = {"tls_version": tls.version() or "", "cipher": name, "cipher_bits": str(bits)}
    certificate: dict[str, Any] = dict(tls.getpeercert() or {})
    for macro, part in (("cert_subject", "subject"), ("cert_issuer", "issuer")):
        pairs = [pair for group in certificate.get(part, ()) for pair in group]
        common = [str(value) for key, value in pairs if key == "commonName"]
        if common:
            macros[macro] = common[0]
    return macros
