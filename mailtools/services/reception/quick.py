"""QMTP and QMQP behind the same door as SMTP: the same rules, the same queue, other words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from mailtools.protocol.qmtp.server import QmtpServer
from mailtools.store.scratch import Scratch

if TYPE_CHECKING:
    from mailtools.protocol.qmtp.package import Settings
    from mailtools.protocol.smtp.session import Session


class Quick(NamedTuple):
    """What makes the engines of one of these protocols."""

    settings: Settings
    queue: str
    """The queue's folder: a message that is too large for memory waits there for its envelope."""
    lifetime: float = 3600.0
    """Seconds a session lasts at most (qmtp.txt 2)."""

    def engine(self, session: Session) -> QmtpServer:
        """Make the engine of one session."""
        return QmtpServer(session, self.settings, partial(Scratch, f"{self.queue}/tmp"))
