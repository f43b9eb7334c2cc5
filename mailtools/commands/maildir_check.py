"""maildir-check: look a Maildir over, and mend it."""

from __future__ import annotations

import os

import click

from mailtools.cli import command
from mailtools.mail.reply import one_line
from mailtools.services.access.become import acting_for
from mailtools.services.check.maildir_check import check


@command("maildir-check")
@click.option("--mend", is_flag=True, help="Mend what can be mended.")
@click.argument("maildirs", metavar="MAILDIR...", nargs=-1, required=True)
def main(*, mend: bool, maildirs: tuple[str, ...]) -> int:
    """Say what is wrong with each MAILDIR and its folders, a line a fault."""
    code = os.EX_OK
    for maildir in maildirs:
        path = maildir.rstrip("/") or "/"
        with acting_for(path):  # what its owner laid there may lead root anywhere
            for fault in check(path, mend=mend):
                click.echo(one_line(str(fault)))
                if not fault.mended:
                    code = os.EX_DATAERR
    return code
