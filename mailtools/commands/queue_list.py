"""queue-list: choose entries of the queue, a line each."""

import functools
import time

import click

from mailtools.cli import command, progress, spool_option
from mailtools.config import duration
from mailtools.errors import Usage
from mailtools.services.listing import queue_lines, queue_table
from mailtools.services.listing.queue_view import Choice, need_queue, rows
from mailtools.store.entry import State
from mailtools.store.queue import Queue
from mailtools.store.suppressed import Suppressed


@command("queue-list")
@spool_option
@click.option("--from", "from_", metavar="ADDRESS", help="The reverse-path; <> is the null one.")
@click.option("--to", metavar="ADDRESS", help="One of the forward-paths still pending.")
@click.option(
    "--older", metavar="TIME", default="0", help="Arrived so long ago: 300, 5min, 4h, 2d."
)
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only these.")
@click.option("--ids", is_flag=True, help="The IDs alone.")
@click.option("--json", is_flag=True, help="A JSON object a line.")
@click.option("--suppressed", is_flag=True, help="Addresses that are not tried, instead.")
@click.option("--table", is_flag=True, help="Counts by recipient domain and age in minutes.")
def main(
    *,
    spool: str,
    from_: str | None,
    to: str | None,
    older: str,
    state: str | None,
    ids: bool,
    json: bool,
    table: bool,
    suppressed: bool,
) -> None:
    """List entries of the queue, a line each: ID, state, size, age, paths, next try, reason."""
    seconds = duration(older)
    if seconds is None:
        raise Usage(f"--older {older}: a time is 300, 5min, 4h, 2d or 1w")
    if ids + json + table + suppressed > 1:
        raise Usage("--ids, --json, --table and --suppressed do not go together")
    if suppressed:
        need_queue(f"{spool}/queue")
        for one in Suppressed(f"{spool}/queue/suppress").all():
            click.echo(queue_lines.suppression(one))
        return
    now = time.time()
    choice = Choice(from_, to, seconds, State(state) if state else None)
    watch = functools.partial(progress, label="reading", talks=not table)
    chosen = rows(Queue(f"{spool}/queue"), choice, now, watch)
    if table:
        for line in queue_table.table(chosen, now):
            click.echo(line)
        return
    for row in chosen:
        if json:
            click.echo(queue_lines.own_json(row))
        else:
            click.echo(row.id if ids else queue_lines.plain(row, now))
