"""mail-check: every fault of a site, each with its mend."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from mailtools.cli import command, etc_option, spool_option
from mailtools.commands.parts import need_folder
from mailtools.config import Config
from mailtools.mail.reply import one_line
from mailtools.services.check.finding import Weight, unique
from mailtools.settings import SETTINGS


@command("mail-check")
@etc_option
@spool_option
@click.option("--show", is_flag=True, help="Show what counts for each setting, and check nothing.")
@click.option("--no-dns", is_flag=True, help="Look nothing up in DNS.")
@click.option("--json", is_flag=True, help="A JSON object a line.")
def main(*, etc: str, spool: str, show: bool, no_dns: bool, json: bool) -> int:
    """Look over the settings, the accounts, the certificate, DNS, the disk and the queue."""
    if show:
        config = Config(etc)
        need_folder(config)
        config.check()
        for line in shown(config, json=json):
            click.echo(line)
        return os.EX_OK
    from mailtools.commands.checkup import findings  # it loads every program

    found = unique(findings(etc, spool, dns=not no_dns))
    for finding in found:
        for line in [_json(finding.fact())] if json else finding.lines():
            click.echo(one_line(line))
    faults = sum(finding.weight is Weight.FAULT for finding in found)
    if not json:
        click.echo(_summary(faults, len(found) - faults))
    return os.EX_CONFIG if faults else os.EX_OK


def shown(config: Config, *, json: bool) -> Iterator[str]:
    """Yield each setting with what counts for it, and whether a file or the default says so."""
    width = max(map(len, SETTINGS))
    if not json:
        yield f"# {config.folder}"
    for setting in SETTINGS.values():
        values, path = config.shown(setting.name)
        if json:
            yield _json({"name": setting.name, "values": values, "origin": path or "default",
                         "says": setting.says})  # fmt: skip
            continue
        first, *rest = values or [""]
        yield f"{setting.name:<{width}}  {'file' if path else 'default':<8} {first}".rstrip()
        for value in rest:
            yield f"{'':<{width}}  {'':<8} {value}"


def _summary(faults: int, warnings: int) -> str:
    if not faults and not warnings:
        return "Nothing is wrong."
    some = f"{faults} fault{'s' if faults != 1 else ''}"
    return f"{some}, {warnings} warning{'s' if warnings != 1 else ''}."


def _json(fact: dict[str, object]) -> str:
    import json

    return json.dumps(fact)
