"""queue-run: give what is due in the queue to the delivery agents."""

import os
import sys
import time

import click

from mailtools.cli import command, etc_option, spool_option
from mailtools.commands.parts import classes_of, home_of, need_folder, schedule_of, transports_of
from mailtools.config import Config
from mailtools.errors import BadAddress, SystemTrouble
from mailtools.mail.address import ascii_domain, parse_domain
from mailtools.mail.reply import one_line
from mailtools.services.access.become import closed_to_us
from mailtools.services.queue import selection
from mailtools.services.queue.holding import HoldRules
from mailtools.services.queue.limits import Limits
from mailtools.services.queue.ownership import Ownership
from mailtools.services.queue.plan import Plan
from mailtools.services.queue.privileges import become_owner
from mailtools.services.queue.run import Run
from mailtools.services.queue.selection import Selection
from mailtools.store import lock
from mailtools.store.lease import Lease, myself
from mailtools.store.queue import Queue


@command("queue-run")
@etc_option
@spool_option
@click.option("--wait", is_flag=True, help="Stay, and try what comes as it comes.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Try this entry now, due or not.")
@click.option(
    "--domain",
    "domains",
    multiple=True,
    metavar="DOMAIN",
    help="Try all that goes to this domain now.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be tried, and by which agent.")
def main(
    *,
    etc: str,
    spool: str,
    wait: bool,
    ids: tuple[str, ...],
    domains: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Give what is due in the queue to the delivery agents, and note what they report.

    Without options it is one pass, for cron or a timer; with --wait it stays, for a supervisor.
    One runs at a time: a second one wakes the first, and exits.
    """
    chosen = Selection(frozenset(ids), frozenset(map(_domain, domains)))
    if wait and (chosen.ids or chosen.domains or dry_run):
        raise click.UsageError("--wait goes with no --id, --domain or --dry-run")
    queue = Queue(os.path.abspath(os.path.join(spool, "queue")))
    asked = chosen if chosen.ids or chosen.domains else None
    if closed := closed_to_us(queue.path):
        raise SystemTrouble(detail=closed)
    owner = become_owner(queue.path)
    plan = read_plan(etc, owner)
    if dry_run:
        for line in selection.preview(queue, plan.transports, asked, time.time(), plan.rules):
            click.echo("\t".join(map(one_line, line.split("\t"))))
        return os.EX_OK
    queue.create()
    held = lock.hold(f"{queue.path}/lock", 0)
    if held is None:
        if asked:
            selection.hand_over(queue, asked)
        queue.pull()
        return os.EX_OK
    _prepare(etc, spool)
    ownership = None
    if plan.lease:
        lease = Lease(f"{queue.path}/owner", myself(plan.me), plan.lease)
        ownership = Ownership(lease, plan.lease)
        if not ownership.take(wait=wait):
            return os.EX_OK
    run = Run(queue, plan, lambda: read_plan(etc, owner), ownership)
    done = run.wait() if wait else run.once(asked)
    if ownership:
        ownership.release()
    return os.EX_OK if done else os.EX_TEMPFAIL


def _domain(text: str) -> str:
    """Read a domain, or with a dot before it its subdomains; raise BadAddress."""
    name = text.removeprefix(".")
    try:
        parse_domain(name)
    except BadAddress as failure:
        raise BadAddress(detail=f"--domain {text!r}: {failure.text}") from failure
    return text[: len(text) - len(name)] + ascii_domain(name)


def read_plan(etc: str, owner: tuple[int, int] | None) -> Plan:
    """Read the settings, and make the plan of them; raise Misconfigured with all faults."""
    config = Config(etc)
    need_folder(config)
    me = config.line("me")
    plan = Plan(
        me,
        f"postmaster@{home_of(config)}",
        schedule_of(config),
        transports_of(config),
        local_agents=max(config.number("local-agents"), 1),
        relay_agents=max(config.number("relay-agents"), 1),
        history=config.seconds("history"),
        keep_failed=config.seconds("keep-failed"),
        keep_delivered=config.seconds("keep-delivered"),
        lease=config.seconds("lease"),
        suppress=config.seconds("suppress"),
        limits=_limits(config),
        classes=classes_of(config),
        rules=_hold_rules(config),
        owner=owner,
    )
    config.check()
    return plan


def _hold_rules(config: Config) -> HoldRules:
    found = []
    for number, line in enumerate(config.lines("hold"), 1):
        try:
            HoldRules([line])
        except ValueError as error:
            config.fault("hold", number, str(error))
        else:
            found.append(line)
    return HoldRules(found)


def _limits(config: Config) -> Limits:
    found = {}
    for name, value in config.mapping("destination-limits").items():
        try:
            Limits({name: value})
        except ValueError as error:
            config.fault("destination-limits", 0, f"{name}: {error}")
        else:
            found[name] = value
    return Limits(found)


def _prepare(etc: str, spool: str) -> None:
    """Let agents find the same folders, and the programs that stand beside this one."""
    os.environ["MAILTOOLS_ETC"] = os.path.abspath(etc)
    os.environ["MAILTOOLS_SPOOL"] = os.path.abspath(spool)
    beside = (os.path.dirname(os.path.abspath(name)) for name in (sys.argv[0], sys.executable))
    os.environ["PATH"] = os.pathsep.join((*beside, os.environ.get("PATH", os.defpath)))
