"""The engine: bytes in, bytes out, and nothing else (sans-IO).

Every protocol of ours is an Engine. A driver (`net/drive.py`, or a test) feeds what the peer said
to `receive`, sends what `output` gives, and looks at `closed`, `wants_tls` and `timeout` between.
Pipelining falls out: answers collect until input is needed or 64 KiB are full.
"""

from collections.abc import Iterable, Iterator

FLUSH = 65536  # octets collected before they are handed to the driver


class LineTooLong(Exception):
    """The peer sent a line beyond the limit; it was dropped up to its end."""


class Engine:
    """Buffer, lines, limits and output, common to all protocol machines.

    A protocol overrides `_advance`, and `_lost` and `timed_out` where it has something to undo or
    to say.
    """

    timeout: float = 300.0
    """Seconds to wait for the peer before `timed_out`; may change with the state."""

    def __init__(self) -> None:
        self.steps = 0
        """How often it went on with what the peer said: only that is a sign of life."""
        self.closed = False
        """Nothing more will be said."""
        self.wants_tls = False
        """The driver must switch to TLS now, then call `tls_started`."""
        self._input = bytearray()
        self._ended = False
        self._out = bytearray()
        self._answer: Iterator[bytes] | None = None
        self._scanned = 0
        self._overlong = False

    # -- for the driver ---------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take what the peer sent; `b""` is its end of file. Only buffers."""
        if data:
            self._input += data
        else:
            self._ended = True

    def output(self) -> bytes:
        """Give the next bytes to send; `b""`: read more first. This is what advances the engine."""
        while len(self._out) < FLUSH:
            if self._answer is not None:
                chunk = next(self._answer, None)
                if chunk is None:
                    self._answer = None
                else:
                    self._out += chunk
            elif self.closed or self.wants_tls:
                break
            elif self._advance():
                self.steps += 1
            else:
                if self._ended:
                    self.closed = True
                    self._lost()
                break
        data = bytes(self._out)
        self._out.clear()
        return data

    def tls_started(self) -> None:
        """Go on under TLS. Plaintext that came before it is dropped (RFC 3207 4.2)."""
        self.wants_tls = False
        self._input.clear()
        self._scanned = 0
        self._overlong = False

    def timed_out(self) -> None:
        """Note that the peer was silent for `timeout` seconds; by default the session is over."""
        self.closed = True
        self._lost()

    def ending(self) -> None:
        """Note that the service ends: an engine that can tells its peer, once nothing is begun."""

    def abort(self) -> None:
        """End the session at once: the connection died, or the process is told to stop."""
        if not self.closed:
            self.closed = True
            self._lost()

    # -- for the protocol -------------------------------------------------------------------------

    def _advance(self) -> bool:
        """Take one step with what is in `_input`; False: more input is needed."""
        return False

    def _lost(self) -> None:
        """Undo what is half done: the connection ended before the protocol did."""

    def _say(self, data: bytes) -> None:
        self._out += data

    def _stream(self, chunks: Iterable[bytes]) -> None:
        """Answer with chunks, made as the peer takes them; the next command waits for their end."""
        self._answer = iter(chunks)

    def _take_line(self, limit: int) -> bytes | None:
        """Take the next line with its LF; None: it has not ended yet.

        `limit` counts octets with the line end. Raises LineTooLong once the end of an over-long
        line is reached; no more than the limit of it is kept meanwhile.
        """
        end = self._input.find(b"\n", self._scanned)
        if end < 0:
            if len(self._input) > limit:
                self._overlong = True
                del self._input[: len(self._input) - 1]  # a CR may be last
            self._scanned = len(self._input)
            return None
        self._scanned = 0
        line = bytes(self._input[: end + 1])
        del self._input[: end + 1]
        if self._overlong or len(line) > limit:
            self._overlong = False
            raise LineTooLong
        return line

    def _take(self, most: int) -> bytes:
        """Take up to `most` octets of the input."""
        data = bytes(self._input[:most])
        del self._input[:most]
        self._scanned = 0
        return data
