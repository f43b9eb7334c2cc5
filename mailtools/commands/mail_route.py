"""mail-route: where mail for an address would go."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext

import click

from mailtools.cli import command, etc_option, spool_option
from mailtools.commands.parts import (
    accounts_of,
    classes_of,
    directory_of,
    relay_domains_of,
    schedule_of,
    transports_of,
)
from mailtools.commands.relay_parts import (
    floor_of,
    ignored_offers,
    policies_of,
    resolver_of,
    routes_of,
)
from mailtools.config import Config
from mailtools.mail.address import parse_address
from mailtools.mail.reply import one_line
from mailtools.services.access.become import acting_for
from mailtools.services.relay.dkim_keys import Keyring
from mailtools.services.relay.families import Families
from mailtools.services.relay.plan import Planner
from mailtools.services.relay.smarthost import Smarthosts
from mailtools.services.relay.tls_policy import Contexts
from mailtools.services.relay.tls_rules import TlsRules
from mailtools.services.route.dial import Dialler
from mailtools.services.route.journey import Journey
from mailtools.services.route.way_out import WayOut
from mailtools.store.destinations import Destinations
from mailtools.store.suppressed import Suppressed, Suppression


@command("mail-route")
@etc_option
@spool_option
@click.option("--from", "sender", metavar="ADDRESS", default="", help="The reverse-path.")
@click.option("--dial", is_flag=True, help="Call the first host that answers; send nothing.")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
def main(*, etc: str, spool: str, sender: str, dial: bool, addresses: tuple[str, ...]) -> int:
    """Show where mail for each ADDRESS would go: aliases, mailboxes, exchangers, TLS.

    Nothing is sent. The exit code says what would become of it.
    """
    if sender:
        parse_address(sender)
    journey = build(Config(etc), spool, sender, dial=dial)
    for address in addresses:
        for line in journey.follow(address):
            click.echo(one_line(str(line)))
    return journey.exit


def build(config: Config, spool: str, sender: str, *, dial: bool) -> Journey:
    """Read the settings, and make the journey of them; raise Misconfigured with all faults."""
    directory = directory_of(config, accounts_of(config))
    transports, relayed = transports_of(config), relay_domains_of(config)
    me, contexts = config.line("me"), Contexts()
    resolver = resolver_of(config.line("resolver"))
    policies = policies_of(spool, resolver, contexts)
    routes, ignored = routes_of(config), ignored_offers(config)
    families = Families(config.line("ipv6"))
    floor = floor_of(config, spool)
    rules = TlsRules(config.mapping("tls-policy"), policies)
    credentials, kept = config.file("route-credentials"), config.seconds("suppress")
    config.check()

    def as_owner() -> AbstractContextManager[None]:
        """What is kept in the spool belongs to its owner, whoever asks."""
        return acting_for(spool) if os.path.isdir(spool) else nullcontext()

    def way_out() -> WayOut:
        dialler = Dialler(me, contexts) if dial else None
        planner = Planner(me, resolver, rules, families=families)
        return WayOut(
            routes,
            planner,
            policies,
            Smarthosts(credentials),
            as_owner,
            dialler=dialler,
            ignored=ignored,
            floor=floor,
            keyring=Keyring(config.folder),
        )

    def suppressed(address: str) -> Suppression | None:
        one = Suppressed(f"{spool}/queue/suppress").find(address) if kept else None
        return one if one and one.since > time.time() - kept else None

    usual, classes = schedule_of(config), classes_of(config)
    config.check()

    def retries(address: str) -> str:
        own = classes.find(usual, address)
        return "" if own is usual else f"{own} (retry-classes)"

    silent = Destinations(f"{spool}/queue/dest")
    return Journey(
        directory,
        transports,
        way_out,
        silent,
        sender=sender,
        suppressed=suppressed,
        retries=retries,
        relayed=relayed,
    )
