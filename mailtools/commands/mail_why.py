"""mail-why: what became of a message."""

import os
import time

import click

from mailtools.cli import command, etc_option, spool_option
from mailtools.commands.parts import schedule_of
from mailtools.config import Config
from mailtools.errors import NoSuchEntry
from mailtools.services.people.search import Search
from mailtools.services.people.why_lines import Teller, in_order, json_line
from mailtools.store import disk
from mailtools.store.destinations import Destinations
from mailtools.store.queue import Queue


@command("mail-why")
@etc_option
@spool_option
@click.option("--json", is_flag=True, help="A JSON object a line, one for each message.")
@click.option(
    "--most",
    metavar="N",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="The most messages of an address, newest first; 0: all of them.",
)
@click.argument("what", metavar="ID|MESSAGE-ID|ADDRESS")
def main(*, etc: str, spool: str, json: bool, most: int, what: str) -> int:
    """Tell what became of a message: where it came from, each attempt, the next try, what helps."""
    config = Config(etc)
    schedule = schedule_of(config)
    config.check()
    path = f"{spool}/queue"
    search = Search(Queue(path), schedule)
    found = search.find(what, most)
    if not found:
        raise NoSuchEntry(f"Nothing is known here of {what}")
    attended = disk.has_reader(f"{path}/trigger")
    teller = Teller(time.time(), Destinations(f"{path}/dest").all(), attended=attended)
    for number, (story, came_of) in enumerate(in_order(found, search.linked(found))):
        if json:
            click.echo(json_line(teller.fact(story, came_of)))
            continue
        if number:
            click.echo()
        for line in teller.lines(story, came_of):
            click.echo(line)
    return os.EX_OK
