"""Every way to fail: a class a condition, with its status, reply code and exit code.

A failure is raised where the fact is known and translated at the edge only: an engine makes it a
Reply, an agent a Report, `cli.py` an exit code and one line on stderr. The first digit of `status`
(RFC 3463) is permanence. Our own trouble is always temporary.
"""

import os


class Failure(Exception):
    """Something failed."""

    status = "4.3.0"
    reply = 451
    exit = os.EX_TEMPFAIL

    def __init__(
        self, text: str = "", *, detail: str = "", status: str = "", reply: int = 0
    ) -> None:
        """Say what happened in one line; without a text, the class' docstring says it.

        `detail` is for the log and the person at the shell, never for a peer. `status` (RFC 3463)
        and `reply` (RFC 5321) replace those of the class.
        """
        self.text = text or (self.__class__.__doc__ or "").rstrip(".")
        self.detail = detail
        if status:
            self.status = status
        if reply:
            self.reply = reply
        super().__init__(self.text)

    @property
    def permanent(self) -> bool:
        """Whether trying again cannot help."""
        return self.status.startswith("5")


# -- our own trouble: never permanent -------------------------------------------------------------


class SystemTrouble(Failure):
    """Local error in processing."""


class QueueFull(Failure):
    """Insufficient system storage."""

    status, reply = "4.3.1", 452


class Misconfigured(Failure):
    """Mail system configuration error."""

    status, exit = "4.3.5", os.EX_CONFIG


class ShuttingDown(Failure):
    """Service not available, closing the connection."""

    status, reply = "4.3.2", 421


class TooBusy(Failure):
    """Too many connections, try again later."""

    status, reply = "4.3.2", 421


# -- the network ----------------------------------------------------------------------------------


class NoAnswer(Failure):
    """No answer from the host."""

    status = "4.4.1"


class ConnectionDied(Failure):
    """Connection lost."""

    status = "4.4.2"


class TimedOut(Failure):
    """Timeout waiting for the peer."""

    status, reply = "4.4.2", 421


class DnsTrouble(Failure):
    """DNS lookup failed for now."""

    status = "4.4.3"


class TlsTrouble(Failure):
    """TLS could not be started."""

    status, reply = "4.7.5", 454


# -- what the peer said ---------------------------------------------------------------------------


class BadSyntax(Failure):
    """Syntax error."""

    status, reply, exit = "5.5.2", 501, os.EX_DATAERR


class UnknownCommand(Failure):
    """Command not recognized."""

    status, reply, exit = "5.5.2", 500, os.EX_DATAERR


class BadSequence(Failure):
    """Bad sequence of commands."""

    status, reply, exit = "5.5.1", 503, os.EX_DATAERR


class BadParameter(Failure):
    """Parameter not recognized or not implemented."""

    status, reply, exit = "5.5.4", 555, os.EX_DATAERR


class TooManyErrors(Failure):
    """Too many errors."""

    status, reply = "4.7.0", 421


class TooManyRecipients(Failure):
    """Too many recipients."""

    status, reply = "4.5.3", 452


class BadMessage(Failure):
    """The message is not acceptable."""

    status, reply, exit = "5.6.0", 554, os.EX_DATAERR


class MessageTooBig(Failure):
    """Message size exceeds the fixed maximum."""

    status, reply, exit = "5.3.4", 552, os.EX_DATAERR


class MailLoop(Failure):
    """Too many hops, or a message that was here already."""

    status, reply, exit = "5.4.6", 554, os.EX_UNAVAILABLE


# -- addresses ------------------------------------------------------------------------------------


class BadAddress(Failure):
    """Bad address syntax."""

    status, reply, exit = "5.1.3", 553, os.EX_DATAERR


class BadReversePath(BadAddress):
    """Bad reverse-path syntax."""

    status = "5.1.7"


class NonAsciiAddress(Failure):
    """Non-ASCII addresses need SMTPUTF8."""

    status, reply, exit = "5.6.7", 553, os.EX_DATAERR


class NoSuchMailbox(Failure):
    """No such mailbox here."""

    status, reply, exit = "5.1.1", 550, os.EX_NOUSER


class MailboxDisabled(Failure):
    """The mailbox is disabled."""

    status, reply, exit = "5.2.1", 550, os.EX_NOUSER


class MailboxFull(Failure):
    """The mailbox is full."""

    status, reply = "4.2.2", 452


class MailboxInUse(Failure):
    """The mailbox is in use by another session."""

    status = "4.2.0"


class NoSuchMessage(Failure):
    """The message is gone."""

    status, reply, exit = "5.2.0", 550, os.EX_NOINPUT


class NoSuchFolder(Failure):
    """No such folder in the Maildir."""

    status, reply, exit = "5.2.0", 550, os.EX_NOINPUT


class FolderExists(Failure):
    """The folder exists already."""

    status, reply, exit = "5.2.0", 550, os.EX_CANTCREAT


class BadFolderName(Failure):
    """No Maildir++ folder can have this name."""

    status, reply, exit = "5.2.0", 550, os.EX_DATAERR


class NoSuchDomain(Failure):
    """The domain does not exist."""

    status, reply, exit = "5.1.2", 550, os.EX_NOHOST


class NullMx(Failure):
    """The domain does not accept mail (null MX)."""

    status, reply, exit = "5.1.10", 556, os.EX_NOHOST


# -- permission -----------------------------------------------------------------------------------


class RelayDenied(Failure):
    """Relaying denied."""

    status, reply, exit = "5.7.1", 550, os.EX_NOPERM


class PolicyRefused(Failure):
    """Refused by policy."""

    status, reply, exit = "5.7.1", 550, os.EX_NOPERM


class Harmful(PolicyRefused):
    """Refused as harmful: nobody is to see it."""


class AuthRequired(Failure):
    """Authentication required."""

    status, reply, exit = "5.7.0", 530, os.EX_NOPERM


class TlsRequired(Failure):
    """Must issue a STARTTLS command first."""

    status, reply, exit = "5.7.0", 530, os.EX_NOPERM


class BadCredentials(Failure):
    """Authentication credentials invalid."""

    status, reply, exit = "5.7.8", 535, os.EX_NOPERM


class AuthTrouble(Failure):
    """Temporary authentication failure."""

    status, reply = "4.7.0", 454


# -- the local site -------------------------------------------------------------------------------


class NoQueue(Failure):
    """There is no mail queue."""

    exit = os.EX_OSFILE


class NoSuchEntry(Failure):
    """No such entry in the queue."""

    status, reply, exit = "5.0.0", 550, os.EX_NOINPUT


class BadEntry(Failure):
    """The queue entry cannot be read."""

    status, exit = "4.3.0", os.EX_DATAERR


class Usage(Failure):
    """Wrong usage."""

    status, reply, exit = "5.5.4", 501, os.EX_USAGE


class Refused(Failure):
    """The peer refused."""

    def __init__(self, code: int, status: str, text: str) -> None:
        """Carry a peer's reply: its code, its enhanced status ("" where it gave none), its text."""
        default = "4.0.0" if 400 <= code < 500 else "5.0.0"
        super().__init__(text, status=status or default, reply=code)
        self.exit = os.EX_UNAVAILABLE if self.permanent else os.EX_TEMPFAIL
