"""What the SMTP engine asks of the service behind it, and what it is told once.

Silence is consent; refusal is an exception: a Failure becomes a reply, in one place of the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mailtools.errors import Failure
    from mailtools.mail.address import Address
    from mailtools.protocol.sasl.server import Exchange


class Settings(NamedTuple):
    """What is the same for all sessions of a server."""

    name: str
    """Our name, in the greeting."""
    size: int = 26214400
    """The largest message in octets, as they come on the wire; 0 for any."""
    recipients: int = 1000
    """The most forward-paths of a message; RFC 5321 4.5.3.1.8 wants 100 at least."""
    lmtp: bool = False
    """Speak LMTP (RFC 2033): LHLO, and an answer for each forward-path."""
    submission: bool = False
    """Peers are mail clients (RFC 6409)."""
    qualify: str = ""
    """The domain of addresses that come without one; "" refuses them."""
    starttls: bool = False
    """There is a certificate."""
    patience: float = 300.0
    """Seconds to wait for the peer: RFC 5321 4.5.3.2.7 wants 5 minutes at least."""
    greet_delay: float = 0.0
    """Seconds to wait before the greeting: who talks meanwhile is no mail server."""
    synchronous: bool = True
    """End the session of a peer that talks before its turn (RFC 2920 3.1)."""
    mend_lines: bool = False
    """A bare CR or LF in a message of who may relay is mended; strangers' are refused."""
    errors: int = 20
    """Refused commands since the last accepted message, then 421."""
    junk: int = 100
    """Commands that bring no message further since the last accepted one, then 421."""


class Sink(Protocol):
    """Where one message goes, as LF text."""

    def write(self, text: bytes) -> None:
        """Take the next piece."""

    def commit(self) -> str:
        """Take responsibility; give the text of the reply."""

    def abort(self) -> None:
        """Forget the message; never raises."""


class Session(Protocol):
    """The service behind one connection. Each method may raise a Failure to refuse."""

    secure: bool
    """TLS is on."""
    trusted: bool
    """The peer may relay: it may use extensions that are not for everybody."""
    mechanisms: tuple[str, ...]
    """SASL mechanisms that may be used now; empty once the peer is known."""
    plaintext_refused: bool
    """AUTH would be possible under TLS."""
    xclient_allowed: bool
    release_until: str
    """The latest date-time for FUTURERELEASE; "" for none."""

    def greet(self, *, early: bool) -> None:
        """Begin; `early`: the peer talked before the greeting."""

    def secured(self) -> None:
        """Go on under TLS, as if nothing had been said before."""

    def hello(self, name: str, verb: str) -> None:
        """Take the peer's name, from EHLO, HELO or LHLO."""

    def authenticate(self, mechanism: str) -> Exchange[Any]:
        """Begin an authentication."""

    def authenticated(self, mechanism: str, identity: Any) -> None:
        """Go on with an identity that the exchange found."""

    def xclient(self, attributes: Mapping[str, str]) -> None:
        """Take the peer to be somebody else; "" is for what is not known."""

    def turn(self, node: str, *, subdomains: bool) -> int:
        """Make due what waits for a domain (ETRN); give how many messages that are."""

    @property
    def may_turn(self) -> bool:
        """Whether the peer may ask for some domain."""

    def mail(self, reverse_path: Address | None, parameters: dict[str, str]) -> None:
        """Begin a message; None is the null reverse-path."""

    def rcpt(self, forward_path: Address, parameters: dict[str, str]) -> None:
        """Add a forward-path."""

    def data(self) -> Sink:
        """Give where the message goes."""

    def reset(self) -> None:
        """Forget the message that was begun; never raises."""

    def refused(self, command: str, argument: str, failure: Failure) -> None:
        """Note that a command was refused ("": what was no command line); never raises."""

    def mishap(self, error: Exception) -> Failure:
        """Note an error that is our own fault, and give the failure to answer with."""

    def lost(self, command: str) -> None:
        """Note that the connection ended without QUIT, after `command`; never raises."""
