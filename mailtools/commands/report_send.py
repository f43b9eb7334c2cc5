"""report-send: tell domains what became of mail in their name, and of TLS with their hosts."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mailtools.cli import command, etc_option, progress, spool_option
from mailtools.commands.parts import home_of, need_folder
from mailtools.config import Config
from mailtools.errors import BadAddress, DnsTrouble, Misconfigured, Usage
from mailtools.mail.address import parse_address

if TYPE_CHECKING:
    from mailtools.services.reports.compose import Reporter
    from mailtools.services.reports.failures import FailureSending
    from mailtools.services.reports.send import Item, Sending


@command("report-send")
@etc_option
@spool_option
@click.option(
    "--day", metavar="YYYY-MM-DD", help="This UTC day only, instead of all that are over."
)
@click.option("--dry-run", is_flag=True, help="Only say which reports would go where.")
@click.option("--show", is_flag=True, help="Print these reports whole; nothing is sent.")
@click.argument("domains", metavar="[DOMAIN]...", nargs=-1)
def main(
    *, etc: str, spool: str, day: str | None, dry_run: bool, show: bool, domains: tuple[str, ...]
) -> int:
    """Send the reports of the days that are over to the domains that ask for them.

    For cron or a timer, once a day: DMARC aggregate reports (RFC 9990) of what smtpd-accept found,
    SMTP TLS reports (RFC 8460) of what relay-send met. With a DOMAIN, only on that.
    """
    if day is not None and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        raise Usage(f"{day!r} is not a day: 2026-11-23")
    config = Config(etc)
    kinds = _kinds(config)
    sending = build(config, spool)
    # Failures know no day, and are sent together: those of one domain alone cannot be set aside.
    failures = failures_of(config, spool) if not day else None
    chosen = frozenset(domain.lower().rstrip(".") for domain in domains)
    if dry_run or show:
        today = time.strftime("%Y-%m-%d", time.gmtime())
        for kind in kinds:
            days = [day] if day else [*sending.days(kind), today]
            _preview(sending, [item for d in days for item in sending.items(kind, d)], chosen, show)
        if failures is not None:
            _preview_failures(failures, chosen, show)
        return os.EX_OK
    return _send(sending, kinds, day, chosen, spool, failures=failures if not domains else None)


def _send(
    sending: Sending,
    kinds: list[str],
    day: str | None,
    chosen: frozenset[str],
    spool: str,
    *,
    failures: FailureSending | None,
) -> int:
    from mailtools.services.access.become import become_owner
    from mailtools.store import disk, lock
    from mailtools.store.queue import Queue

    become_owner(f"{spool}/queue")
    Queue(f"{spool}/queue").create()
    folder = f"{spool}/reports"
    disk.make_directory(folder)
    held = lock.hold_folder(folder, "lock")
    if held is None:
        return os.EX_OK  # another one is at it
    left = failures is not None and not failures.send()
    if sys.stderr.isatty():
        sending.make_room = lambda: click.echo("\r\x1b[K", nl=False, err=True)
    for kind in kinds:
        over = sending.days(kind)
        if day and day not in over and day >= time.strftime("%Y-%m-%d", time.gmtime()):
            raise Usage(f"{day} is not over yet: --dry-run and --show tell what there is")
        for each in over if not day else [day]:
            items = [item for item in sending.items(kind, each) if _is_chosen(item, chosen)]
            done = sending.send(items)
            for sent in progress(done, f"{kind} {each}", talks=False, number=len(items)):
                left = not sent or left
    sending.sweep()
    held.release()
    return os.EX_TEMPFAIL if left else os.EX_OK


def _is_chosen(item: Item, chosen: frozenset[str]) -> bool:
    return not chosen or item.subject.domain in chosen


def _preview(sending: Sending, items: list[Item], chosen: frozenset[str], show: bool) -> None:
    wanted = [item for item in items if _is_chosen(item, chosen)]
    for item, places in sending.asked(wanted):
        subject = item.subject
        if isinstance(places, DnsTrouble):
            click.echo(f"{subject.day}\t{subject.kind}\t{subject.domain}\t-\t{places.text}")
            continue
        report = sending.report(item)
        for where in (*places.addresses, *places.uris):
            click.echo(f"{subject.day}\t{subject.kind}\t{subject.domain}\t{report.number}\t{where}")
        for fault in places.faults or ([] if places else ["the domain asks for none now"]):
            click.echo(f"{subject.day}\t{subject.kind}\t{subject.domain}\t-\t{fault}")
        if show:
            click.echo(report.plain.decode())


def _preview_failures(failures: FailureSending, chosen: frozenset[str], show: bool) -> None:
    from mailtools.services.reports.dispatch import asked

    wanted = [each for each in failures.waiting() if not chosen or each.domain in chosen]
    for failed, places in asked(wanted, failures.places):
        start = f"{failed.subject.day}\tfailure\t{failed.domain}"
        if isinstance(places, DnsTrouble):
            click.echo(f"{start}\t-\t{places.text}")
            continue
        for where in places.addresses:
            click.echo(f"{start}\t{failed.number}\t{where}")
        for fault in places.faults or (
            [] if places.addresses else ["the domain asks for none now"]
        ):
            click.echo(f"{start}\t-\t{fault}")
        if show and places.addresses:
            click.echo(failures.message(failed, places, time.time()).decode())


def _kinds(config: Config) -> list[str]:
    kinds = [kind for kind in ("dmarc", "tls") if config.flag(f"{kind}-reports")]
    if not kinds and not config.flag("dmarc-failure-reports"):
        need_folder(config)
        config.check()
        raise Misconfigured(
            detail=f"{config.folder}: neither dmarc-reports nor tls-reports is on, "
            "nor dmarc-failure-reports: nothing is noted that could be reported"
        )
    return kinds


def build(config: Config, spool: str) -> Sending:
    """Read the settings, and make what sends of them; raise Misconfigured with all faults."""
    from mailtools.net.dns import Resolver
    from mailtools.services.reports.post import poster
    from mailtools.services.reports.send import Sending
    from mailtools.store.queue import Queue

    reporter, bounces = _reporter(config)
    resolver = Resolver(config.line("resolver"))
    ours = _ours(config)
    config.check()
    return Sending(
        f"{spool}/reports",
        Queue(f"{spool}/queue"),
        reporter,
        resolver.lookup,
        poster(resolver.addresses),
        clock=time.time,
        bounces=bounces,
        passed_over=ours,
    )


def failures_of(config: Config, spool: str) -> FailureSending | None:
    """Make what sends failure reports; None where that is not on."""
    if not config.flag("dmarc-failure-reports"):
        return None
    from mailtools.net.dns import Resolver
    from mailtools.services.reports.failures import FailureSending
    from mailtools.store.queue import Queue

    reporter, bounces = _reporter(config)
    return FailureSending(
        f"{spool}/reports",
        Queue(f"{spool}/queue"),
        reporter,
        Resolver(config.line("resolver")).lookup,
        clock=time.time,
        bounces=bounces,
        passed_over=_ours(config),
    )


def _reporter(config: Config) -> tuple[Reporter, str]:
    """Read who reports, and where bounces go; faults are noted in `config`."""
    from mailtools.services.reports.compose import Reporter

    need_folder(config)
    sender = config.line("report-from") or f"postmaster@{home_of(config)}"
    bounces = config.line("report-bounces")
    for name, address in (("report-from", sender), ("report-bounces", bounces or sender)):
        try:
            parse_address(address)
        except BadAddress as fault:
            config.fault(name, 1, f"{address!r}: {fault.text}")
    reporter = Reporter(config.line("me").lower(), config.line("report-organization"), sender)
    return reporter, bounces


def _ours(config: Config) -> Callable[[str], bool]:
    if config.flag("report-ourselves"):
        return lambda _: False
    names = {name.lower() for name in config.lines("locals")}
    above = tuple(name for name in names if name.startswith("."))
    return lambda domain: domain in names or domain.endswith(above)
