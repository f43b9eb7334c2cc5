"""The order of SMTP: which command is legal in which state, and what 503 says otherwise.

The methods are those of `SmtpServer` (smtp_server.py).
"""

from enum import Flag, auto
from typing import NamedTuple

from mailtools.mail.reply import reply


class State(Flag):
    """How far the peer has come."""

    TURNED_AWAY = auto()  # greeted with 554: RFC 5321 3.1 leaves it QUIT only
    START = auto()  # greeted
    READY = auto()  # has said who it is
    MAIL = auto()  # has begun a message
    RCPT = auto()  # has named somebody we take it for
    CHUNKS = auto()  # has sent a part of it by BDAT


S = State
ANY = S.START | S.READY | S.MAIL | S.RCPT | S.CHUNKS
ALWAYS = ANY | S.TURNED_AWAY
OPEN = S.MAIL | S.RCPT | S.CHUNKS


class Command(NamedTuple):
    """A row of the table."""

    verb: str
    states: State
    method: str
    out_of_order: str
    """What 503 says in any other state."""
    last: bool = False
    """Must be the last of a pipelined group (RFC 2920 3.1): its answer changes what follows."""
    junk: bool = False
    """Brings no message further."""


TABLE = (
    Command("EHLO", ANY, "_hello", "QUIT is all that is left", last=True, junk=True),
    Command("HELO", ANY, "_hello", "QUIT is all that is left", last=True, junk=True),
    Command("LHLO", ANY, "_hello", "QUIT is all that is left", last=True, junk=True),
    Command("STARTTLS", S.START | S.READY, "_starttls", "STARTTLS comes before MAIL"),
    Command("AUTH", S.READY, "_auth", "AUTH comes after EHLO and before MAIL"),
    Command("XCLIENT", S.START | S.READY, "_xclient", "XCLIENT comes before MAIL", last=True),
    Command("MAIL", S.READY, "_mail", "MAIL comes after EHLO, and once for a message"),
    Command("RCPT", S.MAIL | S.RCPT, "_rcpt", "RCPT comes after MAIL"),
    Command("DATA", S.RCPT, "_data", "DATA comes after a RCPT that was accepted", last=True),
    Command("BDAT", ANY, "_bdat", "BDAT comes after a RCPT that was accepted"),
    Command("ETRN", S.READY, "_etrn", "ETRN comes after EHLO, and not within a message", junk=True),
    Command("RSET", ANY, "_rset", "QUIT is all that is left", junk=True),
    Command("NOOP", ANY, "_noop", "QUIT is all that is left", junk=True),
    Command("VRFY", ANY, "_vrfy", "QUIT is all that is left", junk=True),
    Command("EXPN", ANY, "_expn", "QUIT is all that is left", junk=True),
    Command("HELP", ANY, "_help", "QUIT is all that is left", junk=True),
    Command("QUIT", ALWAYS, "_quit", ""),
)

WEB = frozenset(("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT"))  # a browser made to spam

# What is said most, made once.
OK = bytes(reply(250, "2.0.0", "Ok"))
SENDER_OK = bytes(reply(250, "2.1.0", "Sender ok"))
RECIPIENT_OK = bytes(reply(250, "2.1.5", "Recipient ok"))
GO_AHEAD = b"354 End data with <CR><LF>.<CR><LF>\r\n"
