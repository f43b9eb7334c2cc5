"""relay-send: relay mail to other hosts by SMTP or LMTP."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from mailtools.cli import command, etc_option, need_addresses, spool_option
from mailtools.commands.parts import batv_of, need_folder
from mailtools.commands.relay_parts import (
    floor_of,
    ignored_offers,
    policies_of,
    resolver_of,
    routes_of,
)
from mailtools.config import Config
from mailtools.errors import Misconfigured, Usage
from mailtools.net.loop import Loop
from mailtools.services.agent import deliver_once
from mailtools.services.relay.agent import JOBS, RelayAgent
from mailtools.services.relay.connections import Pool
from mailtools.services.relay.dkim_keys import Keyring
from mailtools.services.relay.families import Families
from mailtools.services.relay.relay import Relay, unchanged
from mailtools.services.relay.route import parse_route
from mailtools.services.relay.signing import Signing
from mailtools.services.relay.smarthost import Smarthosts
from mailtools.services.relay.tls_policy import Contexts
from mailtools.services.relay.tls_rules import TlsRules

if TYPE_CHECKING:
    from mailtools.services.relay.route import Route
    from mailtools.services.reports.tls_data import TlsData


THREADS = JOBS + 16  # so that names nobody answers for do not hold up the others' look-ups


@command("relay-send", mailer=True)
@etc_option
@spool_option
@click.option("--from", "sender", metavar="ADDRESS", default="", help="The reverse-path.")
@click.option("--via", metavar="HOST:PORT", help="Relay everything through this host.")
@click.option("--lmtp", is_flag=True, help="Speak LMTP (RFC 2033) to the host of --via.")
@click.option("--jobs", is_flag=True, help="Do the jobs of a queue run: mailtools-jobs(5).")
@click.option(
    "--side-by-side",
    metavar="N",
    type=click.IntRange(1, 1000),
    default=JOBS,
    show_default=True,
    help="How many jobs to do at a time.",
)
@click.argument("addresses", metavar="[ADDRESS]...", nargs=-1)
def main(
    *,
    etc: str,
    spool: str,
    sender: str,
    via: str | None,
    lmtp: bool,
    jobs: bool,
    side_by_side: int,
    addresses: tuple[str, ...],
) -> int:
    """Relay the message on stdin to each ADDRESS; without one, do the jobs of a queue run."""
    if jobs and addresses:
        raise Usage(detail="--jobs takes its addresses from the queue run, not from the line")
    if lmtp and not via:
        raise Usage(detail="--lmtp needs --via")
    need_addresses(*addresses, *([sender] if sender else []))
    agent = build(Config(etc), spool, via, lmtp)
    if addresses:
        return deliver_once(agent.deliver, sender, addresses)
    agent.serve(side_by_side)
    return 0


def build(config: Config, spool: str, via: str | None, lmtp: bool) -> RelayAgent:
    """Read the settings, and make the agent of them; raise Misconfigured with all faults."""
    if not via:
        need_folder(config)
    me, server = config.line("me"), config.line("resolver")
    rules_table = config.mapping("tls-policy")
    routes = routes_of(config, via=_via(via, lmtp=lmtp) if via else None)
    families = Families(config.line("ipv6"))
    smarthosts = Smarthosts(config.file("route-credentials"))
    keyring = Keyring(config.folder)
    signing = Signing(
        keyring,
        lifetime=config.seconds("dkim-expire"),
        sealers=sealers(config) if config.flag("arc-seal") else (),
        authserv_id=config.line("authserv-id"),
    )
    ignored = ignored_offers(config)
    noted, size = config.flag("tls-reports"), config.octets("reports-size")
    batv = batv_of(config)
    floor = floor_of(config, spool) if os.access(spool, os.W_OK) else None
    config.check()
    keyring.refresh()

    loop, contexts, resolver = Loop(THREADS), Contexts(), resolver_of(server)
    pool = Pool(loop, me, contexts.context)
    data = _tls_data(f"{spool}/reports", size) if noted and not via else None
    rules = TlsRules(rules_table, policies_of(spool, resolver, contexts), data)
    relay = Relay(
        loop,
        pool,
        routes,
        resolver,
        credentials=smarthosts.login,
        rules=rules,
        signing=signing,
        ignored=ignored,
        families=families,
        sessions=data,
        floor=floor,
        reverse_path=batv.reverse_path if batv else unchanged,
    )
    return RelayAgent(loop, pool, relay)


def _via(text: str, *, lmtp: bool) -> Route:
    try:
        return parse_route(text, lmtp=lmtp)
    except Misconfigured as failure:
        raise Usage(detail=f"--via {failure.detail or failure.text}") from failure


def _tls_data(folder: str, most: int) -> TlsData:
    from mailtools.services.reports.tls_data import TlsData  # few sites send reports
    from mailtools.store.report_data import Collected

    return TlsData(Collected(folder, "tls", most), time.time)


def sealers(config: Config) -> list[str]:
    """Give the domains an ARC seal may be in the name of: this host's, then the local ones."""
    return [
        config.line("me").lower(),
        *(name.strip(".").lower() for name in config.lines("locals")),
    ]
