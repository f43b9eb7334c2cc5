"""mail-why: what became of a message."""

import os
import sys
import time
from collections.abc import Iterable

import click

from mailtools.cli import command, etc_option, spool_option
from mailtools.commands.parts import classes_of, schedule_of
from mailtools.config import Config
from mailtools.errors import NoSuchEntry
from mailtools.mail.reply import one_line
from mailtools.services.listing.queue_view import need_queue
from mailtools.services.why.advice import Advice
from mailtools.services.why.inquiry import Inquiry
from mailtools.services.why.log_search import Logs
from mailtools.services.why.search import Search
from mailtools.services.why.why_facts import fact, json_line, refusal_fact
from mailtools.services.why.why_lines import Teller, folded, refusal_lines
from mailtools.store import disk
from mailtools.store.destinations import Destinations
from mailtools.store.queue import Queue


@command("mail-why")
@etc_option
@spool_option
@click.option("--json", is_flag=True, help="A JSON object a line, one for each message.")
@click.option(
    "--log",
    "logs",
    metavar="FILE",
    multiple=True,
    help="A log to look into, for what was refused; - is stdin. May be given again.",
)
@click.option(
    "--most",
    metavar="N",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="The most messages of an address, newest first; 0: all of them.",
)
@click.argument("what", metavar="ID|MESSAGE-ID|ADDRESS|CLIENT")
def main(*, etc: str, spool: str, json: bool, logs: tuple[str, ...], most: int, what: str) -> int:
    """Tell what became of a message: where it came from, each attempt, the next try, what helps.

    With a log also why mail was refused before it came in:
    `journalctl -t smtpd-accept -t queue-run | mail-why --log - bob@example.org`.
    """
    config = Config(etc)
    schedule, classes = schedule_of(config), classes_of(config)
    config.check()
    path, now = f"{spool}/queue", time.time()
    if not logs:
        need_queue(path)
    inquiry = Inquiry(Search(Queue(path), schedule, classes), Logs(logs, now), what, most)
    if not inquiry.found:
        raise NoSuchEntry(f"Nothing is known here of {what}{inquiry.hint}")
    attended = disk.has_reader(f"{path}/trigger")
    advice = Advice(now, Destinations(f"{path}/dest").all(), attended=attended)
    if json:
        for story, came_of in inquiry.stories():
            click.echo(json_line(fact(advice, story, came_of)))
        for refusal, came_in in inquiry.refusals():
            click.echo(json_line(refusal_fact(refusal, came_in)))
        return os.EX_OK
    teller = Teller(advice, now)
    _paragraphs(
        (
            *(teller.lines(story, came_of) for story, came_of in inquiry.stories()),
            *(refusal_lines(refusal, came_in) for refusal, came_in in inquiry.refusals()),
        )
    )
    return os.EX_OK


def _paragraphs(told: Iterable[Iterable[str]]) -> None:
    # A terminal that does not know its width says 0.
    width = (sys.stdout.isatty() and os.get_terminal_size(1).columns) or sys.maxsize
    for number, lines in enumerate(told):
        if number:
            click.echo()
        for line in lines:
            click.echo(folded(one_line(line), width))
