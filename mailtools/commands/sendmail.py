"""sendmail: take a message from a user or program of this host, as every Unix expects it."""

from __future__ import annotations

import os
import pwd
import sys

import click

from mailtools import __version__
from mailtools.cli import guarded
from mailtools.commands.parts import home_of
from mailtools.commands.sendmail_flags import Flags, parse
from mailtools.config import Config
from mailtools.errors import Usage
from mailtools.services.listing import queue_lines
from mailtools.services.listing.queue_view import rows
from mailtools.services.listing.requeue import make_due
from mailtools.services.submit import drop, inject, sibling
from mailtools.store.queue import Queue
from mailtools.store.queue_id import make_id

HELP = """\
Usage: sendmail [flags] [--] [recipient ...] < message

  -t              recipients from To, Cc and Bcc   -i, -oi    a dot alone is no end
  -f, -r ADDRESS  the reverse-path                 -F NAME    the full name for From
  -N never|success,failure,delay   -R full|hdrs   -V ID       DSNs (RFC 3461)
  -XV[+=]         a reverse-path for each recipient (VERP)
  -B 7BIT|8BITMIME   -O requiretls=yes|smtputf8=yes
  -bm submit (the default)   -bs SMTP on stdin   -bp list the queue (mailq)
  -bi check the aliases (newaliases)   -bv show what becomes of addresses
  -q, -qI ID, -qR RECIPIENT, -qS SENDER   try now what waits
  --etc DIR   --spool DIR   --version   --help

See sendmail(1) for the flags that are taken and mean nothing here.
"""


def main() -> None:
    """Read the flags, do what they say, and exit as sysexits(3) says."""
    name = os.path.basename(sys.argv[0])
    sys.exit(guarded(lambda: run(parse(name, sys.argv[1:]), name), os.EX_TEMPFAIL))


def run(flags: Flags, name: str) -> int:
    """Do what the flags say; give the exit code."""
    etc = flags.etc or os.environ.get("MAILTOOLS_ETC", "/etc/mailtools")
    spool = flags.spool or os.environ.get("MAILTOOLS_SPOOL", "/var/spool/mailtools")
    os.environ.update(MAILTOOLS_ETC=etc, MAILTOOLS_SPOOL=spool)  # for what we become
    queue = f"{spool}/queue"
    match flags.mode:
        case "submit":
            submit(flags, name, Config(etc), queue)
        case "smtp":
            smtp(Config(etc), queue)
        case "list":
            for line in queue_lines.mailq(rows(Queue(queue))):
                click.echo(line)
        case "aliases":
            sibling.become("newaliases")
        case "verify":
            sibling.become("mail-route", "--", *flags.recipients)
        case "queue":
            if not make_due(queue, *flags.queue_match):
                sibling.become("queue-run")
        case "hosts":
            pass  # sendmail's host status: there is none to show or purge
        case "help":
            click.echo(HELP, nl=False)
        case "version":
            click.echo(f"sendmail (mailtools) {__version__}")
        case mode:
            raise Usage(_REFUSED[mode])
    return os.EX_OK


_REFUSED = {
    "daemon": "sendmail is no daemon here: run smtpd-accept under inetd or systemd or with"
    " --listen, and queue-run --wait",
    "test": "there is no address test mode: mail-route ADDRESS shows what becomes of an address",
}


def submit(flags: Flags, name: str, config: Config, queue: str) -> None:
    """Take the message on stdin."""
    me, where = config.line("me"), config.line("submit")
    place = inject.Place(
        home_of(config), config.line("masquerade"), me, config.octets("message-size"),
        config.number("hops"),
    )  # fmt: skip
    config.check()
    if not flags.recipients and not flags.from_header:
        raise Usage("no recipients: name them, or say -t for those in the message")
    text = inject.read_text(
        lambda most: os.read(0, most), ignore_dots=flags.ignore_dots, most=place.size
    )
    sender = flags.sender
    if name == "rmail" and sender is None:
        sender = inject.mbox_sender(text) or None
    letter = inject.prepare(text, order(flags, sender), place, new_id=make_id())
    drop.deliver(queue, where, letter, me)


def order(flags: Flags, sender: str | None) -> inject.Order:
    """Make the order that the flags stand for, from the user who calls."""
    user, user_name = caller()
    parameters = {"REQUIRETLS": ""} if flags.require_tls else {}
    if flags.smtputf8:
        parameters["SMTPUTF8"] = ""
    if flags.verp:
        parameters["XVERP"] = flags.verp
    return inject.Order(
        user,
        os.environ.get("NAME", user_name) if flags.full_name is None else flags.full_name,
        tuple(flags.recipients),
        flags.from_header,
        sender,
        flags.notify,
        flags.returning,
        flags.envelope_id,
        flags.body,
        parameters,
    )


def caller() -> tuple[str, str]:
    """Give the login and full name of the user who calls: the real one, not what he says."""
    try:
        found = pwd.getpwuid(os.getuid())
    except KeyError:
        return str(os.getuid()), ""
    name = found.pw_gecos.partition(",")[0].replace("&", found.pw_name.capitalize())
    return found.pw_name, name


def smtp(config: Config, queue: str) -> None:
    """Serve SMTP on stdin and stdout, for a caller who is trusted like any local one."""
    where = config.line("submit")
    config.check()
    if drop.is_elsewhere(where):
        raise Usage("-bs speaks SMTP, and the queue of this host is elsewhere, by QMQP")
    if not drop.can_write(queue):
        drop.bridge(drop.connect(where))
        return
    os.environ["RELAYCLIENT"] = ""
    sibling.become("smtpd-accept")
