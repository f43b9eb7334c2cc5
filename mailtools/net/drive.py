"""The one loop that drives every engine over a stream.

A peer that drips is held to the timeouts too: they are for a whole request, not for each octet of
it, and grow with what comes as Postfix' smtpd_min_data_rate has it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mailtools.errors import Failure
from mailtools.net.stream import SLACK

if TYPE_CHECKING:
    import ssl

    from mailtools.net.stream import Stream

SLOWEST = 100  # octets a second: a satellite telephone's 2400 bit/s are 300, Postfix asks for 500
HURRY = 10.0  # seconds that a stranger has while others find no room, as Postfix under stress
LAST_WORDS = 20.0  # seconds for a request once the service ends; a listener waits 30 in all
LOGIN_TIME = 600.0  # seconds that a session may last before somebody logs in


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

    def ending(self) -> None:
        """The service ends."""

    def abort(self) -> None:
        """The connection is gone."""


def drive(
    engine: Drivable,
    stream: Stream,
    tls: Callable[[], ssl.SSLContext] | None = None,
    *,
    host: str | None = None,
    lifetime: Callable[[], float] = lambda: math.inf,
    hurried: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Move bytes between engine and stream until the engine is closed.

    `tls` makes the context when the engine wants TLS; `host` is whom a client expects to meet.
    `lifetime` says how many seconds the session may last, as it stands now; `hurried` whether the
    peer has HURRY seconds only for a request.
    Raises ConnectionDied or TlsTrouble when the connection breaks, after the engine was told, and
    whatever the engine itself raises.
    """
    patience = Patience(stream, clock)
    most = math.inf
    try:
        while True:
            data = engine.output()
            if data:
                stream.write(data)
                patience.renew()
            elif engine.closed:
                return
            elif engine.wants_tls:
                assert tls is not None, "an engine offers TLS only where there is a context"
                stream.start_tls(tls(), host=host)
                engine.tls_started()
                patience.renew()
            else:
                timeout = min(engine.timeout, most, HURRY if hurried() else most)
                received = patience.read(timeout, lifetime())
                if received is None and stream.take_interrupt():
                    engine.ending()
                    most = LAST_WORDS
                    patience.renew()
                elif received is None:
                    engine.timed_out()
                else:
                    engine.receive(received)
    except Failure:
        engine.abort()
        raise


class Patience:
    """How long a peer may still take to say what it is saying."""

    def __init__(self, stream: Stream, clock: Callable[[], float]) -> None:
        """Take the stream, and what tells the time in seconds; the session begins now."""
        self._stream, self._clock = stream, clock
        self._begin = clock()
        self._left = math.inf

    def renew(self) -> None:
        """The peer was answered: what comes next is another request."""
        self._left = math.inf

    def read(self, timeout: float, lifetime: float) -> bytes | None:
        """Read; None when `timeout` seconds are over without a whole request, or `lifetime` is."""
        begin = self._clock()
        left = min(self._left, timeout, self._begin + lifetime - begin)
        self._left = math.inf
        if left <= 0:
            return None
        # For a moment's difference the socket's own timeout is left as it is: see Stream.
        data = self._stream.read(timeout if left > timeout - SLACK else max(left, 0.01))
        if data is not None:
            left -= self._clock() - begin
            self._left = min(timeout, left + len(data) / SLOWEST)
        return data
