"""pipe-deliver: give mail to a program."""

from __future__ import annotations

import click

from mailtools.cli import command, need_addresses
from mailtools.errors import Usage
from mailtools.services.agent import LOCAL_EXITS, deliver_once, serve_jobs
from mailtools.services.local.outside import LIMIT, Outside, Tops


@command("pipe-deliver", mailer=True, rest=True)
@click.option("--from", "sender", metavar="ADDRESS", default="", help="The reverse-path.")
@click.option(
    "--to", "addresses", metavar="ADDRESS", multiple=True, help="Whom it is for; again for more."
)
@click.option("--jobs", is_flag=True, help="Do the jobs of a queue run: mailtools-jobs(5).")
@click.option("--user", metavar="USER", default="", help="Who runs the program; else nobody.")
@click.option("--folder", metavar="DIR", default="", help="Where it runs; else the user's home.")
@click.option(
    "--limit",
    metavar="SECONDS",
    type=click.IntRange(1),
    default=LIMIT,
    show_default=True,
    help="How long it may take.",
)
@click.option("--return-path", is_flag=True, help="Put a Return-Path field on top.")
@click.option("--delivered-to", is_flag=True, help="Put a Delivered-To field on top.")
@click.option("--from-line", is_flag=True, help="Put a line `From sender date` on top.")
@click.argument("words", metavar="PROGRAM [WORD]...", nargs=-1, required=True)
def main(
    *,
    sender: str,
    addresses: tuple[str, ...],
    jobs: bool,
    user: str,
    folder: str,
    limit: int,
    return_path: bool,
    delivered_to: bool,
    from_line: bool,
    words: tuple[str, ...],
) -> int:
    """Give the message on stdin to a program; without --to, do a queue run's jobs.

    {recipient}, {local}, {domain} and {sender} in a WORD are filled in; a WORD {recipients} stands
    for all, and the program runs once.
    """
    need_addresses(*addresses, *([sender] if sender else []))
    if jobs and addresses:
        raise Usage(detail="--jobs takes its addresses from the queue run, not from the line")
    tops = Tops(return_path, delivered_to, from_line)
    agent = Outside(words, user=user, folder=folder, limit=limit, tops=tops)
    if addresses:
        return deliver_once(agent.deliver, sender, addresses, exits=LOCAL_EXITS)
    serve_jobs(agent.deliver)
    return 0
