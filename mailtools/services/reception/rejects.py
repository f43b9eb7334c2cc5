"""Rejects: what is refused at its end is kept a while for the recipient who wants that.

The peer is refused all the same; the recipient can look where a mail is that he waits for. A copy
goes into the queue as an entry that nobody is told of, with the parameter REJECTED: local-deliver
files it into the folder Rejects, or throws it away. Not kept is what is large, what is harmful, and
what was refused for another reason than policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from mailtools import log
from mailtools.errors import Failure, PolicyRefused
from mailtools.mail.address import parse_address
from mailtools.mail.envelope import REJECTED, Envelope, ForwardPath
from mailtools.mail.fields import header_end
from mailtools.mail.reply import one_line
from mailtools.services.reception.complaints import is_harmful
from mailtools.services.reception.limits import kept_for
from mailtools.services.reception.received import received_field

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mailtools.mail.address import Address
    from mailtools.protocol.smtp.session import Sink
    from mailtools.services.local.way import Target
    from mailtools.services.reception.received import Hop
    from mailtools.store.queue import Queue

SIZE_MOST = 512 * 1024  # octets: a mail somebody waits for is small


class Ways(Protocol):
    """What is asked of the directory (services/local/directory.py)."""

    def is_local(self, domain: str) -> bool:
        """Whether mail for a domain is delivered here."""

    def resolve(self, address: Address) -> tuple[Target, ...]:
        """Give where a local address leads."""


class Rejects(NamedTuple):
    """The rules of a site."""

    queue: Queue
    directory: Ways
    usual: float
    """Seconds that rejects are kept for an account that says nothing."""
    authserv_id: str
    """Whose Authentication-Results are not for strangers to write."""

    def sink(self, sink: Sink, hop: Hop, reverse_path: str, forward_paths: Iterable[str]) -> Sink:
        """Give where a stranger's message goes; the same where no recipient wants rejects."""
        wanted = [path for path in forward_paths if self._wants(path)]
        return KeptSink(self, sink, hop, reverse_path, wanted) if wanted else sink

    def _wants(self, path: str) -> bool:
        try:
            address = parse_address(path)
            local = self.directory.is_local(address.domain)
            targets = self.directory.resolve(address) if local else ()
        except Failure:
            return False
        account = targets[0].account if len(targets) == 1 else None
        return account is not None and kept_for(account, self.usual) > 0

    def keep(
        self,
        text: bytes,
        hop: Hop,
        reverse_path: str,
        forward_paths: Iterable[str],
        why: Failure,
    ) -> str:
        """Put a message that was refused into the queue; give its ID. Raise a Failure."""
        from mailtools.trust.authres import remove_forged  # where there is something to keep

        # The null reverse-path, and NEVER: nobody hears of what becomes of it.
        paths = tuple(ForwardPath(path, {"NOTIFY": "NEVER"}) for path in forward_paths)
        writer = self.queue.begin(Envelope("", paths, {REJECTED: ""}, hop.address))
        end = header_end(text)
        said = f"{why.reply} {why.status} {why.text}; from <{reverse_path}>"
        reason = one_line(said).encode("utf-8", "replace")
        try:
            writer.write(b"X-Rejected: " + reason + b"\n")
            writer.write(received_field(hop, writer.id))
            writer.write(remove_forged(text[:end], (self.authserv_id,)))
            writer.write(text[end:])
        except BaseException:
            writer.abort()
            raise
        return writer.commit()


class KeptSink:
    """The sink of one message (protocol/smtp/session.py), which remembers it until it is taken."""

    def __init__(
        self, rejects: Rejects, sink: Sink, hop: Hop, reverse_path: str, forward_paths: list[str]
    ) -> None:
        """Take where it goes, how it came, and who wants it if it is refused."""
        self._rejects, self._sink, self._hop = rejects, sink, hop
        self._reverse_path, self._paths = reverse_path, forward_paths
        self._text = bytearray()
        self._size = 0
        self.abort = sink.abort

    def write(self, text: bytes) -> None:
        """Take a piece of the message; raise what refuses it."""
        self._sink.write(text)
        self._size += len(text)
        if self._size <= SIZE_MOST:
            self._text += text
        else:
            self._text.clear()

    def commit(self) -> str:
        """Put the message into the queue, or raise why not; then it may be kept."""
        try:
            return self._sink.commit()
        except PolicyRefused as refusal:
            if refusal.permanent and self._size <= SIZE_MOST and not is_harmful(refusal):
                self._keep(refusal)
            raise

    def _keep(self, refusal: Failure) -> None:
        try:
            text, hop = bytes(self._text), self._hop
            id_ = self._rejects.keep(text, hop, self._reverse_path, self._paths, refusal)
        except Failure as failure:  # the peer is refused all the same
            log.event("trouble", client=self._hop.address, detail=failure.detail or failure.text)
            return
        log.event(
            "kept",
            id=id_,
            from_=f"<{self._reverse_path}>",
            to=len(self._paths),
            client=self._hop.address,
        )
