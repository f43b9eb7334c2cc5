"""mail-sts: MTA-STS policies of our own domains, and their records; those of others kept fresh."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mailtools.cli import command, etc_option, spool_option
from mailtools.commands.parts import need_folder
from mailtools.config import Config, duration
from mailtools.errors import BadParameter, Misconfigured, NoQueue, Usage

if TYPE_CHECKING:
    from mailtools.net.dns import Resolver
    from mailtools.services.publish.sts import Row, StsFiles
    from mailtools.trust.mta_sts import StsPolicy

_ALLOWED: dict[str, set[str]] = {
    "set": {"mode", "max_age", "mx", "reports", "web", "unchecked"},
    "check": {"wait"},
    "tlsa": set(),
    "refresh": set(),
}
FETCHES = 16  # policies fetched side by side
STEP = 10.0  # seconds between two looks of --wait
PATIENCE = 30.0  # seconds for a call at an exchanger
ANSWER = 10.0  # seconds for each step of a web server


@command("mail-sts")
@etc_option
@spool_option
@click.option(
    "--mode", type=click.Choice(["testing", "enforce", "none"]), help="set: what senders do."
)
@click.option("--max-age", metavar="DURATION", help="set: how long senders keep it.")
@click.option("--mx", metavar="PATTERN", multiple=True, help="set: an exchanger, not those in DNS.")
@click.option("--reports", metavar="URI", help="set: where TLS reports go.")
@click.option("--web", metavar="HOST", help="set: the web server, where DNS names none.")
@click.option("--unchecked", is_flag=True, help="set: enforce without a call at the exchangers.")
@click.option("--wait", metavar="DURATION", help="check: look again until all is well.")
@click.argument("verb", type=click.Choice(list(_ALLOWED)))
@click.argument("domain", required=False, default="")
def main(
    etc: str, spool: str, verb: str, domain: str, **options: str | tuple[str, ...] | None
) -> int:
    """Publish that mail for a domain comes by verified TLS (MTA-STS, RFC 8461), and check it.

    \b
    mail-sts set DOMAIN      write the policy file; print the records to publish
    mail-sts check [DOMAIN]  compare what others see with the files
    mail-sts tlsa [HOST]     print the TLSA records of a host's certificates, for DANE
    mail-sts refresh         fetch the policies of others again before they expire, for cron
    """
    for name, value in options.items():
        if value and name not in _ALLOWED[verb]:
            raise Usage(f"{verb} takes no --{name.replace('_', '-')}")
    config = Config(etc)
    need_folder(config)
    if verb == "refresh":
        if domain:
            raise Usage("refresh takes no DOMAIN")
        return _refresh(config, spool)
    if verb == "tlsa":
        return _tlsa(config, domain)
    if verb == "check":
        return _check(config, domain, _seconds(str(options["wait"] or "0")))
    if not domain:
        raise Usage("usage: mail-sts set DOMAIN")
    return _set(config, domain, **options)


# -- set ------------------------------------------------------------------------------------------


def _set(config: Config, text: str, **options: str | tuple[str, ...] | None) -> int:
    from mailtools.services.publish.sts import domain_of, planned, records

    domain, files, resolver = domain_of(text), _files(config), _resolver(config)
    me = config.line("me").lower()
    config.check()
    before = files.read(domain)
    exchangers = exchangers_of(domain, resolver)
    patterns = tuple(options["mx"] or exchangers)
    age = _seconds(str(options["max_age"])) if options["max_age"] else None
    policy = planned(before, str(options["mode"] or ""), age, patterns)
    _see_to_it(policy, exchangers, me, resolver, unchecked=bool(options["unchecked"]))
    wanted = records(
        domain,
        policy,
        resolver.lookup,
        web=str(options["web"] or me),
        reports=_uri(str(options["reports"] or f"postmaster@{domain}")),
    )
    lines = [f"; {line}: there" if there else line for line, there in wanted]
    written = files.write(domain, policy)
    click.echo(f"; {files.path(domain)}: {'written' if written else 'as it was'}")
    if policy.mode.value == "none":
        kept = before.max_age if before else policy.max_age
        click.echo(f"; after {kept} seconds at least, remove file and records (RFC 8461 8.3)")
    for line in lines:
        click.echo(line)
    return os.EX_OK


def _see_to_it(
    policy: StsPolicy, exchangers: list[str], me: str, resolver: Resolver, *, unchecked: bool
) -> None:
    """Raise BadParameter where a policy to enforce would keep mail away."""
    from mailtools.services.publish.sts import left_out

    if policy.mode.value != "enforce":
        return
    faults = [
        f"{host} is in DNS, and --mx does not name it" for host in left_out(policy, exchangers)
    ]
    if not unchecked and not faults:
        from mailtools.services.publish.sts_dial import unproven
        from mailtools.services.relay.tls_policy import Contexts
        from mailtools.services.route.dial import Dialler  # with it comes ssl

        dialler = Dialler(me, Contexts(), PATIENCE)
        faults = list(unproven(exchangers, resolver.addresses, dialler.call))
    if faults:
        raise BadParameter("nothing is written, for mail would stay away: " + "; ".join(faults))


def _uri(text: str) -> str:
    uri = text if text.lower().startswith(("mailto:", "https:")) else f"mailto:{text}"
    if not uri.isascii() or not uri.isprintable() or any(c in uri for c in ' ";,'):
        raise Usage(f"{text!r} is neither an address nor a URI")
    return uri


# -- check ----------------------------------------------------------------------------------------


def _check(config: Config, text: str, patience: int) -> int:
    from mailtools.services.publish.sts import domain_of

    files = _files(config)
    names = [text] if text else [name for name in config.lines("locals") if name[0] != "."]
    domains = [domain_of(name) for name in names]
    resolver = _resolver(config)
    config.check()
    end = time.monotonic() + patience
    while True:
        rows = [(domain, row) for domain in domains for row in _rows(domain, files, resolver)]
        well = not any(row.fault for _, row in rows)
        if well or time.monotonic() >= end:
            break
        time.sleep(min(STEP, max(0.0, end - time.monotonic())))
        resolver = _resolver(config)  # what DNS said is forgotten
    if text and not rows:
        raise BadParameter(f"{text} has no policy, here or in DNS: mail-sts set {text}")
    for domain, row in rows:
        click.echo(f"{domain}\t{row.what}\t{row.fault or 'ok'}")
    return os.EX_OK if well else os.EX_DATAERR


def _rows(domain: str, files: StsFiles, resolver: Resolver) -> list[Row]:
    from mailtools.services.publish.sts import seen

    policy = files.read(domain)
    if policy is None and not resolver.lookup(f"_mta-sts.{domain}", "TXT").records:
        return []
    exchangers = exchangers_of(domain, resolver)
    return list(seen(domain, policy, resolver.lookup, fetcher(resolver), exchangers))


def fetcher(resolver: Resolver) -> Callable[[str], bytes]:
    """Give what fetches a domain's policy as a sender does; it raises a Failure."""

    def fetch(domain: str) -> bytes:
        from mailtools.net.https import fetch  # with it comes ssl
        from mailtools.net.tls import client_context
        from mailtools.services.publish.sts import PATH

        host, context = f"mta-sts.{domain}", client_context(verify=True)
        return fetch(host, f"/{PATH}", resolver.addresses(host), context, timeout=ANSWER)

    return fetch


def exchangers_of(domain: str, resolver: Resolver) -> list[str]:
    """Give the exchangers of a domain, best first; raise NullMx, DnsTrouble."""
    from mailtools.services.relay.exchangers import ranked

    levels = ranked(resolver.exchangers(domain).records, domain)
    return [host for level in levels for host in level]


# -- refresh --------------------------------------------------------------------------------------


def _refresh(config: Config, spool: str) -> int:
    from concurrent.futures import ThreadPoolExecutor

    from mailtools.commands.relay_parts import policies_of
    from mailtools.services.access.become import acting_for
    from mailtools.services.relay.tls_policy import Contexts

    if not os.access(spool, os.W_OK):
        raise NoQueue(f"{spool} is not there, or not ours to write")
    resolver = _resolver(config)
    config.check()
    with acting_for(spool):
        policies = policies_of(spool, lambda: resolver, Contexts())
        with ThreadPoolExecutor(FETCHES) as pool:
            list(pool.map(policies.policy, policies.aged()))
        left = policies.aged()
    for domain, until in left.items():
        _, reason = policies.fault(domain) or ("", "DNS shows no policy, or gave no answer")
        day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(until))
        click.echo(f"{domain}\t{reason}\tkept until {day}")
    return os.EX_TEMPFAIL if left else os.EX_OK


# -- tlsa -----------------------------------------------------------------------------------------


def _tlsa(config: Config, host: str) -> int:
    from mailtools.services.publish.sts import domain_of
    from mailtools.services.publish.tlsa import zone_lines

    name = domain_of(host or config.line("me"))
    chains = chains_for(config, name)
    config.check()
    if not chains:
        raise Misconfigured(detail=f"{config.folder}/tls-certificate: there is no certificate")
    for line in zone_lines(name, chains):
        click.echo(line)
    return os.EX_OK


def chains_for(config: Config, host: str) -> list[list[bytes]]:
    """Read the certificate chains that a host shows who asks for it by name."""
    from mailtools.commands.parts import named_chains
    from mailtools.services.publish.tlsa import chain_of

    named = named_chains(config)
    above = "*." + host.partition(".")[2]
    for wanted in (host, above):
        if found := [path for name, path, _ in named if name == wanted]:
            return [chain_of(path) for path in found]
    paths = [config.path("tls-certificate"), *(path for name, path, _ in named if not name)]
    return [chain_of(path) for path in paths if path]


# -- parts ----------------------------------------------------------------------------------------


def _files(config: Config) -> StsFiles:
    from mailtools.services.publish.sts import StsFiles

    folder = config.path("mta-sts-folder")
    if not folder:
        config.fault("mta-sts-folder", 0, "is missing: the folder of a web server's files")
        config.check()
    return StsFiles(folder)


def _resolver(config: Config) -> Resolver:
    from mailtools.net.dns import Resolver  # 75 ms: only where DNS is asked

    return Resolver(config.line("resolver"))


def _seconds(text: str) -> int:
    found = duration(text)
    if found is None:
        raise Usage(f"{text!r} is not a duration: 300, 5min, 4h, 5d, 1w")
    return found
