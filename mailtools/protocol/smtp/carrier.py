"""What clients of SMTP and of QMTP have in common: transactions go in, outcomes come out.

One connection carries one transaction after the other. What is said for one is the protocol's
concern; that each forward-path gets exactly one outcome, whatever happens, is looked after here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from mailtools.errors import ConnectionDied, Failure, Refused
from mailtools.mail.envelope import ForwardPath
from mailtools.mail.reply import Reply
from mailtools.mail.report import RELAYED, Report, report_failure
from mailtools.protocol.smtp.offer import Offer
from mailtools.protocol.smtp.reply_script import ReplyEngine, Script, Wait
from mailtools.protocol.smtp.transaction import Outcome, Transaction

DOT = 600.0  # seconds that the answer to a message may take, RFC 5321 4.5.3.2.6
NO_DSN_BEYOND = "2.1.9"  # RFC 3463 X.1.9: a relayed message whose further way nobody reports


class Carrier(ReplyEngine):
    """One connection to a peer: `send` a transaction when `idle`, `collect` its outcomes."""

    def __init__(self, peer: str, offer: Offer, keep: float) -> None:
        """Name the peer, what it offers, and for how many seconds an idle connection stays open."""
        super().__init__(peer)
        self.offer = offer
        """What the peer offers."""
        self.exhausted = False
        """Whether the peer takes no more messages now, and a new connection is wanted."""
        self.transactions = 0
        """How many were begun."""
        self._keep = keep
        self._order: Transaction | None = None
        self._leave = False
        self._open: dict[str, ForwardPath] = {}  # forward-paths without an outcome
        self._outcomes: list[Outcome] = []
        self._dot_sent = False
        self._time_forgotten = False  # the peer knows nothing of DELIVERBY

    # -- for the service --------------------------------------------------------------------------

    def send(self, transaction: Transaction) -> None:
        """Begin a transaction; on a connection that is not open yet it follows the greeting."""
        assert not self._open, "one transaction at a time"
        self._order = transaction
        self._open = {path.address: path for path in transaction.forward_paths}
        self.transactions += 1
        self.idle = False

    def quit(self) -> None:
        """Leave when nothing is under way."""
        self._leave = True
        self.idle = False

    def collect(self) -> list[Outcome]:
        """Give the outcomes that have come since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    @property
    def leaving(self) -> bool:
        """Whether it takes no further transaction."""
        return self._leave or self.closed or self.died is not None

    @property
    def busy(self) -> bool:
        """Whether a forward-path waits for its outcome."""
        return bool(self._open)

    # -- for the driver ---------------------------------------------------------------------------

    def timed_out(self) -> None:
        """Give up on a silent peer; an idle connection is closed politely."""
        if self.idle:
            self.quit()
        else:
            super().timed_out()

    def _next_order(self) -> tuple[bool, object]:
        order, self._order = self._order, None
        return order is not None or self._leave, order

    # -- for the protocol -------------------------------------------------------------------------

    def _orders(self, transact: Callable[[Transaction], Script]) -> Script:
        """Do what there is to do, one after the other, until it is time to leave."""
        while not self._leave and not self.died:
            yield from self._wait_for_order(transact)

    def _wait_for_order(self, transact: Callable[[Transaction], Script]) -> Script:
        self.idle = self._order is None and not self._leave
        self.timeout = self._keep
        try:
            order = yield Wait.ORDER
        except Failure as failure:
            # Died while idle; or before what was given to it, or to a new connection, was begun.
            self._settle_all(failure, elsewhere=True)
            return
        if not isinstance(order, Transaction):
            return
        try:
            if self._input:
                raise ConnectionDied(f"{self.peer} spoke out of turn")
            yield from transact(order)
        except Failure as failure:
            self.died = failure
            self._settle_all(failure, elsewhere=True)

    def _answers(self, accepted: Sequence[ForwardPath], *, each: bool) -> Script:
        """Hear what becomes of the message that was sent: once, or for `each` path."""
        self._listens_to_the_last = True
        try:
            reply = yield from self._ask(b"", DOT)
            for path in accepted:
                if path is not accepted[0] and each:
                    reply = yield from self._ask(b"", DOT)  # RFC 2033 4.2
                self._settle_reply(path.address, reply, "the message")
        except Failure as failure:
            if not self._dot_sent or isinstance(failure, Refused):
                raise
            doubt = f"{failure.text} after the whole message was sent: possibly a duplicate"
            self.died = type(failure)(doubt, status=failure.status)
            self._settle_all(self.died, elsewhere=False)
        finally:
            self._listens_to_the_last = self._dot_sent = False

    def _until_last(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Give the chunks of a message, and note when the last one goes."""
        held = b""
        for chunk in chunks:
            if held:
                yield held
            held = chunk
        self._dot_sent = True  # from here on the peer may have it all
        yield held

    # -- outcomes ---------------------------------------------------------------------------------

    def _settle_reply(self, address: str, reply: Reply, to: str) -> None:
        if reply.completed and to == "the message":
            status = reply.status or "2.0.0"
            path = self._open.get(address)
            asked = path is not None and "SUCCESS" in path.parameters.get("NOTIFY", "")
            if self._time_forgotten or (asked and not self.offer.dsn):
                status = NO_DSN_BEYOND  # RFC 3461 5.2.2: the word of success is ours to send
            report = Report(address, RELAYED, status, self._said(reply, ""))
            self._put(address, Outcome(report))
            return
        failure = self._refusal(reply, to)
        if reply.positive:
            raise failure
        self._settle(address, failure, elsewhere=not failure.permanent)

    def _settle(self, address: str, failure: Failure, *, elsewhere: bool) -> None:
        self._put(address, Outcome(report_failure(address, failure), elsewhere))

    def _settle_all(self, failure: Failure, *, elsewhere: bool) -> None:
        for address in list(self._open):
            self._settle(address, failure, elsewhere=elsewhere)
        self._order = None

    def _put(self, address: str, outcome: Outcome) -> None:
        if self._open.pop(address, None) is not None:
            self._outcomes.append(outcome)
