"""The one loop that drives every engine over a stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mailtools.errors import Failure

if TYPE_CHECKING:
    import ssl

    from mailtools.net.stream import Stream


class Drivable(Protocol):
    """What the loop needs of an engine (see protocol/engine.py, which this floor does not know)."""

    timeout: float
    closed: bool
    wants_tls: bool

    def receive(self, data: bytes) -> None:
        """Take input."""

    def output(self) -> bytes:
        """Give output."""

    def tls_started(self) -> None:
        """Go on under TLS."""

    def timed_out(self) -> None:
        """The peer was silent."""

    def abort(self) -> None:
        """The connection is gone."""


def drive(
    engine: Drivable,
    stream: Stream,
    tls: Callable[[], ssl.SSLContext] | None = None,
    *,
    host: str | None = None,
) -> None:
    """Move bytes between engine and stream until the engine is closed.

    `tls` makes the context when the engine wants TLS; `host` is whom a client expects to meet.
    Raises ConnectionDied or TlsTrouble when the connection breaks, after the engine was told, and
    whatever the engine itself raises.
    """
    try:
        while True:
            data = engine.output()
            if data:
                stream.write(data)
            elif engine.closed:
                return
            elif engine.wants_tls:
                assert tls is not None, "an engine offers TLS only where there is a context"
                stream.start_tls(tls(), host=host)
                engine.tls_started()
            else:
                received = stream.read(engine.timeout)
                if received is None:
                    engine.timed_out()
                else:
                    engine.receive(received)
    except Failure:
        engine.abort()
        raise
