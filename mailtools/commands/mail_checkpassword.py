"""mail-checkpassword: our accounts for programs that speak the checkpassword interface."""

from __future__ import annotations

import os

import click

from mailtools.cli import command, complain, etc_option, spool_option
from mailtools.commands.parts import accounts_of
from mailtools.config import Config
from mailtools.errors import BadCredentials, Failure, SystemTrouble, Usage
from mailtools.protocol.sasl.server import Password
from mailtools.services.access.become import become
from mailtools.services.access.checkpassword import MOST, read_request
from mailtools.services.access.login import Login

WRONG, MISUSED, TROUBLE = 1, 2, 111  # the interface's exit codes
FOR_DOVECOT = ("userdb_uid", "userdb_gid", "userdb_mail")  # what Dovecot is told of a user


@command("mail-checkpassword", rest=True)
@etc_option
@spool_option
@click.option(
    "--service", metavar="NAME", default="imap", show_default=True, help="The service asked for."
)
@click.argument("program", nargs=-1, type=click.UNPROCESSED)
def main(etc: str, spool: str, service: str, program: tuple[str, ...]) -> int:
    """Check the login and password on descriptor 3, become the user, and run PROGRAM."""
    try:
        enter(etc, spool, service, program)
    except BadCredentials:
        return WRONG
    except Usage as failure:
        complain(failure)
        return MISUSED
    except Failure as failure:
        complain(failure)
        return TROUBLE
    return TROUBLE


def enter(etc: str, spool: str, service: str, program: tuple[str, ...]) -> None:
    """Become the user and the program; returns only by raising a Failure."""
    if not program:
        raise Usage("A program to run is missing")
    try:
        login, password = read_request(os.read(3, MOST + 1))
        os.close(3)
    except OSError:
        raise Usage("There is nothing to read on descriptor 3") from None
    config = Config(etc)
    accounts = accounts_of(config, state=f"{spool}/accounts")
    config.check()
    address = os.environ.get("TCPREMOTEIP", "")
    account = Login(accounts, service=service, address=address).authenticate(
        Password(login, password)
    )
    os.environ.update(USER=account.name, HOME=account.home or "/", MAILDIR=account.maildir)
    if "ORIG_UID" in os.environ:
        # Dovecot asks. A user could forge what is said under his uid, so it wants to be told.
        os.environ.update(userdb_uid=str(account.uid), userdb_gid=str(account.gid))
        os.environ.update(userdb_mail=f"maildir:{account.maildir}", EXTRA=" ".join(FOR_DOVECOT))
    else:
        become(account.uid, account.gid, account.name)
    try:
        os.chdir("/" if "ORIG_UID" in os.environ else account.home or "/")
        os.execvp(program[0], program)
    except OSError as error:
        raise SystemTrouble(detail=f"cannot run {program[0]}: {error.strerror}") from error
