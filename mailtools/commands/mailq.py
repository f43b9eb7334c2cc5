"""mailq: list the queue as Postfix does."""

import click

from mailtools.cli import command, spool_option
from mailtools.services.listing import queue_lines
from mailtools.services.listing.queue_view import rows
from mailtools.store.queue import Queue


@command("mailq")
@spool_option
@click.option("--json", is_flag=True, help="A JSON object a line, in the shape of postqueue -j.")
def main(spool: str, json: bool) -> None:
    """List the mail queue."""
    listed = rows(Queue(f"{spool}/queue"))
    for line in map(queue_lines.postfix_json, listed) if json else queue_lines.mailq(listed):
        click.echo(line)
