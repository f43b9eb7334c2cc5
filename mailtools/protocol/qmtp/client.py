"""The sending half of QMTP and QMQP (cr.yp.to/proto/qmtp.txt, qmqp.html): one connection.

A package is a message, its reverse-path and its forward-paths. A QMTP peer answers for each of the
paths, and takes the next package; a QMQP peer answers once and is done.

Nothing is offered and nothing asked, so a peer counts as one that takes eight bits and UTF-8, and
knows neither DSN nor DELIVERBY nor REQUIRETLS. TLS is there from the first octet or not at all.
"""

from collections.abc import Generator, Iterable, Iterator

from mailtools.errors import (
    BadAddress,
    BadSyntax,
    ConnectionDied,
    Failure,
    SystemTrouble,
    TlsTrouble,
)
from mailtools.mail.reply import Reply
from mailtools.protocol.dotted import crlf
from mailtools.protocol.qmtp.netstring import netstring, read_answer, take_length
from mailtools.protocol.qmtp.package import wire_address
from mailtools.protocol.smtp.carrier import Carrier
from mailtools.protocol.smtp.offer import Offer, elsewhere
from mailtools.protocol.smtp.reply_script import Script, Wait
from mailtools.protocol.smtp.transaction import Message, Tls, Transaction

ANSWER_MOST = 8192  # octets
_OFFERED = ("8BITMIME", "SMTPUTF8")


class QmtpClient(Carrier):
    """One connection to a peer: `send` a transaction when `idle`, `collect` its outcomes."""

    def __init__(
        self,
        peer: str,
        *,
        qmqp: bool = False,
        tls: Tls = Tls.MAY,
        secured: bool = False,
        keep: float = 5.0,
    ) -> None:
        """Name the peer as reports do; `keep` is how many seconds an idle connection stays open.

        `secured` says that TLS is up already; where `tls` asks for it, nothing is sent without.
        """
        super().__init__(peer, Offer(peer, _OFFERED), keep)
        self.secured, self._tls, self._qmqp = secured, tls, qmqp
        self._size: int | None = None  # of the answer that comes
        self._begin_script(self._orders(self._transact))

    # -- a transaction ----------------------------------------------------------------------------

    def _transact(self, transaction: Transaction) -> Script:
        if self._tls is Tls.MUST and not self.secured:
            protocol = "QMQP" if self._qmqp else "QMTP"
            raise TlsTrouble(f"{self.peer}: {protocol} has no STARTTLS", status="4.7.4")
        try:
            message, size = yield from self._prepared(transaction)
            self.offer.mail(transaction, message)  # raises for what the peer cannot keep
            sender = _address(transaction.reverse_path)
        except Failure as failure:
            self._settle_all(failure, elsewhere=elsewhere(failure))
            return
        paths, wire = [], []
        for path in transaction.forward_paths:
            try:
                wire.append(_address(path.address))
                paths.append(path)
            except Failure as failure:
                self._settle(path.address, failure, elsewhere=False)
        if not paths:
            return
        self._time_forgotten = self.offer.forgets_time(transaction)
        self._leave = self._leave or self._qmqp
        pack = _qmqp if self._qmqp else _qmtp
        self._stream(self._until_last(pack(_exactly(message, size), size, sender, wire)))
        yield from self._answers(paths, each=not self._qmqp)

    def _prepared(
        self, transaction: Transaction
    ) -> Generator[bytes | Wait, object, tuple[Message, int]]:
        """Give the message in its last form, and its octets as LF text: they are said first."""

        def prepare() -> tuple[Message, int]:
            message = self.offer.fitting(transaction)
            return message, sum(map(len, _lf(message)))

        if not transaction.message.large:
            return prepare()
        return (yield from self._elsewhere(prepare))

    # -- answers ----------------------------------------------------------------------------------

    def _read_reply(self) -> Reply | None:
        try:
            if self._size is None:
                self._size = take_length(self._input)
            if self._size is None:
                return None
            if self._size > ANSWER_MOST:
                raise BadSyntax
        except BadSyntax:
            raise ConnectionDied(f"{self.peer} said something that is no answer") from None
        if len(self._input) <= self._size:
            return None
        answer = read_answer(self._take(self._size))
        comma, self._size = self._take(1), None
        if answer is None or comma != b",":
            raise ConnectionDied(f"{self.peer} said something that is no answer")
        self.answered = True
        return answer

    def _said(self, reply: Reply, to: str) -> str:
        return f"{self.peer} said {reply.text}"


# -- packages -------------------------------------------------------------------------------------


def _address(text: str) -> bytes:
    if not text.isprintable():
        raise BadAddress
    return wire_address(text)


def _lf(message: Message) -> Iterator[bytes]:
    # As SMTP sends it, so that a signature holds, with the line ends that both ends have on disk.
    return (wire.replace(b"\r\n", b"\n") for wire in crlf(message.chunks()))


def _exactly(message: Message, size: int) -> Iterator[bytes]:
    """Give the octets that were counted; raise SystemTrouble for others: the package would lie."""
    for chunk in _lf(message):
        size -= len(chunk)
        yield chunk
    if size:
        raise SystemTrouble("The message changed while it was sent")


def _qmtp(
    text: Iterator[bytes], size: int, sender: bytes, paths: Iterable[bytes]
) -> Iterator[bytes]:
    yield b"%d:\n" % (size + 1)
    yield from text
    yield b"," + netstring(sender) + netstring(b"".join(map(netstring, paths)))


def _qmqp(
    text: Iterator[bytes], size: int, sender: bytes, paths: Iterable[bytes]
) -> Iterator[bytes]:
    head = b"%d:" % size
    tail = b"," + netstring(sender) + b"".join(map(netstring, paths))
    yield b"%d:%b" % (len(head) + size + len(tail), head)
    yield from text
    yield tail + b","
