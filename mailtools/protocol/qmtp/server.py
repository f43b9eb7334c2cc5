"""The receiving side of QMTP and QMQP (cr.yp.to/proto/qmtp.txt, qmqp.html).

A QMTP peer sends package after package - message, reverse-path, forward-paths - and hears an answer
for each forward-path. A QMQP peer sends one package in a netstring around it all, and hears one
answer for the whole: it has no queue of its own, and we take what it has for anybody.

The message comes before its envelope, so it is held aside; the Session is asked when the package is
complete, and as an SMTP peer's would be. What is malformed is not answered, as the specification
wants it: the connection ends, and to the peer that is a temporary failure.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING

from mailtools.errors import (
    BadMessage,
    BadSyntax,
    Failure,
    MessageTooBig,
    RelayDenied,
    TooManyErrors,
    TooManyRecipients,
)
from mailtools.protocol.engine import Engine
from mailtools.protocol.qmtp.netstring import accepted, refused, take_length
from mailtools.protocol.qmtp.package import Settings, TextReader, read_address, read_reverse_path

if TYPE_CHECKING:
    from mailtools.protocol.qmtp.package import Held
    from mailtools.protocol.smtp.session import Session

ADDRESS_MOST = 1000  # octets, as qmail has it; the grammar of paths takes fewer
PATHS_MOST = 1 << 20  # octets of all forward-paths of a package
_ENVELOPE_MOST = PATHS_MOST + 2 * ADDRESS_MOST

PACKAGE = "package"
"""What the Session is told was sent, where that is wrong as a whole."""

Wait = Generator[bool, None, None]


class QmtpServer(Engine):
    """One session. Feed it as `Engine` says; it asks `session` and answers the peer."""

    def __init__(self, session: Session, settings: Settings, hold: Callable[[], Held]) -> None:
        """Take whom to ask, what is the same for all, and what gives a place for a message."""
        super().__init__()
        self._session, self._settings, self._hold = session, settings, hold
        self._barred: Failure | None = None
        self._held: Held | None = None
        self._failure: Failure | None = None  # what is wrong with the message
        self._size = 0
        self._inside = False
        self._errors = self._taken = 0
        self.timeout = settings.patience
        self._script = self._whole_session()

    # -- the engine's side ------------------------------------------------------------------------

    def _advance(self) -> bool:
        try:
            return next(self._script, False)
        except BadSyntax as failure:
            self._session.refused(PACKAGE, "", failure)
            self._end()
        except Exception as error:
            self._session.mishap(error)
            self._end()
        return True

    def _end(self) -> None:
        self.closed = True
        self._forget()

    def _lost(self) -> None:
        if self._inside:
            self._session.lost(PACKAGE)
        self._forget()

    def _forget(self) -> None:
        self._inside = False
        self._failure = None
        held, self._held = self._held, None
        if held is not None:
            held.close()
        self._session.reset()

    # -- the package ------------------------------------------------------------------------------

    def _whole_session(self) -> Wait:
        self._meet()
        while not self.closed:
            yield from self._some()
            self._inside = True
            yield from self._qmqp() if self._settings.qmqp else self._qmtp()
            self._forget()
            yield True  # what was answered is sent before the next package is looked at
            ends = self._settings.qmqp or self._barred is not None or self._is_guessing
            self.closed = ends

    def _meet(self) -> None:
        """Hear whether there may be a session; no is said to the first package."""
        try:
            self._session.greet(early=False)
            self._session.hello("", "QMQP" if self._settings.qmqp else "QMTP")
            if self._settings.qmqp and not self._session.trusted:
                self._barred = RelayDenied("You are not a client of this mail queue")
        except Failure as failure:
            self._barred = failure

    def _qmtp(self) -> Wait:
        yield from self._message((yield from self._length()))
        sender = yield from self._address((yield from self._length()))
        left = yield from self._length()
        if left > PATHS_MOST:
            raise BadSyntax(f"More than {PATHS_MOST} octets of forward-paths")
        paths = yield from self._paths(left)
        yield from self._comma()
        self._stream(self._answers(sender, paths))

    def _qmqp(self) -> Wait:
        left = yield from self._length()
        size = yield from self._length()
        left -= _octets(size)
        if left < 0:
            raise BadSyntax("The message is longer than its package")
        yield from self._message(size)
        size = yield from self._length()
        left -= _octets(size)
        if left < 0:
            raise BadSyntax("The reverse-path is longer than its package")
        sender = yield from self._address(size)
        paths: list[bytes] = []
        if left > PATHS_MOST:
            yield from self._skip(left)
            text = f"More than {PATHS_MOST} octets of forward-paths"
            self._failure = TooManyRecipients(text, status="5.5.3")
        else:
            paths = yield from self._paths(left)
            if not paths:
                raise BadSyntax("A package has one forward-path at least")
        yield from self._comma()
        self._say(self._one_answer(sender, paths))

    def _message(self, size: int) -> Wait:
        """Hold the message of a netstring whose length was read."""
        if self._settings.qmqp:
            reader = TextReader(crlf=False)
        else:
            yield from self._some()
            first = self._take(1)
            if not size or first not in b"\n\r":
                raise BadSyntax("A message begins with the LF or CR that tells its encoding")
            size -= 1
            reader = TextReader(crlf=first == b"\r")
        self._size = size
        most = self._settings.size
        if self._barred is not None:
            self._failure = self._barred
        elif most and size > most:
            self._failure = MessageTooBig(f"The message is larger than {most} octets")
        else:
            self._held = self._hold()
        while size:
            yield from self._some()
            data = self._take(size)
            size -= len(data)
            self._keep(reader, data, last=not size)
        yield from self._comma()

    def _keep(self, reader: TextReader, data: bytes, *, last: bool) -> None:
        if self._failure is not None or self._held is None:
            return
        try:
            text = reader.feed(data, last=last)
            if reader.fault:
                raise BadMessage(reader.fault)
            self._held.write(text)
        except Failure as failure:
            self._failure = failure

    def _paths(self, left: int) -> Generator[bool, None, list[bytes]]:
        """Read netstrings that together have `left` octets."""
        found: list[bytes] = []
        while left:
            size = yield from self._length()
            left -= _octets(size)
            if left < 0:
                raise BadSyntax("A forward-path is longer than what it stands in")
            found.append((yield from self._address(size)))
        return found

    def _address(self, size: int) -> Generator[bool, None, bytes]:
        """Read the octets of an address and its comma; of one too long, what shows that."""
        if size > _ENVELOPE_MOST:
            raise BadSyntax(f"An address has {ADDRESS_MOST} octets at most")
        found = bytearray()
        while size:
            yield from self._some()
            data = self._take(size)
            size -= len(data)
            if len(found) <= ADDRESS_MOST:
                found += data
        yield from self._comma()
        return bytes(found)

    # -- octets -----------------------------------------------------------------------------------

    def _some(self) -> Wait:
        while not self._input:
            yield False

    def _length(self) -> Generator[bool, None, int]:
        while (size := take_length(self._input)) is None:
            yield False
        return size

    def _skip(self, size: int) -> Wait:
        while size:
            yield from self._some()
            size -= len(self._take(size))

    def _comma(self) -> Wait:
        yield from self._some()
        if self._take(1) != b",":
            raise BadSyntax("A netstring ends in a comma, after as many octets as it said")

    # -- the answer -------------------------------------------------------------------------------

    def _answers(self, sender: bytes, paths: list[bytes]) -> Iterator[bytes]:
        """Give QMTP's answers, one for each forward-path in their order."""
        outcomes, text = self._outcomes(sender, paths)
        taken = accepted(text)
        return iter([taken if outcome is None else refused(outcome) for outcome in outcomes])

    def _one_answer(self, sender: bytes, paths: list[bytes]) -> bytes:
        """Give QMQP's answer, for the whole."""
        outcomes, text = self._outcomes(sender, paths)
        failures = [outcome for outcome in outcomes if outcome is not None]
        return refused(failures[0]) if failures else accepted(text)

    def _outcomes(self, sender: bytes, paths: list[bytes]) -> tuple[list[Failure | None], str]:
        """Queue a package, as far as it may be: an outcome for each path, and a text for None."""
        if self._failure is not None:
            at = "greeting" if self._failure is self._barred else "message"
            self._session.refused(at, _shown(sender), self._failure)
            return [self._failure] * max(len(paths), 1 if self._settings.qmqp else 0), ""
        outcomes: list[Failure | None] = [None] * len(paths)
        text = ""
        try:
            self._begin(sender, paths)
            outcomes = [self._add(path) for path in paths]
            whole = not self._settings.qmqp or not any(outcomes)
            if None in outcomes and whole:
                text = self._queue()
        except Exception as error:
            failure = error if isinstance(error, Failure) else self._session.mishap(error)
            outcomes = [outcome or failure for outcome in outcomes]
        return outcomes, text

    def _begin(self, sender: bytes, paths: list[bytes]) -> None:
        parameters = {"SIZE": str(self._size)}
        if not (sender.isascii() and all(path.isascii() for path in paths)):
            parameters["SMTPUTF8"] = ""
        try:
            reverse_path, verp = read_reverse_path(
                sender, qualify=self._settings.qualify, verp=self._settings.qmqp
            )
            self._session.mail(reverse_path, parameters | verp)
        except Failure as failure:
            self._errors += 1
            self._session.refused("MAIL", _shown(sender), failure)
            raise
        self._taken = 0

    def _add(self, path: bytes) -> Failure | None:
        session = self._session
        if self._is_guessing:
            return _TOO_MANY_ERRORS
        try:
            forward_path = read_address(path, qualify=self._settings.qualify)
            if self._taken >= self._settings.recipients and not self._settings.qmqp:
                raise TooManyRecipients(f"{self._settings.recipients} recipients at most")
            session.rcpt(forward_path, {})
        except Exception as error:
            failure = error if isinstance(error, Failure) else session.mishap(error)
            session.refused("RCPT", _shown(path), failure)
            self._errors += 1
            if self._is_guessing:
                session.refused("RCPT", "", _TOO_MANY_ERRORS)
            return failure
        self._taken += 1
        return None

    @property
    def _is_guessing(self) -> bool:
        """Whether the peer has named too many that are not here."""
        return self._errors > self._settings.errors and not self._session.trusted

    def _queue(self) -> str:
        """Pass the held message on; give the text of the answer once it is safe."""
        assert self._held is not None
        try:
            sink = self._session.data()
            try:
                for piece in self._held.read():
                    sink.write(piece)
            except BaseException:
                sink.abort()
                raise
            text = sink.commit()
        except Failure as failure:
            self._session.refused("message", "", failure)
            self._errors += 1
            raise
        self._errors = 0
        return text


_TOO_MANY_ERRORS = TooManyErrors()


def _octets(size: int) -> int:
    """Count the octets of a netstring of that length."""
    return len(str(size)) + size + 2


def _shown(address: bytes) -> str:
    """Write an address as it came for a log line."""
    return f"<{address[:ADDRESS_MOST].decode('utf-8', 'replace')}>"
