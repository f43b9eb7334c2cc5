"""A session by hand from an address that somebody only pretends to have: what would we say to it?

All rules and checks are those of a real session; what they find is told on stderr as it is found,
and nothing stays: the queue, the counts and the marks are those of a folder that is removed again.
Only the greylist is the real one, which is read and not written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mailtools.errors import Failure, Usage
from mailtools.net.drive import drive
from mailtools.net.session import Peer
from mailtools.protocol.smtp.server import SmtpServer
from mailtools.services.reception.service import session_of

if TYPE_CHECKING:
    from mailtools.mail.address import Address
    from mailtools.net.stream import Stream
    from mailtools.protocol.smtp.session import Session, Sink
    from mailtools.services.reception.service import SmtpService
    from mailtools.services.reception.stranger import Stranger

Tell = Callable[[str], None]


def read_pretended(text: str) -> tuple[str, str]:
    """Read `ADDRESS[:HELO]`, an IPv6 address before a HELO in brackets; raise Usage."""
    import ipaddress

    if text.startswith("["):
        address, _, rest = text[1:].partition("]")
        hello = rest.removeprefix(":")
    elif text.count(":") > 1:
        address, hello = text, ""
    else:
        address, _, hello = text.partition(":")
    try:
        return str(ipaddress.ip_address(address)), hello
    except ValueError:
        form = "192.0.2.7, 192.0.2.7:mail.example.com or [2001:db8::7]:mail.example.com"
        raise Usage(f"{text!r} is no client: {form} expected") from None


def rehearse(service: SmtpService, stream: Stream, address: str, hello: str, tell: Tell) -> None:
    """Serve one session as if its peer had that address; a `hello` is said for it.

    Raises ConnectionDied or TlsTrouble.
    """
    policy, peer = service.policy, Peer(address)
    stranger = None
    if policy.belief is not None:
        from mailtools.services.reception.stranger import meet  # DNS, cryptography

        stranger = meet(policy.belief, address, "")
    # A script says all at once.
    settings = service.settings._replace(synchronous=False, greet_delay=0.0)
    if service.implicit_tls:
        assert service.tls is not None
        stream.start_tls(service.tls())
    with session_of(policy, stream, peer, tell) as real:
        session = Rehearsed(real, stranger, tell)
        engine = SmtpServer(session, settings)
        if hello:
            verb = "LHLO" if settings.lmtp else "EHLO"
            engine.receive(f"{verb} {hello}\r\n".encode("utf-8", "surrogateescape"))
        drive(engine, stream, service.tls)


class Rehearsed:
    """A Reception (protocol/smtp/session.py) that tells what each step found."""

    def __init__(self, reception: Session, stranger: Stranger | None, tell: Tell) -> None:
        """Take the session, its peer where it is judged, and where to tell it."""
        self._reception, self._stranger, self._tell = reception, stranger, tell
        self._hello = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reception, name)

    def hello(self, name: str, verb: str) -> None:
        """Take the peer's name, and tell what it and the address are worth."""
        self._hello = name
        self._reception.hello(name, verb)
        stranger = self._stranger
        if self._reception.trusted or stranger is None:
            why = "the peer may relay" if self._reception.trusted else "the checks are off"
            self._tell(f"peer: not judged, {why}")
            return
        listed, iprev = stranger.listed(), stranger.iprev()
        self._tell(f"helo: {stranger.helo(name)}")
        self._tell(f"iprev: {' '.join(filter(None, (iprev.result, iprev.name, iprev.problem)))}")
        self._tell(f"lists: score {listed.score}")
        for hit in (*listed.hits, *listed.problems):
            self._tell(f"lists: {hit}")

    def mail(self, reverse_path: Address | None, parameters: dict[str, str]) -> None:
        """Begin a message, and tell what SPF says."""
        self._reception.mail(reverse_path, parameters)
        stranger = self._stranger
        if stranger is not None and not self._reception.trusted:
            spf = stranger.spf(self._hello, str(reverse_path) if reverse_path else "")
            reason = f'the domain says: "{spf.explanation}"' if spf.explanation else ""
            said = (spf.result, f"for {spf.domain}", spf.problem, reason)
            self._tell(f"spf: {' '.join(filter(None, said))}")

    def rcpt(self, forward_path: Address, parameters: dict[str, str]) -> None:
        """Add a forward-path, and tell that it is taken; a refusal is told as any other."""
        self._reception.rcpt(forward_path, parameters)
        self._tell(f"recipient: {forward_path} taken")

    def data(self) -> Sink:
        """Give where the message goes."""
        return Told(self._reception.data(), self._tell)

    def xclient(self, attributes: Mapping[str, str]) -> None:
        """Refuse: one pretence is enough."""
        raise Usage("No XCLIENT in a rehearsal", status="5.5.1", reply=502)


class Told:
    """The sink of one message, which tells its end; what was found in it is in the log's line."""

    def __init__(self, sink: Sink, tell: Tell) -> None:
        """Take the sink, and where to tell it."""
        self._sink, self._tell = sink, tell
        self.write, self.abort = sink.write, sink.abort

    def commit(self) -> str:
        """Judge the message."""
        try:
            text = self._sink.commit()
        except Failure as failure:
            self._tell(f"message: refused, {failure.reply} {failure.status} {failure.text}")
            raise
        self._tell("message: would be queued; nothing was")
        return f"{text}, in a rehearsal only"
