"""mail-dkim: the keys that sign outgoing mail."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from mailtools.cli import command, etc_option, spool_option
from mailtools.commands.parts import need_folder
from mailtools.config import Config, duration
from mailtools.errors import Usage
from mailtools.services.access.become import owner_of
from mailtools.services.publish.dkim_rotation import OK, Rotation, published
from mailtools.services.publish.dkim_store import DkimStore, zone_line
from mailtools.services.relay.dkim_keys import State

if TYPE_CHECKING:
    from mailtools.trust.keys import KeyKind
    from mailtools.trust.lookup import Lookup

_ALLOWED: dict[str, set[str]] = {
    "new": {"algorithm", "selector"},
    "list": set(),
    "rotate": {"every", "keep"},
    "check": set(),
}


@command("mail-dkim")
@etc_option
@spool_option
@click.option("--algorithm", type=click.Choice(["rsa", "ed25519"]), help="new: which kind of key.")
@click.option("--selector", metavar="NAME", help="new: where DNS will have it.")
@click.option("--every", metavar="DURATION", help="rotate: how long a key signs; 0 for ever.")
@click.option("--keep", metavar="DURATION", help="rotate: how long a retired key is kept.")
@click.argument("verb", type=click.Choice(list(_ALLOWED)))
@click.argument("domain", required=False, default="")
def main(etc: str, spool: str, verb: str, domain: str, **options: str | None) -> int:
    """Make, list, rotate and check the DKIM keys that sign outgoing mail.

    \b
    mail-dkim new DOMAIN        a key that waits; prints the record to publish
    mail-dkim list [DOMAIN]
    mail-dkim rotate [DOMAIN]   for a timer: publish, sign when DNS shows it, retire, remove
    mail-dkim check [DOMAIN]    compare DNS with the keys
    """
    for name, value in options.items():
        if value is not None and name not in _ALLOWED[verb]:
            raise Usage(f"{verb} takes no --{name}")
    config = Config(etc)
    need_folder(config)
    config.check()
    store = DkimStore(etc, _group(spool))
    if verb == "new":
        return _new(store, domain, options["algorithm"] or "rsa", options["selector"] or "")
    if verb == "list":
        return _list(store, domain)
    from mailtools.net.dns import Resolver  # 75 ms: only where DNS is asked

    lookup = Resolver(config.line("resolver")).lookup
    config.check()
    if verb == "check":
        return _check(store, domain, lookup)
    every, keep = _seconds(options["every"] or "180d"), _seconds(options["keep"] or "14d")
    rotation = Rotation(store, lookup, time.time(), every=every, keep=keep)
    for text in rotation.turn(domain):
        click.echo(text)
    return os.EX_TEMPFAIL if rotation.trouble else os.EX_OK


def _new(store: DkimStore, domain: str, algorithm: str, selector: str) -> int:
    if not domain:
        raise Usage("usage: mail-dkim new DOMAIN")
    kind: KeyKind = "ed25519" if algorithm == "ed25519" else "rsa"
    line = store.add(domain, kind, selector, time.time())
    click.echo(zone_line(line, store.load(line)))
    return os.EX_OK


def _list(store: DkimStore, domain: str) -> int:
    for line in store.lines(domain):
        kind = store.load(line).kind
        click.echo(f"{line.domain}\t{line.selector}\t{kind}\t{line.state}\t{line.since or '-'}")
    return os.EX_OK


def _check(store: DkimStore, domain: str, lookup: Lookup) -> int:
    code = os.EX_OK
    for line in store.lines(domain):
        found = published(line, store.load(line), lookup)
        click.echo(f"{line.domain}\t{line.selector}\t{line.state}\t{found}")
        if found != OK and line.state is State.SIGNING:
            code = os.EX_DATAERR
    return code


def _seconds(text: str) -> int:
    found = duration(text)
    if found is None:
        raise Usage(f"{text!r} is not a duration: 300, 5min, 4h, 5d, 1w")
    return found


def _group(spool: str) -> int:
    """Give the group of the queue's owner, as whom relay-send reads keys; -1 where we are he."""
    return owner_of(f"{spool}/queue")[1] if os.geteuid() == 0 else -1
