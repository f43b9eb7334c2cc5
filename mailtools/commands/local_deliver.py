"""local-deliver: deliver mail to mailboxes, programs and forwards on this host."""

from __future__ import annotations

import click

from mailtools.cli import command, etc_option, need_addresses, spool_option
from mailtools.commands.parts import accounts_of, directory_of, srs_of
from mailtools.config import Config
from mailtools.errors import Usage
from mailtools.services.agent import LOCAL_EXITS, deliver_once, serve_jobs
from mailtools.services.local.delivery import Local
from mailtools.services.local.directory import OneMaildir
from mailtools.services.local.onward import Onward
from mailtools.store.queue import Queue

AHEAD = 20  # jobs that may wait in the pipe, so that none is waited for


@command("local-deliver", mailer=True)
@etc_option
@spool_option
@click.option("--from", "sender", metavar="ADDRESS", default="", help="The reverse-path.")
@click.option(
    "--maildir",
    metavar="DIR",
    help="Deliver into this Maildir, whatever the ADDRESS; no settings are read.",
)
@click.option("--jobs", is_flag=True, help="Do the jobs of a queue run: mailtools-jobs(5).")
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
def main(
    *,
    etc: str,
    spool: str,
    sender: str,
    maildir: str | None,
    jobs: bool,
    addresses: tuple[str, ...],
) -> int:
    """Deliver the message on stdin to each ADDRESS here; without one, do a queue run's jobs."""
    need_addresses(*addresses, *([sender] if sender else []))
    if jobs and addresses:
        raise Usage(detail="--jobs takes its addresses from the queue run, not from the line")
    agent = Local(OneMaildir(maildir)) if maildir else build(Config(etc), f"{spool}/queue")
    try:
        if addresses:
            return deliver_once(agent.deliver, sender, addresses, exits=LOCAL_EXITS)
        serve_jobs(agent.deliver, AHEAD)
    finally:
        agent.close()
    return 0


def build(config: Config, queue: str) -> Local:
    """Read the settings, and make the agent of them; raise Misconfigured with all faults."""
    directory = directory_of(config, accounts_of(config))
    onward = Onward(directory.is_local, srs=srs_of(config), authserv_id=config.line("authserv-id"))
    rejects = float(config.seconds("rejects"))
    config.check()
    return Local(directory, Queue(queue), onward=onward, rejects=rejects)
