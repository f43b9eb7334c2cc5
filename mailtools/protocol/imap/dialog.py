"""What a command needs of the engine that runs it (server.py): only these, and only as types.

So commands know nothing of the engine, and the imports go one way: server, table, commands.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from mailtools.errors import Failure
from mailtools.protocol.imap.octets import WireCache
from mailtools.protocol.imap.session import Session, Site, View

Answer = Generator[bytes, None, str]
"""Untagged lines as they are made; in the end what stands behind OK."""


class Dialog(Protocol):
    """A session with one peer, as far as its commands see it."""

    can_tls: bool
    """STARTTLS can be done."""
    secure: bool
    wants_tls: bool
    session: Session | None
    """None before the login."""
    view: View | None
    """The mailbox that is selected."""
    saved: list[int]
    """UIDs of the last SEARCH that was saved (RFC 5182)."""
    cache: WireCache

    @property
    def site(self) -> Site:
        """Who lets people in."""

    @property
    def may_log_in(self) -> bool:
        """Whether a password may cross this connection."""

    def capabilities(self) -> str:
        """List what can be done now."""

    def logged_in(self, session: Session) -> None:
        """Let the peer in."""

    def no_login(self, failure: Failure) -> Failure:
        """Count a login that failed; give what to raise."""

    def ask(self, reader: Callable[[bytes], None]) -> None:
        """Give the next line to `reader`, which is no command."""

    def answer_later(self, tag: bytes, steps: Answer, news: str = "none") -> None:
        """Answer a command whose lines came after it."""

    def select(self, view: View | None) -> None:
        """Take another mailbox, or none."""

    def say(self, data: bytes) -> None:
        """Send something at once."""

    def news(self, *, expunges: bool) -> Iterator[bytes]:
        """Tell what others did."""

    def idle(self, tag: bytes) -> None:
        """Tell it as it happens, until DONE."""

    def leave(self) -> None:
        """End the session."""
