"""One message on its way in, by DATA (RFC 5321 4.1.1.4) or BDAT (RFC 3030).

Whatever goes wrong, the message is read to its end, and only then refused: a peer that is answered
in the middle of its text takes the rest of it for commands.
"""

from collections.abc import Callable

from mailtools.errors import BadMessage, Failure, MessageTooBig
from mailtools.protocol.dotted import ChunkReader, DotReader
from mailtools.protocol.smtp.session import Sink


class Transfer:
    """Feeds a sink until the first failure, and keeps that for the end."""

    def __init__(
        self,
        sink: Sink,
        most: int,
        mishap: Callable[[Exception], Failure],
        *,
        binary: bool = False,
        mend: bool = False,
    ) -> None:
        """Write to `sink` up to `most` octets (0: any); `mishap` names our own faults.

        A `binary` message (RFC 3030 3) comes by chunks, and goes on as it came. `mend`: a CR or LF
        that stands alone is mended, not refused.
        """
        self.failure: Failure | None = None
        self._sink = sink
        self._most = most
        self._size = 0
        self._binary = binary
        self._mishap = mishap
        self._dots = DotReader(mend=mend)
        self._chunks = ChunkReader(mend=mend)

    def dotted(self, data: bytes) -> bytes | None:
        """Take wire octets of DATA; give what came behind the final dot, None before it."""
        reader = self._dots
        text = reader.feed(data)
        self._pass_on(text, len(data) - len(reader.rest), reader.fault)
        return reader.rest if reader.finished else None

    def chunk(self, data: bytes, *, last: bool) -> None:
        """Take wire octets of BDAT; `last` ends the message."""
        if self._binary:
            self._pass_on(data, len(data), "")
            return
        text = self._chunks.feed(data, last=last)
        self._pass_on(text, len(data), self._chunks.fault)

    def _pass_on(self, text: bytes, octets: int, fault: str) -> None:
        if self.failure is not None:
            return
        self._size += octets
        if self._most and self._size > self._most:
            self.fail(MessageTooBig(f"The message is larger than {self._most} octets"))
        elif fault:
            self.fail(BadMessage(fault))
        elif text:
            try:
                self._sink.write(text)
            except Failure as failure:
                self.fail(failure)
            except Exception as error:
                self.fail(self._mishap(error))

    def fail(self, failure: Failure) -> None:
        """Give the message up."""
        self.failure = failure
        self._sink.abort()

    def finish(self) -> str:
        """Commit; give the reply's text, or raise what went wrong on the way."""
        if self.failure is not None:
            raise self.failure
        return self._sink.commit()

    def abort(self) -> None:
        """Forget the message: the connection ended, or RSET came."""
        if self.failure is None:
            self._sink.abort()
