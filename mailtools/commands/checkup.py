"""What mail-check looks at: the control files, given to each check as plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from mailtools.commands.parts import (
    accounts_of,
    directory_of,
    home_of,
    named_chains,
    relay_domains_of,
    tls_of,
    transports_of,
)
from mailtools.config import Config
from mailtools.services.access.become import owner_of
from mailtools.services.check import (
    check_access,
    check_queue,
    check_reports,
    check_site,
    check_strangers,
    check_world,
)
from mailtools.services.check.check_access import Reader
from mailtools.services.check.finding import Finding, careful, complaints, fault, said, warning
from mailtools.services.publish.dkim_store import DkimStore
from mailtools.services.queue.transports import RELAY
from mailtools.services.relay.dkim_keys import State, key_path
from mailtools.settings import SETTINGS

if TYPE_CHECKING:
    from mailtools.net.dns import Resolver

TIMES = ("lifetime", "bounce-lifetime", "retry-first", "retry-most")
SECRETS = ("accounts", "app-passwords", "route-credentials", "srs-secrets", "batv-secrets")
_MENDS = {
    "accounts": "mail-account, or mailtools-accounts(5)",
    "aliases": "see mailtools-aliases(5); newaliases checks it",
    "virtual": "see mailtools-aliases(5); newaliases checks it",
    "relay-recipients": "an address or @domain a line; see mailtools-control(5)",
    "mailbox-owner": "name a user of this host, or make him: "
    "useradd --system --create-home --home-dir /srv/mail vmail",
    "app-passwords": "see mailtools-accounts(5)",
}


def findings(etc: str, spool: str, *, dns: bool) -> Iterator[Finding]:
    """Yield everything that is wrong with a site; without `dns` nothing is looked up."""
    if not os.path.isdir(etc):  # all else would be said of defaults
        yield fault(
            etc, "there is no such control folder", f"mkdir {etc}, or name another with --etc"
        )
        return
    queue = os.path.join(spool, "queue")
    mends = mends_of()
    config = Config(etc)
    me = config.line("me")
    chains = named_chains(config)
    if certificate := config.path("tls-certificate"):
        chains.insert(0, ("", certificate, config.path("tls-key") or certificate))
    checks = [
        ("settings", check_site.control_folder(etc, SETTINGS)),
        ("settings", _permissions(config, queue)),  # knows better than a reader how it is mended
        ("settings", _settings(etc, spool, mends)),
        ("accounts", _addresses(config, mends)),
        ("programs", _programs(config)),
        ("settings", check_site.times({name: config.seconds(name) for name in TIMES})),
        ("relay-domains", _relayed(config, mends)),
        ("dkim-keys", _signing(config, queue, mends)),
        ("reports", _reports(config)),
        ("checks", _idle(config)),
        (
            "certificates",
            check_world.certificates(chains, lambda: _tls(etc), me),
        ),
        ("milters", _milters(config)),
        (queue, _room(config, queue)),
        (queue, check_queue.ownership(queue)),
        (queue, check_queue.health(queue, config.seconds("lifetime"))),
    ]
    if dns:
        checks.append(("DNS", _dns(config)))
    for where, check in checks:
        yield from careful(where, check, mends)


def _tls(etc: str) -> None:
    config = Config(etc)
    tls_of(config, needed=False)
    config.check()


def _milters(config: Config) -> Iterator[Finding]:
    if not config.lines("milters"):
        return
    from mailtools.commands.milters import rows_of
    from mailtools.services.check.check_milters import milters

    yield from milters(rows_of(config))


def mends_of() -> dict[str, str]:
    """Say how each setting is mended: by what may stand there."""
    mends = {
        one.name: f"kind: {one.kind}; default: {one.default}; see mailtools-control(5)"
        for one in SETTINGS.values()
    }
    return mends | _MENDS


def _settings(etc: str, spool: str, mends: dict[str, str]) -> Iterator[Finding]:
    config = Config(etc)
    config.read_all()
    yield from said(config.faults, mends)
    for reads in _readers(etc, spool):
        yield from complaints(reads, mends)


def _readers(etc: str, spool: str) -> Iterator[Callable[[], object]]:
    """Yield what the programs do with the settings when they start: they know best."""
    from mailtools.commands import local_deliver, queue_run, relay_send, report_send, smtpd_accept
    from mailtools.commands.relay_parts import routes_of
    from mailtools.services.relay.families import Families
    from mailtools.services.relay.smarthost import Smarthosts
    from mailtools.services.relay.tls_rules import TlsRules

    queue = f"{spool}/queue"
    yield lambda: routes_of(Config(etc))
    yield lambda: Families(Config(etc).line("ipv6"))
    yield lambda: TlsRules(Config(etc).mapping("tls-policy"))
    yield lambda: Smarthosts(Config(etc).file("route-credentials"))
    yield lambda: relay_send.build(Config(etc), spool, None, False)
    yield lambda: local_deliver.build(Config(etc), queue)
    yield lambda: queue_run.read_plan(etc, None)
    yield lambda: report_send.build(Config(etc), spool)
    for submission in (False, True):
        yield lambda submission=submission: smtpd_accept.build(  # type: ignore[misc]
            Config(etc), queue, tls=False, submission=submission, lmtp=False
        )


def _reader(queue: str) -> Reader | None:
    return Reader(*owner_of(queue)) if os.geteuid() == 0 else None


def _permissions(config: Config, queue: str) -> Iterator[Finding]:
    files = [path for name in SETTINGS if os.path.exists(path := f"{config.folder}/{name}")]
    secrets = [path for name in SECRETS if os.path.exists(path := f"{config.folder}/{name}")]
    own = config.path("tls-key") or config.path("tls-certificate")
    keys = {own, *(key for _, _, key in named_chains(config))} - {""}
    reader = _reader(queue)
    yield from check_access.modes([config.folder, *files], [*secrets, *keys], reader)
    yield from check_access.settings(sorted({*files, *secrets}), reader)
    yield from check_access.keys(sorted(keys), reader)


def _addresses(config: Config, mends: dict[str, str]) -> Iterator[Finding]:
    domains, book = config.lines("locals"), accounts_of(config)
    yield from check_site.names(config.line("me"), domains)
    directory = directory_of(config, book)
    yield from check_site.accounts(
        book, directory.is_local, system_users=config.flag("system-users"), mends=mends
    )
    yield from check_site.addresses(directory, domains, mends)
    yield from check_site.programs(dict(directory.programs()))


def _programs(config: Config) -> Iterator[Finding]:
    table = {f"transports: {key}": value for key, value in config.mapping("transports").items()}
    table |= {name: config.line(name) for name in ("auth-program", "token-program")}
    table |= {f"content-programs: {line}": line for line in config.lines("content-programs")}
    yield from check_site.programs(table)


def _room(config: Config, queue: str) -> Iterator[Finding]:
    places = [config.folder, *check_site.maildirs(accounts_of(config))]
    for path in (queue, *check_queue.file_systems(places)):
        yield from check_queue.room(path, config.octets("disk-floor"), config.number("inode-floor"))


def _relayed(config: Config, mends: dict[str, str]) -> Iterator[Finding]:
    found = relay_domains_of(config)
    if found is None:
        if path := config.file("relay-recipients"):
            yield warning(path, "nobody reads it: relay-domains is empty")
        return
    from mailtools.services.check.check_relay import relay_domains

    yield from relay_domains(found, directory_of(config, accounts_of(config)).is_local, mends)


def _signing(config: Config, queue: str, mends: dict[str, str]) -> Iterator[Finding]:
    """Look whether every key that signs can be used, by relay-send too."""
    store = DkimStore(config.folder)
    lines = store.lines()
    for line in lines:
        name = os.path.basename(key_path(config.folder, line))
        mend = "put the key there, or take its line out of dkim-keys"
        yield from complaints(partial(store.load, line), {**mends, name: mend})
    keys = [key_path(config.folder, line) for line in lines]
    yield from check_access.modes(keys, (), None)
    yield from check_access.settings(keys, _reader(queue))


def _idle(config: Config) -> Iterator[Finding]:
    names = {name for name in ("dnsbl", "arc-trusted") if config.lines(name)}
    if config.seconds("greylist"):
        names.add("greylist")
    if config.file("batv-secrets"):
        names.add("batv-secrets")
    yield from check_strangers.idle(config.folder, config.line("checks"), names)


def _unsigned(config: Config, domains: list[str]) -> Iterator[Finding]:
    """Look for domains whose mail nobody signs; a milter or smarthost may do so instead."""
    if config.lines("milters") or config.mapping("routes").get(""):
        return
    states: dict[str, set[State]] = {}
    for line in DkimStore(config.folder).lines():
        states.setdefault(line.domain, set()).add(line.state)
    for domain in domains:
        found = states.get(domain, set())
        if State.SIGNING in found:
            continue
        if found:
            yield warning(domain, "its DKIM key waits, and its mail goes out without a signature",
                          "publish the record, then: mail-dkim rotate")  # fmt: skip
        else:
            yield warning(domain, "its mail goes out without a DKIM signature: many distrust it",
                          f"mail-dkim new {domain}")  # fmt: skip


def _reports(config: Config) -> Iterator[Finding]:
    kinds = [kind for kind in ("dmarc", "tls", "dmarc-failure") if config.flag(f"{kind}-reports")]
    if kinds:
        yield from check_reports.reports(
            config.folder,
            kinds=kinds,
            checks=config.line("checks"),
            sender=config.line("report-from") or f"postmaster@{home_of(config)}",
            lines=DkimStore(config.folder).lines(),
        )


def _dns(config: Config) -> Iterator[Finding]:
    from mailtools.commands.beliefs import lists_of
    from mailtools.net.dns import Resolver  # 75 ms, and --no-dns does without
    from mailtools.services.relay.source import Sources

    resolver = Resolver(config.line("resolver"), timeout=3, attempts=2)
    world = check_world.World(resolver, config.line("me"))
    yield from world.host()
    yield from world.sources(Sources(config.mapping("source-addresses")).all)
    yield from world.domains(config.lines("locals"))
    yield from world.door()
    yield from _unsigned(config, world.known)
    if relayed := relay_domains_of(config):
        yield from world.relayed(relayed.lines, partial(_has_way, config))
    yield from _policies(config, resolver)
    yield from world.lists(each.zone for each in lists_of(config))


def _policies(config: Config, resolver: Resolver) -> Iterator[Finding]:
    from mailtools.commands.mail_sts import chains_for, fetcher
    from mailtools.mail.address import ascii_domain
    from mailtools.services.check import check_sts

    folder, domains = config.path("mta-sts-folder"), config.lines("locals")
    yield from check_sts.policies(domains, folder, resolver.lookup, fetcher(resolver))
    me = ascii_domain(config.line("me"))
    yield from check_sts.tlsa(me, chains_for(config, me), resolver.lookup)


def _has_way(config: Config, domain: str) -> bool:
    """Whether `transports` or `routes` say where a domain's mail goes; else its exchangers do."""
    from mailtools.commands.relay_parts import routes_of

    agent, _ = transports_of(config).find(f"postmaster@{domain}")
    route = routes_of(config).destination(f"postmaster@{domain}").route
    return agent != RELAY or route is not None
