"""The relaying half of SMTP and LMTP: one connection, one transaction after the other.

A client's order is its own choice, so a generator states it: what it yields is said, what it
receives is the peer's reply, and a connection that dies is an exception at the line where it
happened. That is how "after the final dot, before the answer" is told from "before it".

Does RFC 5321 3.3 and 4.1 to 4.5 from the client's side, PIPELINING (RFC 2920), SIZE (1870),
STARTTLS (3207), AUTH (4954), 8BITMIME (6152), SMTPUTF8 (6531), DSN (3461), DELIVERBY (2852),
CHUNKING (3030), LIMITS (9422) and LMTP (2033). Which host is asked, and what comes after it, is
not decided here.

A message with lines beyond 998 octets goes by BDAT where a peer takes that, and is encoded anew for
one that does not, or where it is our own.
"""

from collections.abc import Collection, Generator

from mailtools.errors import (
    AuthTrouble,
    ConnectionDied,
    Failure,
    MailLoop,
    Refused,
    TimedOut,
    TlsTrouble,
    TooManyRecipients,
)
from mailtools.mail.envelope import ForwardPath
from mailtools.protocol.dotted import dot_stuffed
from mailtools.protocol.sasl.client import choose, start
from mailtools.protocol.sasl.wire import decode, encode
from mailtools.protocol.smtp.carrier import DOT, Carrier
from mailtools.protocol.smtp.chunking import pieces
from mailtools.protocol.smtp.offer import ANY, Offer, Rest, elsewhere, is_too_many
from mailtools.protocol.smtp.reply_script import Script, Wait
from mailtools.protocol.smtp.transaction import Login, Message, Tls, Transaction

# RFC 5321 4.5.3.2, seconds
GREETING = HELLO = MAIL = RCPT = 300.0
DATA = 120.0
QUIT = 5.0  # nothing depends on the answer

LOGIN_REFUSED = "4.7.8"


class SmtpClient(Carrier):
    """One connection to a peer: `send` a transaction when `idle`, `collect` its outcomes."""

    def __init__(
        self,
        me: str,
        peer: str,
        *,
        tls: Tls = Tls.MAY,
        secured: bool = False,
        lmtp: bool = False,
        login: Login | None = None,
        loops: bool = False,
        keep: float = 5.0,
        ignored: Collection[str] = (),
    ) -> None:
        """Greet as `me`; `peer` is the peer's name in reports.

        `secured` says that TLS is up already (implicit TLS). With `loops`, a peer that calls
        itself `me` is us. `keep` is how many seconds an idle connection stays open. What is
        `ignored` counts as not offered.
        """
        self._ignored, self._lmtp = frozenset(ignored), lmtp
        super().__init__(peer, Offer(peer, ignored=self._ignored, final=lmtp), keep)
        self.secured = secured
        self._me, self._login, self._loops = me, login, loops
        self._tls = tls
        self._unclean = False  # a transaction is open that will not be completed
        self._mails = 0  # MAIL commands that were taken
        self._begin_script(self._conversation())

    def _offer(self, lines: Collection[str] = ()) -> Offer:
        return Offer(self.peer, lines, ignored=self._ignored, final=self._lmtp)

    # -- the conversation -------------------------------------------------------------------------

    def _conversation(self) -> Script:
        try:
            yield from self._begin()
        except Failure as failure:
            self.died = failure
            self._settle_all(failure, elsewhere=not isinstance(failure, MailLoop))
            if not isinstance(failure, Refused | AuthTrouble | TlsTrouble | MailLoop):
                return  # nobody is there to be told goodbye
        else:
            yield from self._orders(self._transact)
            if self.died:
                return
        self.timeout = QUIT
        try:
            yield b"QUIT\r\n"
        except Failure:
            pass

    # -- the session begins -----------------------------------------------------------------------

    def _begin(self) -> Script:
        reply = yield from self._ask(b"", GREETING)
        if not reply.completed:
            raise self._refusal(reply, "the connection", soften=reply.code != 521)  # RFC 7504
        yield from self._hello()
        if not self.secured and self._tls is not Tls.NEVER:
            yield from self._start_tls()
        if self._login is not None:
            yield from self._authenticate(self._login)

    def _hello(self) -> Script:
        verb = "LHLO" if self._lmtp else "EHLO"
        reply = yield from self._ask(f"{verb} {self._me}\r\n".encode(), HELLO)
        self.offer = self._offer()
        if reply.permanent and not self._lmtp:
            verb = "HELO"  # RFC 5321 3.2
            reply = yield from self._ask(f"HELO {self._me}\r\n".encode(), HELLO)
        elif reply.completed:
            self.offer = self._offer(reply.lines[1:])
        if not reply.completed:
            raise self._refusal(reply, verb)
        name = reply.lines[0].partition(" ")[0].lower()
        if self._loops and name == self._me.lower():
            raise MailLoop(f"{self.peer} is this host: the mail would come back")

    def _start_tls(self) -> Script:
        if "STARTTLS" not in self.offer:
            if self._tls is Tls.MUST:
                raise TlsTrouble(f"{self.peer} offers no STARTTLS", status="4.7.4")
            return
        try:
            reply = yield from self._ask(b"STARTTLS\r\n", HELLO)
            if reply.completed:
                yield Wait.TLS
                yield from self._hello()
        except (ConnectionDied, TimedOut) as failure:
            # Whoever breaks off here cannot do TLS, or somebody in between keeps it from us. With
            # TLS 1.3 a server may find fault when for us the handshake is over.
            raise TlsTrouble(f"{failure.text} over STARTTLS") from failure
        if self._tls is Tls.MUST and not reply.completed:
            raise TlsTrouble(self._said(reply, "STARTTLS"), status="4.7.4")

    def _authenticate(self, login: Login) -> Script:
        offered = self.offer.mechanisms
        name = choose(offered, tls=self.secured, token=login.token, plaintext=login.plaintext)
        if not name:
            raise AuthTrouble(f"{self.peer} offers no way to log in that may be used here")
        client = start(name, login.name, login.secret, host=login.host, port=login.port)
        words = [b"AUTH", name.encode()]
        if client.initial is not None:
            words.append(encode(client.initial) or b"=")  # RFC 4954 4
        reply = yield from self._ask(b" ".join(words) + b"\r\n", HELLO)
        while reply.continues:
            try:
                answer = encode(client.respond(decode(reply.text.encode())))
            except Failure as failure:
                yield from self._ask(b"*\r\n", HELLO)
                raise AuthTrouble(f"{self.peer}: {failure.text}") from None
            reply = yield from self._ask(answer + b"\r\n", HELLO)
        if not reply.completed:
            # Our credentials are our own trouble: an operator can mend them, so never permanent.
            raise AuthTrouble(self._said(reply, "AUTH"), status=LOGIN_REFUSED)
        client.finish()

    # -- a transaction ----------------------------------------------------------------------------

    def _transact(self, transaction: Transaction) -> Script:
        try:
            message, chunked = yield from self._prepared(transaction)
            mail = self.offer.mail(transaction, message)
        except Failure as failure:
            self._settle_all(failure, elsewhere=elsewhere(failure))
            return
        rest = []
        for path in transaction.forward_paths:
            try:
                rest.append((path, self.offer.rcpt(path)))
            except Failure as failure:
                self._settle(path.address, failure, elsewhere=elsewhere(failure))
        self._time_forgotten = self.offer.forgets_time(transaction)
        mails_most = self.offer.limit("MAILMAX", ANY)
        while rest and self._mails < mails_most:
            batch, rest = self.offer.batch(rest)
            rest += yield from self._send_batch(mail, batch, message, chunked)
        self.exhausted = bool(rest)
        for path, _ in rest:
            full = TooManyRecipients(f"{self.peer} takes {mails_most} messages a connection")
            self._settle(path.address, full, elsewhere=True)
        self._leave = self._leave or self._mails >= mails_most

    def _prepared(
        self, transaction: Transaction
    ) -> Generator[bytes | Wait, object, tuple[Message, bool]]:
        """Give the message in a form the peer takes, and whether it goes by BDAT."""
        offer = self.offer

        def prepare() -> tuple[Message, bool]:
            message = offer.fitting(transaction)
            return message, offer.by_chunks(message)

        if not transaction.message.large:
            return prepare()
        return (yield from self._elsewhere(prepare))

    def _send_batch(
        self, mail: bytes, batch: Rest, message: Message, chunked: bool
    ) -> Generator[bytes | Wait, object, Rest]:
        """Do one MAIL-to-dot transaction; give the paths that were too many for it."""
        together = self.offer.pipelining
        if together:
            group = [mail, *(rcpt for _, rcpt in batch), *([] if chunked else [b"DATA\r\n"])]
            if self._unclean:
                group.insert(0, b"RSET\r\n")
            self._say(b"".join(group))
            self._ahead = len(group)
        if self._unclean:
            yield from self._ask(b"RSET\r\n", MAIL)
            self._unclean = False
        reply = yield from self._ask(mail, MAIL)
        # 530 (RFC 3207 4): it wants the TLS that it offers, and that failed or was not asked for.
        wants_tls = reply.code == 530 and not self.secured and "STARTTLS" in self.offer
        refused = None if reply.completed else self._refusal(reply, "MAIL", soften=wants_tls)
        if reply.positive and refused is not None:
            raise refused
        accepted: list[ForwardPath] = []
        too_many: Rest = []
        if refused is None or together:
            for path, rcpt in batch:
                reply = yield from self._ask(rcpt, RCPT)
                if refused is not None:
                    continue
                if reply.completed:
                    accepted.append(path)
                elif accepted and is_too_many(reply):
                    too_many.append((path, rcpt))
                else:
                    self._settle_reply(path.address, reply, "")
        if refused is not None:
            for path, _ in batch:
                self._settle(path.address, refused, elsewhere=not refused.permanent)
        self._unclean = refused is None
        self._mails += refused is None
        if chunked and accepted:
            yield from self._chunks(accepted, message)
        elif not chunked and (accepted or together):
            yield from self._data(accepted, message)
        return too_many

    def _data(self, accepted: list[ForwardPath], message: Message) -> Script:
        reply = yield from self._ask(b"DATA\r\n", DATA)
        if not reply.continues:
            for path in accepted:
                self._settle_reply(path.address, reply, "DATA")
            return
        self._unclean = False
        if not accepted:
            # RFC 2920 3.1: the peer waits for a message that nobody is to get.
            yield from self._ask(b".\r\n", DOT)
            return
        self._stream(self._until_last(dot_stuffed(message.chunks())))
        yield from self._answers(accepted, each=self._lmtp)  # RFC 2033 4.2

    def _chunks(self, accepted: list[ForwardPath], message: Message) -> Script:
        """Send the message by BDAT (RFC 3030 2); a piece that is refused ends it."""
        for piece, last in pieces(message.chunks()):
            command = f"BDAT {len(piece)}{' LAST' if last else ''}\r\n".encode()
            if last:
                self._dot_sent, self._unclean = True, False
                self._say(command + piece)
                yield from self._answers(accepted, each=self._lmtp)
                return
            reply = yield from self._ask(command + piece, DOT)
            if not reply.completed:
                for path in accepted:
                    self._settle_reply(path.address, reply, "BDAT")
                return
