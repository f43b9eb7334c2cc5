"""The receiving side of SMTP (RFC 5321) and LMTP (RFC 2033): bytes in, replies out.

Order is the table of `smtp_table.py`, grammar is `smtp_grammar.py`, extensions and their parameters
are `smtp_extensions.py`, messages pass `smtp_transfer.py`, and policy is the Session's
(`smtp_session.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mailtools.errors import (
    BadSequence,
    BadSyntax,
    Failure,
    MessageTooBig,
    ShuttingDown,
    TimedOut,
    TooManyErrors,
    TooManyRecipients,
    UnknownCommand,
)
from mailtools.mail.reply import Reply, reply, reply_to
from mailtools.protocol.engine import Engine, LineTooLong
from mailtools.protocol.sasl.wire import RESPONSE_MOST, decode, encode
from mailtools.protocol.smtp import extensions, grammar, xclient
from mailtools.protocol.smtp.table import (
    GO_AHEAD,
    OK,
    OPEN,
    RECIPIENT_OK,
    SENDER_OK,
    TABLE,
    WEB,
    Command,
    State,
)
from mailtools.protocol.smtp.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailtools.protocol.sasl.server import Exchange
    from mailtools.protocol.smtp.session import Session, Settings


class SmtpServer(Engine):
    """One session. Feed it as `Engine` says; it asks `session` and answers the peer."""

    def __init__(self, session: Session, settings: Settings) -> None:
        super().__init__()
        self._session = session
        self._settings = settings
        self._state = State.START
        self._step: Callable[[], bool] = self._greet
        self._last_command = "greeting"
        self._offered: dict[str, str] = {}
        self._identified = False  # by AUTH
        self._extended = False  # EHLO or LHLO, not HELO
        self._utf8 = False  # this message was begun with SMTPUTF8
        self._binary = False  # with BODY=BINARYMIME
        self._accepted: list[str] = []  # forward-paths, for LMTP's answers
        self._transfer: Transfer | None = None
        self._chunk_left = 0
        self._chunk_last = False
        self._chunk_failure: Failure | None = None
        self._exchange: Exchange[Any]
        self._mechanism = ""
        self._errors = 0
        self._junk = 0
        self._ending = False
        self._wants_early = settings.greet_delay > 0
        self.timeout = settings.greet_delay or settings.patience

    # -- the engine's side ------------------------------------------------------------------------

    def _advance(self) -> bool:
        return self._step()

    def timed_out(self) -> None:
        """Greet a peer that waited as it should, or end the session of one that fell silent."""
        if self._wants_early:
            self._wants_early = False
            return
        self._answer_failure(TimedOut(), "silence")

    def ending(self) -> None:
        """Say 421 before the next command, or behind the message that was begun (RFC 5321 3.8)."""
        self._ending = True

    def tls_started(self) -> None:
        """Forget all that was said in the clear (RFC 3207 4.2)."""
        super().tls_started()
        self._forget()
        self._state = State.START
        self._identified = False
        self._session.secured()

    def _lost(self) -> None:
        self._drop()
        if self._state is not State.TURNED_AWAY:
            self._session.lost(self._last_command)
        self._forget()

    def _drop(self) -> None:
        """Give up the transfer under way."""
        if self._transfer is not None:
            self._transfer.abort()
            self._transfer = None

    def _forget(self) -> None:
        """Drop the message in hand."""
        self._drop()
        if self._state in OPEN:
            self._session.reset()
            self._state = State.READY
        self._utf8 = self._binary = False
        self._accepted.clear()

    def _greet(self) -> bool:
        if self._wants_early and not self._input:
            return False
        early, self._wants_early = self._wants_early, False
        self.timeout = self._settings.patience
        self._step = self._command
        try:
            self._session.greet(early=early)
        except Exception as error:
            failure = error if isinstance(error, Failure) else self._session.mishap(error)
            if failure.permanent:
                failure.reply = 554  # the one refusal a greeting can be: RFC 5321 4.2.3, 4.3.2
                self._state = State.TURNED_AWAY
            else:
                failure.reply = 421
            self._answer_failure(failure, "greeting")
            return True
        kind = "LMTP" if self._settings.lmtp else "ESMTP"
        self._say(f"220 {self._settings.name} {kind} mailtools\r\n".encode())
        return True

    # -- commands ---------------------------------------------------------------------------------

    def _command(self) -> bool:
        if self._ending and self._state not in OPEN:
            self._say(bytes(self._failure_reply(ShuttingDown())))
            return True
        verb = argument = ""
        # RFC 4954 4: an initial response may be as long as a later one; tokens are.
        is_auth = self._input[:5].upper() == b"AUTH "
        most = grammar.LINE_MOST + is_auth * RESPONSE_MOST
        try:
            line = self._take_line(most)
            if line is None:
                return False
            verb, argument = grammar.command_line(line)
            row = COMMANDS.get(verb)
            if row is None:
                self._unknown(verb)
            else:
                self._last_command = verb
                self._dispatch(*row, argument)
        except LineTooLong:
            text = f"Line too long: {most} octets at most"
            self._answer_failure(UnknownCommand(text), verb)
        except Failure as failure:
            # Of what is no command of ours, or of AUTH, nothing is shown: it may be a secret.
            shown = argument if verb in COMMANDS and verb != "AUTH" else ""
            self._answer_failure(failure, verb, shown)
        except Exception as error:
            self._answer_failure(self._session.mishap(error), verb)
        return True

    def _dispatch(self, row: Command, method: Callable[..., None], argument: str) -> None:
        if self._state not in row.states:
            raise BadSequence(row.out_of_order)
        # A trusted peer may be a script that says all at once: sendmail -bs < dialog.
        strict = self._settings.synchronous and not self._session.trusted
        if self._input and strict and (row.last or not self._may_pipeline(row)):
            self.closed = True
            raise BadSequence("Protocol error: input before its turn", status="5.5.0", reply=554)
        if row.junk:
            self._count_junk()
        method(self, argument)

    def _count_junk(self) -> None:
        self._junk += 1
        if self._junk > self._settings.junk:
            raise TooManyErrors("Too many commands without a message")

    def _may_pipeline(self, row: Command) -> bool:
        return self._extended or row.method in ("_quit", "_starttls") or self._state is State.START

    def _unknown(self, verb: str) -> None:
        if verb in WEB:
            self.closed = True
            raise UnknownCommand("This is a mail server, not a web server", reply=554)
        raise UnknownCommand(f"Command not recognized: {verb[:20]}")

    def _answer_failure(self, failure: Failure, command: str, argument: str = "") -> None:
        self._session.refused(command, argument, failure)
        self._errors += 1
        if self._errors > self._settings.errors and failure.reply != 421:
            failure = TooManyErrors()
            self._session.refused(command, argument, failure)
        if self.closed:
            self._forget()
        self._say(bytes(self._failure_reply(failure)))

    def _failure_reply(self, failure: Failure) -> Reply:
        """Say a failure; 421 names us, and is the last word (RFC 5321 3.8)."""
        if failure.reply != 421:
            return reply_to(failure)
        self._forget()
        self.closed = True
        return reply(421, failure.status, f"{self._settings.name} {failure.text}")

    # -- who is there -----------------------------------------------------------------------------

    def _hello(self, argument: str) -> None:
        verb, lmtp = self._last_command, self._settings.lmtp
        if lmtp != (verb == "LHLO"):
            wanted = "This is LMTP: say LHLO" if lmtp else "This is SMTP: say EHLO"
            raise UnknownCommand(wanted, status="5.5.1")
        name = grammar.hello_name(argument, anything=self._settings.submission)
        self._session.hello(name, verb)
        self._forget()  # RFC 5321 4.1.4: as RSET
        self._state = State.READY
        self._extended = verb != "HELO"
        lines = [f"{key} {value}".rstrip() for key, value in self._offer().items()]
        self._say(bytes(reply(250, "", self._settings.name, *lines)))

    def _offer(self) -> dict[str, str]:
        """Note which extensions may be used from now on; give those to be named."""
        offers = extensions.offers(self._session, self._settings) if self._extended else {}
        # RFC 4954 5: AUTH is MAIL's parameter where it is no command any more.
        self._offered = {**offers, "AUTH": ""} if self._identified else offers
        return offers

    def _starttls(self, argument: str) -> None:
        grammar.no_argument(argument, "STARTTLS")
        if self._session.secure:
            raise BadSequence("TLS is on already")
        if not self._settings.starttls:
            raise UnknownCommand("STARTTLS is not offered", status="5.5.1", reply=502)
        self._say(b"220 2.0.0 Go ahead\r\n")
        self.wants_tls = True

    def _xclient(self, argument: str) -> None:
        if not self._session.xclient_allowed:
            raise BadSequence("XCLIENT is not for you", status="5.7.0", reply=550)
        self._session.xclient(xclient.read_attributes(argument))
        self._forget()
        self._state = State.START
        self._offered, self._identified = {}, False
        self._greet()

    # -- authentication (RFC 4954) ----------------------------------------------------------------

    def _auth(self, argument: str) -> None:
        session = self._session
        mechanism, _, initial = argument.partition(" ")
        name = mechanism.upper()
        extensions.check_mechanism(session, name)
        self._mechanism = name
        self._exchange = session.authenticate(name)
        self._respond(decode(initial.encode()) if initial else None)

    def _respond(self, response: bytes | None) -> None:
        challenge = self._exchange.respond(response)
        if challenge is not None:
            self._say(b"334 " + encode(challenge) + b"\r\n")
            self._step = self._auth_line
            return
        self._session.authenticated(self._mechanism, self._exchange.identity)
        self._identified = True
        self._offer()
        self._say(b"235 2.7.0 Authentication successful\r\n")

    def _auth_line(self) -> bool:
        try:
            line = self._take_line(RESPONSE_MOST)
            if line is None:
                return False
            self._step = self._command
            if not line.endswith(b"\r\n"):
                raise UnknownCommand("A line ends in CRLF: this one ended in a bare LF")
            self._respond(decode(line[:-2]))
        except LineTooLong:
            self._step = self._command
            text = "Authentication line too long"
            self._answer_failure(BadSyntax(text, status="5.5.6", reply=500), "AUTH")
        except Failure as failure:
            self._answer_failure(failure, "AUTH")
        except Exception as error:
            self._answer_failure(self._session.mishap(error), "AUTH")
        return True

    # -- the envelope -----------------------------------------------------------------------------

    def _mail(self, argument: str) -> None:
        settings = self._settings
        path, found = grammar.mail_argument(argument)
        if found:
            found = extensions.check_mail(found, self._offered)
        utf8 = "SMTPUTF8" in found
        reverse_path = grammar.reverse_path(path, utf8=utf8, qualify=settings.qualify)
        if settings.size and int(found.get("SIZE", "0")) > settings.size:
            raise MessageTooBig(f"{settings.size} octets at most")
        self._session.mail(reverse_path, found)
        self._utf8, self._binary = utf8, found.get("BODY") == "BINARYMIME"
        self._state = State.MAIL
        self._say(SENDER_OK)

    def _rcpt(self, argument: str) -> None:
        path, found = grammar.rcpt_argument(argument)
        if found:
            found = extensions.check_rcpt(found, self._offered)
        forward_path = grammar.forward_path(path, utf8=self._utf8, qualify=self._settings.qualify)
        if len(self._accepted) >= self._settings.recipients:
            raise TooManyRecipients(f"{self._settings.recipients} recipients at most")
        self._session.rcpt(forward_path, found)
        self._accepted.append(path)
        self._state = State.RCPT
        self._say(RECIPIENT_OK)

    # -- the message ------------------------------------------------------------------------------

    def _begin(self) -> Transfer:
        sink, most = self._session.data(), self._settings.size
        mend = self._settings.mend_lines and self._session.trusted
        mishap = self._session.mishap
        self._transfer = Transfer(sink, most, mishap, binary=self._binary, mend=mend)
        return self._transfer

    def _data(self, argument: str) -> None:
        grammar.no_argument(argument, "DATA")
        if self._binary:
            raise BadSequence("A BINARYMIME message comes by BDAT (RFC 3030 3)")
        self._begin()
        self._step = self._text
        self._say(GO_AHEAD)

    def _text(self) -> bool:
        if not self._input:
            return False
        assert self._transfer is not None
        rest = self._transfer.dotted(bytes(self._input))
        self._input.clear()
        if rest is None:
            return False
        self._input += rest
        self._step = self._command
        self._finish()
        return True

    def _bdat(self, argument: str) -> None:
        # In whatever state: the octets follow at once, and are no commands (RFC 3030 2).
        try:
            self._chunk_left, self._chunk_last = grammar.chunk_argument(argument)
        except BadSyntax:
            self.closed = True  # nobody knows where the octets end and commands begin
            raise
        if not self._chunk_left and not self._chunk_last:
            self._count_junk()
        self._chunk_failure = None
        self._step = self._chunk
        try:
            if not self._state & (State.RCPT | State.CHUNKS):
                raise BadSequence(COMMANDS["BDAT"][0].out_of_order)
            if self._transfer is None:
                self._begin()
            self._state = State.CHUNKS
        except Failure as failure:
            self._chunk_failure = failure
        except Exception as error:
            self._chunk_failure = self._session.mishap(error)

    def _chunk(self) -> bool:
        if self._chunk_left and not self._input:
            return False
        data = self._take(self._chunk_left)
        self._chunk_left -= len(data)
        over = not self._chunk_left
        transfer = self._transfer
        if transfer is not None and not self._chunk_failure:
            transfer.chunk(data, last=over and self._chunk_last)
        if not over:
            return True
        self._step = self._command
        failure = self._chunk_failure or (transfer.failure if transfer else None)
        if self._chunk_last and not self._chunk_failure:
            self._finish()
        elif failure:
            self._forget()  # what is pipelined behind it fails too, and is read all the same
            self._answer_failure(failure, "BDAT")
        else:
            self._say(OK)
        return True

    def _finish(self) -> None:
        """Commit the message and answer for it: once, or in LMTP for each forward-path."""
        transfer, accepted = self._transfer, list(self._accepted)
        self._transfer = None
        assert transfer is not None
        answer: Reply | None = None
        try:
            answer = reply(250, "2.0.0", transfer.finish())
            self._errors = self._junk = 0
        except Failure as failure:
            self._session.refused("message", "", failure)
            self._errors += 1
            answer = self._failure_reply(failure)
        except Exception as error:
            answer = self._failure_reply(self._session.mishap(error))
        self._forget()
        self._say(bytes(answer) * (len(accepted) if self._settings.lmtp else 1))

    # -- the queue (RFC 1985) ---------------------------------------------------------------------

    def _etrn(self, argument: str) -> None:
        if self._settings.lmtp:
            raise UnknownCommand("ETRN is SMTP's", status="5.5.1", reply=502)
        node, subdomains = grammar.node_argument(argument)
        waiting = self._session.turn(node, subdomains=subdomains)
        if waiting:
            text = f"OK, {waiting} pending messages for node {node} started"
            self._say(bytes(reply(253, "2.0.0", text)))
        else:
            self._say(bytes(reply(251, "2.0.0", f"OK, no messages waiting for node {node}")))

    # -- the rest ---------------------------------------------------------------------------------

    def _rset(self, argument: str) -> None:
        grammar.no_argument(argument, "RSET")
        self._forget()
        self._say(OK)

    def _noop(self, argument: str) -> None:
        self._say(OK)

    def _vrfy(self, argument: str) -> None:
        if not argument:
            raise BadSyntax("The form is VRFY address", status="5.5.4")
        # RFC 5321 3.5.3: what RCPT says is the one answer that binds
        self._say(b"252 2.5.0 Cannot verify without MAIL and RCPT, but will take mail\r\n")

    def _expn(self, argument: str) -> None:
        raise UnknownCommand("Lists are not shown", status="5.7.2", reply=502)

    def _help(self, argument: str) -> None:
        lmtp = self._settings.lmtp
        hidden = {"XCLIENT", "EXPN", *(("EHLO", "HELO", "ETRN") if lmtp else ("LHLO",))}
        verbs = " ".join(verb for verb in COMMANDS if verb not in hidden)
        see = "See RFC 2033" if lmtp else "See RFC 5321"
        self._say(bytes(reply(214, "2.0.0", "Commands:", verbs, see)))

    def _quit(self, argument: str) -> None:
        grammar.no_argument(argument, "QUIT")
        self._forget()
        self._say(f"221 2.0.0 {self._settings.name} closing connection\r\n".encode())
        self.closed = True


COMMANDS: dict[str, tuple[Command, Callable[..., None]]] = {
    row.verb: (row, getattr(SmtpServer, row.method)) for row in TABLE
}
