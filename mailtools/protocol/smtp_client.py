"""The relaying half of SMTP and LMTP: one connection, one transaction after the other.

A client's order is its own choice, so a generator states it: what it yields is said, what it
receives is the peer's reply, and a connection that dies is an exception at the line where it
happened. That is how "after the final dot, before the answer" is told from "before it".

Does RFC 5321 3.3 and 4.1 to 4.5 from the client's side, PIPELINING (RFC 2920), SIZE (1870),
STARTTLS (3207), AUTH (4954), 8BITMIME (6152), SMTPUTF8 (6531), DSN (3461), LIMITS (9422) and LMTP
(2033). Which host is asked, and what comes after it, is not decided here.

Lines of a message are sent as they are, also those beyond 998 octets: to break them would break
signatures, and a peer that minds says so.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from mailtools.errors import (
    AuthTrouble,
    BadAddress,
    ConnectionDied,
    Failure,
    MailLoop,
    MessageTooBig,
    NonAsciiAddress,
    Refused,
    TimedOut,
    TlsTrouble,
)
from mailtools.mail.address import ascii_domain
from mailtools.mail.envelope import ForwardPath
from mailtools.mail.fields import header_end
from mailtools.mail.reply import Reply, make_peer_reply, parse_reply_line
from mailtools.mail.report import RELAYED, Report, report_failure
from mailtools.protocol.dotted import dot_stuffed
from mailtools.protocol.eightbit import seven_bit
from mailtools.protocol.engine import Engine, LineTooLong
from mailtools.protocol.sasl import decode, encode
from mailtools.protocol.sasl_client import choose, start

LINE_MOST = 8192  # octets of a reply line; RFC 5321 4.5.3.1.5 says 512, peers write novels
LINES_MOST = 500  # lines of a reply
TEXT_MOST = 1000  # characters of a reply that go into a report
PATHS_MOST = 100  # RCPT commands of a transaction, RFC 5321 4.5.3.1.8

# RFC 5321 4.5.3.2, seconds
GREETING = HELLO = MAIL = RCPT = 300.0
DATA, DOT = 120.0, 600.0
NO_DSN_BEYOND = "2.1.9"  # RFC 3463 X.1.9: a relayed message whose further way nobody reports
QUIT = 5.0  # nothing depends on the answer


class Tls(Enum):
    """What the client makes of STARTTLS."""

    NEVER = "never"
    MAY = "may"
    MUST = "must"


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it lies on disk: LF text that can be read again, and what a peer must know."""

    chunks: Callable[[], Iterable[bytes]]
    size: int
    """Octets on the wire, without dot-stuffing (RFC 1870 5)."""
    eight_bit: bool = False
    utf8_header: bool = False


def message_of(data: bytes) -> Message:
    """Make a Message of LF text in memory."""
    size = len(data) + data.count(b"\n")
    if data.isascii():
        return Message(lambda: (data,), size)
    return Message(lambda: (data,), size, True, not data[: header_end(data)].isascii())


@dataclass(frozen=True, slots=True)
class Transaction:
    """One message for some forward-paths that share a destination."""

    reverse_path: str
    forward_paths: tuple[ForwardPath, ...]
    message: Message
    parameters: Mapping[str, str] = field(default_factory=dict)
    """MAIL parameters the message came with: SMTPUTF8, RET, ENVID, REQUIRETLS."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a forward-path here, and whether another exchanger may be asked."""

    report: Report
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials for a peer: a login with a password, or with a bearer token (RFC 6750)."""

    name: str
    secret: str = field(repr=False)
    token: bool = False
    plaintext: bool = False
    """Whether the secret may be shown without TLS: only on a network nobody else reads."""
    host: str = ""
    port: int = 0


class _Leaving(Refused):
    """The peer said 421: it closes the connection (RFC 5321 3.8)."""


class _Wait(Enum):
    """What the script waits for, when it is no reply."""

    ORDER = "a transaction, or the word to leave"
    TLS = "the handshake"


Script = Generator[bytes | _Wait, object, None]
Step = Generator[bytes | _Wait, object, Reply]


class SmtpClient(Engine):
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
    ) -> None:
        """Greet as `me`; `peer` is the peer's name in reports.

        `secured` says that TLS is up already (implicit TLS). With `loops`, a peer that calls
        itself `me` is us. `keep` is how many seconds an idle connection stays open.
        """
        super().__init__()
        self.extensions: dict[str, str] = {}
        """What the peer offers: keyword in upper case, parameters."""
        self.secured = secured
        self.idle = False
        """Open, and nothing to do."""
        self.transactions = 0
        """How many were begun."""
        self.died: Failure | None = None
        """Why the session came to an early end."""
        self._me, self._peer, self._lmtp = me, peer, lmtp
        self._tls, self._login, self._loops, self._keep = tls, login, loops, keep
        self._order: Transaction | None = None
        self._leave = False
        self._answered = False
        self._open: dict[str, ForwardPath] = {}  # forward-paths without an outcome
        self._outcomes: list[Outcome] = []
        self._reply_lines: list[str] = []
        self._ahead = 0  # commands said whose replies are still to come
        self._unclean = False  # a transaction is open that will not be completed
        self._sending = False  # the message is on its way, or its answer is awaited
        self._dot_sent = False
        self._script = self._conversation()
        self._awaits: _Wait | None = None
        self._resume(None)

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
    def answered(self) -> bool:
        """Whether the peer has said anything."""
        return self._answered

    @property
    def leaving(self) -> bool:
        """Whether it takes no further transaction."""
        return self._leave or self.closed or self.died is not None

    @property
    def busy(self) -> bool:
        """Whether a forward-path waits for its outcome."""
        return bool(self._open)

    def fail(self, failure: Failure) -> None:
        """End the session for a reason the driver knows: no connection, no TLS, no time."""
        if self.closed:
            return
        if self._peer not in failure.text:
            failure = type(failure)(f"{self._peer}: {failure.text}", status=failure.status)
        self.died = failure
        self.idle = False
        try:
            self._script.throw(failure)
        except (StopIteration, Failure):
            pass
        self.closed = True

    # -- for the driver ---------------------------------------------------------------------------

    def tls_started(self) -> None:
        """Go on under TLS, as if nothing had been said before (RFC 3207 4.2)."""
        super().tls_started()
        self.secured = True
        self._resume(None)

    def timed_out(self) -> None:
        """Give up on a silent peer; an idle connection is closed politely."""
        if self.idle:
            self.quit()
        else:
            self.fail(TimedOut(f"{self._peer} was silent for {self.timeout:.0f} seconds"))

    def _lost(self) -> None:
        self.closed = False
        reply = self._early_reply()
        if reply is not None and not reply.positive:
            self.fail(self._refusal(reply, "the message"))
        else:
            self.fail(ConnectionDied(f"Lost the connection with {self._peer}"))

    def _early_reply(self) -> Reply | None:
        if not self._sending:
            return None
        try:
            return self._read_reply()
        except Failure:
            return None

    def _advance(self) -> bool:
        if self._awaits is _Wait.ORDER:
            if self._order is None and not self._leave:
                return False
            order, self._order = self._order, None
            self._resume(order)
            return True
        if self._awaits is _Wait.TLS:
            return False
        try:
            reply = self._read_reply()
        except Failure as failure:
            self.fail(failure)
            return False
        if reply is None:
            return False
        self._resume(reply)
        return True

    def _resume(self, value: object) -> None:
        try:
            wanted = self._script.send(value)
        except StopIteration:
            self.idle = False
            self.closed = True
            return
        if isinstance(wanted, bytes):
            self._awaits = None
            self._say(wanted)
        else:
            self._awaits = wanted
            self.wants_tls = wanted is _Wait.TLS

    def _read_reply(self) -> Reply | None:
        while True:
            try:
                line = self._take_line(LINE_MOST)
            except LineTooLong:
                raise ConnectionDied(f"{self._peer} sent a line without an end") from None
            if line is None:
                return None
            parsed = parse_reply_line(line.rstrip(b"\r\n"))
            if parsed is None or len(self._reply_lines) >= LINES_MOST:
                raise ConnectionDied(f"{self._peer} does not speak {self._protocol}")
            self._answered = True
            code, last, text = parsed
            self._reply_lines.append(text)
            if last:
                lines, self._reply_lines = self._reply_lines, []
                return make_peer_reply(code, lines)

    @property
    def _protocol(self) -> str:
        return "LMTP" if self._lmtp else "SMTP"

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
            while not self._leave:
                yield from self._wait_for_order()
                if self.died:
                    return
        self.timeout = QUIT
        try:
            yield b"QUIT\r\n"
        except Failure:
            pass

    def _wait_for_order(self) -> Script:
        self.idle = self._order is None and not self._leave
        self.timeout = self._keep
        try:
            order = yield _Wait.ORDER
        except Failure:
            return
        if not isinstance(order, Transaction):
            return
        if self.transactions >= self._limit("MAILMAX", 1_000_000):
            self._leave = True
        try:
            if self._input:
                raise ConnectionDied(f"{self._peer} spoke out of turn")
            yield from self._transact(order)
        except Failure as failure:
            self.died = failure
            self._settle_all(failure, elsewhere=True)

    def _ask(self, command: bytes, timeout: float) -> Step:
        """Say a command, unless it went ahead in a pipelined group, and give its reply."""
        self.timeout = timeout
        if self._ahead:
            self._ahead -= 1
            command = b""
        reply = yield command
        assert isinstance(reply, Reply)
        if reply.code == 421:
            raise _Leaving(421, reply.status or "4.3.2", self._said(reply, ""))
        return reply

    # -- the session begins -----------------------------------------------------------------------

    def _begin(self) -> Script:
        reply = yield from self._ask(b"", GREETING)
        if reply.code != 220:
            raise self._refusal(reply, "the connection", soften=reply.code != 521)  # RFC 7504
        yield from self._hello()
        if not self.secured and self._tls is not Tls.NEVER:
            yield from self._start_tls()
        if self._login is not None:
            yield from self._authenticate(self._login)

    def _hello(self) -> Script:
        verb = "LHLO" if self._lmtp else "EHLO"
        reply = yield from self._ask(f"{verb} {self._me}\r\n".encode(), HELLO)
        self.extensions = {}
        if reply.permanent and not self._lmtp:
            verb = "HELO"  # RFC 5321 3.2
            reply = yield from self._ask(f"HELO {self._me}\r\n".encode(), HELLO)
        elif reply.code == 250:
            lines = (line.upper().replace("AUTH=", "AUTH ", 1) for line in reply.lines[1:])
            for line in lines:
                keyword, _, parameters = line.strip().partition(" ")
                self.extensions.setdefault(keyword, parameters)
        if reply.code != 250:
            raise self._refusal(reply, verb)
        name = reply.lines[0].partition(" ")[0].lower()
        if self._loops and name == self._me.lower():
            raise MailLoop(f"{self._peer} is this host: the mail would come back")

    def _start_tls(self) -> Script:
        if "STARTTLS" not in self.extensions:
            if self._tls is Tls.MUST:
                raise TlsTrouble(f"{self._peer} offers no STARTTLS", status="4.7.4")
            return
        reply = yield from self._ask(b"STARTTLS\r\n", HELLO)
        if reply.code == 220:
            yield _Wait.TLS
            yield from self._hello()
        elif self._tls is Tls.MUST:
            raise TlsTrouble(self._said(reply, "STARTTLS"), status="4.7.4")

    def _authenticate(self, login: Login) -> Script:
        offered = self.extensions.get("AUTH", "").split()
        name = choose(offered, tls=self.secured, token=login.token, plaintext=login.plaintext)
        if not name:
            raise AuthTrouble(f"{self._peer} offers no way to log in that may be used here")
        client = start(name, login.name, login.secret, host=login.host, port=login.port)
        words = [b"AUTH", name.encode()]
        if client.initial is not None:
            words.append(encode(client.initial) or b"=")  # RFC 4954 4
        reply = yield from self._ask(b" ".join(words) + b"\r\n", HELLO)
        while reply.code == 334:
            try:
                answer = encode(client.respond(decode(reply.text.encode())))
            except Failure as failure:
                yield from self._ask(b"*\r\n", HELLO)
                raise AuthTrouble(f"{self._peer}: {failure.text}") from None
            reply = yield from self._ask(answer + b"\r\n", HELLO)
        if reply.code != 235:
            # Our credentials are our own trouble: an operator can mend them, so never permanent.
            raise AuthTrouble(self._said(reply, "AUTH"), status="4.7.8")
        client.finish()

    # -- a transaction ----------------------------------------------------------------------------

    def _transact(self, transaction: Transaction) -> Script:
        try:
            message = self._fitting(transaction)
            mail = self._mail(transaction, message)
        except Failure as failure:
            self._settle_all(failure, elsewhere=failure.status == "5.6.7")
            return
        rest = []
        for path in transaction.forward_paths:
            try:
                rest.append((path, self._rcpt(path)))
            except Failure as failure:
                self._settle(path.address, failure, elsewhere=failure.status == "5.6.7")
        most = self._limit("RCPTMAX", PATHS_MOST)
        while rest:
            batch, rest = rest[:most], rest[most:]
            rest += yield from self._send_batch(mail, batch, message)

    def _send_batch(
        self, mail: bytes, batch: list[tuple[ForwardPath, bytes]], message: Message
    ) -> Generator[bytes | _Wait, object, list[tuple[ForwardPath, bytes]]]:
        """Do one MAIL-to-dot transaction; give the paths that were too many for it."""
        together = "PIPELINING" in self.extensions
        if together:
            group = [mail, *(rcpt for _, rcpt in batch), b"DATA\r\n"]
            if self._unclean:
                group.insert(0, b"RSET\r\n")
            self._say(b"".join(group))
            self._ahead = len(group)
        if self._unclean:
            yield from self._ask(b"RSET\r\n", MAIL)
            self._unclean = False
        reply = yield from self._ask(mail, MAIL)
        refused = None if reply.code == 250 else self._refusal(reply, "MAIL")
        if reply.positive and refused is not None:
            raise refused
        accepted: list[ForwardPath] = []
        too_many: list[tuple[ForwardPath, bytes]] = []
        if refused is None or together:
            for path, rcpt in batch:
                reply = yield from self._ask(rcpt, RCPT)
                if refused is not None:
                    continue
                if 250 <= reply.code < 260:
                    accepted.append(path)
                elif accepted and _is_too_many(reply):
                    too_many.append((path, rcpt))
                else:
                    self._settle_reply(path.address, reply, "")
        if refused is not None:
            for path, _ in batch:
                self._settle(path.address, refused, elsewhere=not refused.permanent)
        self._unclean = refused is None
        if accepted or together:
            yield from self._data(accepted, message)
        return too_many

    def _data(self, accepted: list[ForwardPath], message: Message) -> Script:
        reply = yield from self._ask(b"DATA\r\n", DATA)
        if reply.code != 354:
            for path in accepted:
                self._settle_reply(path.address, reply, "DATA")
            return
        self._unclean = False
        if not accepted:
            # RFC 2920 3.1: the peer waits for a message that nobody is to get.
            yield from self._ask(b".\r\n", DOT)
            return
        self._stream(self._until_dot(message))
        self._sending = True
        try:
            reply = yield from self._ask(b"", DOT)
            for path in accepted:
                if path is not accepted[0] and self._lmtp:
                    reply = yield from self._ask(b"", DOT)  # RFC 2033 4.2
                self._settle_reply(path.address, reply, "the message")
        except (ConnectionDied, TimedOut) as failure:
            if not self._dot_sent:
                raise
            doubt = f"{failure.text} after the whole message was sent: possibly a duplicate"
            self.died = type(failure)(doubt, status=failure.status)
            self._settle_all(self.died, elsewhere=False)
        finally:
            self._sending = self._dot_sent = False

    def _until_dot(self, message: Message) -> Iterator[bytes]:
        held = b""
        for chunk in dot_stuffed(message.chunks()):
            if held:
                yield held
            held = chunk
        self._dot_sent = True  # from here on the peer may have it all
        yield held

    # -- what the peer can take -------------------------------------------------------------------

    def _fitting(self, transaction: Transaction) -> Message:
        """Give the message in a form the peer takes; raise MessageTooBig."""
        message = transaction.message
        if message.eight_bit and "8BITMIME" not in self.extensions:
            message = message_of(seven_bit(b"".join(message.chunks())))
        limit = self.extensions.get("SIZE", "")
        if limit.isascii() and limit.isdigit() and 0 < int(limit) < message.size:
            raise MessageTooBig(
                f"The message has {message.size} octets, {self._peer} takes {limit}"
            )
        return message

    def _mail(self, transaction: Transaction, message: Message) -> bytes:
        words = [f"MAIL FROM:<{self._path(transaction.reverse_path)}>"]
        if "SIZE" in self.extensions:
            words.append(f"SIZE={message.size}")
        if message.eight_bit and "8BITMIME" in self.extensions:
            words.append("BODY=8BITMIME")
        if self._needs_utf8(transaction):
            if "SMTPUTF8" not in self.extensions:
                raise NonAsciiAddress(f"{self._peer} takes no internationalized mail (SMTPUTF8)")
            words.append("SMTPUTF8")
        if "DSN" in self.extensions:
            words += [
                f"{key}={transaction.parameters[key]}"
                for key in ("RET", "ENVID")
                if key in transaction.parameters
            ]
        return (" ".join(words) + "\r\n").encode()

    def _needs_utf8(self, transaction: Transaction) -> bool:
        # RFC 6531 3.4: only what needs the extension fails where it is missing.
        asked = "SMTPUTF8" in transaction.parameters
        if not self._path(transaction.reverse_path).isascii():
            return True
        if "SMTPUTF8" not in self.extensions:
            return asked and transaction.message.utf8_header
        return asked or not all(path.address.isascii() for path in transaction.forward_paths)

    def _rcpt(self, path: ForwardPath) -> bytes:
        address = self._path(path.address)
        if not address.isascii() and "SMTPUTF8" not in self.extensions:
            raise NonAsciiAddress(f"{self._peer} takes no internationalized mail (SMTPUTF8)")
        words = [f"RCPT TO:<{address}>"]
        if "DSN" in self.extensions:
            words += [
                f"{key}={path.parameters[key]}"
                for key in ("NOTIFY", "ORCPT")
                if key in path.parameters
            ]
        return (" ".join(words) + "\r\n").encode()

    def _path(self, address: str) -> str:
        if not address.isprintable():
            raise BadAddress
        if address.isascii() or "SMTPUTF8" in self.extensions:
            return address
        local, at, domain = address.rpartition("@")
        return f"{local}{at}{ascii_domain(domain)}"  # RFC 6531 3.2: an A-label says the same

    def _limit(self, name: str, default: int) -> int:
        """Give a limit the peer announces in LIMITS (RFC 9422)."""
        for word in self.extensions.get("LIMITS", "").split():
            key, _, value = word.partition("=")
            if key == name and value.isascii() and value.isdigit() and int(value):
                return min(int(value), default)
        return default

    # -- outcomes ---------------------------------------------------------------------------------

    def _said(self, reply: Reply, to: str) -> str:
        where = f" (to {to})" if to and not reply.positive else ""
        return f"{self._peer} said {str(reply)[:TEXT_MOST]}{where}"

    def _refusal(self, reply: Reply, to: str, *, soften: bool = False) -> Failure:
        """Say a reply that is not the wished one as a failure; `soften` makes it temporary."""
        text = self._said(reply, to)
        if reply.positive:
            return ConnectionDied(f"{text}: out of step", status="4.5.0")
        status = reply.status
        if soften and reply.permanent:
            status = f"4{status[1:]}" if status else "4.0.0"
        return Refused(reply.code, status, text)

    def _settle_reply(self, address: str, reply: Reply, to: str) -> None:
        if reply.code == 250 and to == "the message":
            status = reply.status or "2.0.0"
            notify = (
                self._open[address].parameters.get("NOTIFY", "") if address in self._open else ""
            )
            if "SUCCESS" in notify.upper() and "DSN" not in self.extensions:
                status = NO_DSN_BEYOND  # RFC 3461 5.2.2: the word of success is ours to send
            report = Report(address, RELAYED, status, self._said(reply, ""))
            self._put(address, Outcome(report))
            return
        failure = self._refusal(reply, to)
        self._settle(address, failure, elsewhere=not failure.permanent)
        if reply.positive:
            raise failure

    def _settle(self, address: str, failure: Failure, *, elsewhere: bool) -> None:
        self._put(address, Outcome(report_failure(address, failure), elsewhere))

    def _settle_all(self, failure: Failure, *, elsewhere: bool) -> None:
        for address in list(self._open):
            self._settle(address, failure, elsewhere=elsewhere)
        self._order = None

    def _put(self, address: str, outcome: Outcome) -> None:
        if self._open.pop(address, None) is not None:
            self._outcomes.append(outcome)


def _is_too_many(reply: Reply) -> bool:
    # RFC 5321 4.5.3.1.10: 452, and 552 from old hosts; a status of its own may say otherwise.
    if reply.code not in (452, 552):
        return False
    return not reply.status or reply.status[1:] in (".5.3", ".3.1", ".0.0")
