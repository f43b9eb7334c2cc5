"""queue-edit: what an operator does to entries of the queue."""

import sys
from codecs import getincrementaldecoder
from collections.abc import Callable

import click

from mailtools.cli import command, complain, etc_option, progress, spool_option
from mailtools.config import Config
from mailtools.mail.address import parse_address
from mailtools.mail.reply import one_line
from mailtools.services.listing.queue_edit import QueueEditor, each, ids_of
from mailtools.services.queue.reroute import is_way


@command("queue-edit")
@etc_option
@spool_option
@click.argument(
    "verb",
    type=click.Choice(
        [
            "hold",
            "release",
            "retry",
            "reroute",
            "expire",
            "remove",
            "show",
            "replay",
            "unsuppress",
        ]
    ),
)
@click.option("--via", metavar="HOST:PORT", help="reroute: the host it goes to, as in routes.")
@click.option("--usual", is_flag=True, help="reroute: it goes the usual way again.")
@click.option("--failed", is_flag=True, help="replay: to those alone that it failed for.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="replay: to this address instead.")
@click.argument("ids", nargs=-1)
def main(
    *,
    etc: str,
    spool: str,
    verb: str,
    via: str | None,
    usual: bool,
    failed: bool,
    to: tuple[str, ...],
    ids: tuple[str, ...],
) -> int:
    """Hold, release, retry, reroute, expire, remove, show or replay entries of the queue.

    unsuppress takes addresses instead, and lets them be tried again.

    IDs come as arguments, or as the first words of the lines of stdin: `queue-list --to
    '*@example.net' | queue-edit hold`.
    """
    if (verb == "reroute") != (bool(via) != usual):
        raise click.UsageError(
            "reroute goes with --via HOST:PORT or with --usual, and they with it"
        )
    if via and not is_way(via):
        raise click.UsageError(f"{via!r} is no host, host:port or [address]:port")
    if verb != "replay" and (failed or to):
        raise click.UsageError("--failed and --to go with replay")
    if failed and to:
        raise click.UsageError("--failed and --to do not go together")
    if not ids and sys.stdin.isatty():
        raise click.UsageError(f"{verb} what? Name IDs, or pipe lines of queue-list to it")
    addresses = [str(parse_address(address)) for address in to]
    config = Config(etc)
    me = config.line("me") if verb == "replay" else ""
    config.check()
    editor = QueueEditor(f"{spool}/queue", me)

    def show(id_: str) -> None:
        decoder = getincrementaldecoder("utf-8")("replace")
        for piece in editor.show(id_):
            if sys.stdout.isatty():  # what strangers write is not to move its cursor
                lines = decoder.decode(piece).split("\n")
                click.echo("\n".join(map(one_line, lines)), nl=False)
            else:
                sys.stdout.buffer.write(piece)

    actions: dict[str, Callable[[str], None]] = {
        "hold": editor.hold,
        "release": editor.release,
        "retry": editor.retry,
        "reroute": lambda id_: editor.reroute(id_, via or ""),
        "expire": editor.expire,
        "remove": editor.remove,
        "show": show,
        "unsuppress": editor.unsuppress,
        "replay": lambda source: click.echo(editor.replay(source, failed=failed, to=addresses)),
    }
    # Off a terminal, what comes on stdin is done as it comes.
    wanted = ids or ids_of(sys.stdin)
    if sys.stderr.isatty():
        wanted = progress(tuple(wanted), verb, talks=verb in ("show", "replay"))
    failures = each(wanted, actions[verb])
    editor.finish()
    for failure in failures:
        complain(failure)
    return failures[0].exit if failures else 0
