"""report-read: what the reports say that others send us."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from mailtools.cli import command, complain, etc_option
from mailtools.config import Config, duration
from mailtools.errors import Failure, Usage

if TYPE_CHECKING:
    from mailtools.services.reports.read_values import Fault, Incoming


@command("report-read")
@etc_option
@click.option("--append", metavar="FILE", help="Add what was read to FILE, a line a report.")
@click.option("--domain", "domains", metavar="DOMAIN", multiple=True, help="Only on this domain.")
@click.option("--failed", is_flag=True, help="Only what failed.")
@click.option("--json", is_flag=True, help="A JSON object a line, one for each report.")
@click.option(
    "--list", "listed", is_flag=True, help="The paths come on stdin, a line each, as of find."
)
@click.option(
    "--most",
    metavar="N",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="The most rows of a table; 0: all of them.",
)
@click.option("--names", is_flag=True, help="Name the sources by reverse DNS.")
@click.option("--since", metavar="TIME", default="0", help="Only of the last 7d, 24h …; 0: all.")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
def main(
    *,
    etc: str,
    append: str | None,
    domains: tuple[str, ...],
    failed: bool,
    json: bool,
    listed: bool,
    most: int,
    names: bool,
    since: str,
    paths: tuple[str, ...],
) -> int:
    """Sum up reports on our domains: DMARC aggregate and failure reports, TLS reports, complaints.

    A PATH is a report as it came (XML, JSON, .gz, .zip), a message that brings some, a Maildir or
    another folder of these, or a file that --append wrote. Without any it is stdin.
    """
    from mailtools.services.reports.read import once
    from mailtools.services.reports.read_names import chosen, failing
    from mailtools.services.reports.read_values import Incoming, to_json

    seconds = duration(since)
    if seconds is None:
        raise Usage(f"--since {since}: a time is 300, 5min, 4h, 2d or 1w")
    if append is not None and (json or names or failed):
        raise Usage(
            "--append writes all that was read: --json, --names and --failed do not go along"
        )
    faults: list[Fault] = []

    def reports() -> Iterator[Incoming]:
        for each in once(_found(paths, listed=listed)):
            if isinstance(each, Incoming):
                yield each
            else:
                faults.append(each)

    wanted = chosen(reports(), domains, time.time() - seconds if seconds else 0.0)
    if append is not None:
        _append(append, (to_json(report) for report in wanted))
    elif json:
        for report in wanted:
            click.echo(to_json(failing(report) if failed else report))
    else:
        shown = [failing(report) if failed else report for report in wanted]
        _show(shown, most, _namer(etc) if names else lambda _: "")
    for fault in faults:
        complain(Failure(f"{fault.name}: {fault.text}"))
    if append is not None or not faults:
        return os.EX_OK  # as an alias: a message that is no report must not bounce
    return os.EX_DATAERR


def _found(paths: Iterable[str], *, listed: bool) -> Iterator[Incoming | Fault]:
    from mailtools.services.reports.read import of_paths, of_stream

    named = tuple(paths)
    if listed:
        lines = (os.fsdecode(line.rstrip(b"\n")) for line in sys.stdin.buffer)
        named += tuple(line for line in lines if line)
    elif not named:
        named = ("-",)
    for path in named:
        if path == "-":
            yield from of_stream("stdin", sys.stdin.buffer)
        else:
            yield from of_paths((path,))


def _show(reports: list[Incoming], most: int, name_of: Callable[[str], str]) -> None:
    from mailtools.services.reports.read_table import tables

    if not reports:
        click.echo("No reports.")
    for line in tables(reports, most, name_of):
        click.echo(line)


def _append(path: str, lines: Iterable[str]) -> None:
    from mailtools.store import disk

    text = "".join(f"{line}\n" for line in lines)
    if text:
        disk.append(os.path.abspath(path), text.encode())


def _namer(etc: str) -> Callable[[str], str]:
    from mailtools.net.dns import Resolver  # 75 ms: only where names are asked for
    from mailtools.services.reports.read_names import namer

    config = Config(etc)
    server = config.line("resolver")
    config.check()
    return namer(Resolver(server).lookup)
