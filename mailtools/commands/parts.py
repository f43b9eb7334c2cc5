"""What several commands build from the same control files: accounts, directory, certificates."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from mailtools.config import Config
from mailtools.errors import BadAddress, Misconfigured
from mailtools.mail.address import ascii_domain, parse_domain
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.elsewhere import Elsewhere
from mailtools.services.access.networks import Networks, is_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

    from mailtools.services.access.service import Door
    from mailtools.services.local.batv import Batv
    from mailtools.services.local.directory import Directory
    from mailtools.services.local.srs import Srs
    from mailtools.services.queue.classes import Classes
    from mailtools.services.queue.schedule import Schedule
    from mailtools.services.queue.transports import Transports
    from mailtools.services.reception.relay_domains import RelayDomains


def accounts_of(config: Config, *, state: str = "") -> Accounts:
    """Make the accounts; faults of the settings are noted in `config`.

    `state` is a folder to count failed logins and to note app passwords' use in.
    """
    need_folder(config)
    return Accounts(
        config.file("accounts"),
        maildir=config.line("maildir"),
        local_domains=config.lines("locals"),
        system_users=config.flag("system-users"),
        owner=mailbox_owner(config),
        state=state,
        elsewhere=_elsewhere(config),
        old=[name.upper() for name in ("cram-md5", "apop") if config.flag(name)],
    )


def door_of(config: Config, spool: str, *, tls: bool, protocol: str) -> Door:
    """Make the way into a readers' server; faults of the settings are noted in `config`.

    `tls` starts it before the greeting; `protocol` is what ALPN calls it.
    """
    from mailtools.services.access.service import Door  # the others need none

    accounts = accounts_of(config, state=f"{spool}/accounts")
    return Door(
        accounts,
        config.line("me"),
        tls_of(config, needed=tls, accounts=accounts, protocols=(protocol,)),
        tls,
        config.flag("plaintext-login"),
        networks_of(config, "proxies"),
    )


def _elsewhere(config: Config) -> Elsewhere:
    pam = config.line("pam-service")
    found = Elsewhere(
        config.line("auth-program"),
        config.path("auth-socket"),
        os.path.join(config.folder, pam) if "/" in pam else pam,
        config.line("token-program"),
    )
    if sum(map(bool, (found.program, found.socket, found.pam))) > 1:
        config.fault("auth-program", 0, "only one of auth-program, auth-socket, pam-service")
    return found


def mailbox_owner(config: Config) -> tuple[int, int] | None:
    """Give uid and gid of the control file `mailbox-owner`; None where it does not say.

    Without root all mailboxes belong to the user who runs this.
    """
    name = config.line("mailbox-owner")
    if not name:
        return None if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    try:
        user = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        config.fault("mailbox-owner", 0, f"{name!r} is not a user of this host")
        return None
    return user.pw_uid, user.pw_gid


def home_of(config: Config) -> str:
    """Give the domain of names that have none: the first local one, or else this host's name."""
    return next((name for name in config.lines("locals") if name[:1] != "."), config.line("me"))


def need_folder(config: Config) -> None:
    """Note a control folder that is not there as a fault.

    Defaults in its stead (a slip in --etc, a disk not mounted) would refuse mail for good, or send
    it past the smarthost.
    """
    if not os.path.isdir(config.folder):
        config.fault("", 0, "there is no such control folder: make it, or name another with --etc")


def directory_of(config: Config, accounts: Accounts) -> Directory:
    """Make the directory of addresses; faults of the settings are noted in `config`."""
    from mailtools.services.local.directory import Directory  # the readers' servers need none

    srs = srs_of(config)
    directory = Directory(
        config.line("me"),
        config.lines("locals"),
        accounts,
        aliases=config.file("aliases"),
        virtual=config.file("virtual"),
        separators=config.line("extension-separators"),
        srs=srs,
        batv=batv_of(config),
    )
    if srs and not directory.is_local(srs.domain):
        config.fault("srs-domain", 0, f"{srs.domain} is not local: what comes back is for us")
    return directory


def relay_domains_of(config: Config) -> RelayDomains | None:
    """Make the domains that are relayed for strangers; None where there are none."""
    lines = []
    for number, line in enumerate(config.lines("relay-domains"), 1):
        try:
            parse_domain(line.removeprefix("."))
            ascii_domain(line)
        except BadAddress as fault:
            config.fault("relay-domains", number, f"{line!r}: {fault.text}")
        else:
            lines.append(line)
    if not lines:
        return None
    from mailtools.services.reception.relay_domains import RelayDomains  # few sites have any

    path = os.path.join(config.folder, "relay-recipients")
    return RelayDomains(lines, path, config.line("extension-separators"))


def srs_of(config: Config) -> Srs | None:
    """Make what rewrites the reverse-paths of forwards; None where there is no secret.

    Faults of the settings are noted in `config`.
    """
    path = config.file("srs-secrets")
    if not path:
        return None
    from mailtools.services.local.srs import Srs  # the readers' servers need none

    domain = config.line("srs-domain") or home_of(config)
    return config.attempt(lambda: Srs(path, domain))


def batv_of(config: Config) -> Batv | None:
    """Make the tags of reverse-paths; None where there is no secret.

    Faults of the settings are noted in `config`.
    """
    path = config.file("batv-secrets")
    if not path:
        return None
    from mailtools.services.local.batv import Batv  # few sites have any

    return config.attempt(lambda: Batv(path, config.lines("locals")))


def schedule_of(config: Config) -> Schedule:
    """Make the schedule of attempts; faults of the settings are noted in `config`."""
    from mailtools.services.queue.schedule import Schedule  # the servers need none

    return Schedule(
        retry_first=config.seconds("retry-first"),
        retry_most=config.seconds("retry-most"),
        lifetime=config.seconds("lifetime"),
        bounce_lifetime=config.seconds("bounce-lifetime"),
        delay_warning=config.seconds("delay-warning"),
    )


def classes_of(config: Config) -> Classes:
    """Read which destinations have a schedule of their own: `retry-classes`."""
    from mailtools.config import duration
    from mailtools.services.queue.classes import Classes, parse_class
    from mailtools.services.relay import by_domain

    found = {}
    for name, value in config.mapping("retry-classes").items():
        try:
            found[by_domain.key(name)] = parse_class(value, duration)
        except ValueError as error:
            config.fault("retry-classes", 0, f"{name}: {error}")
        except Misconfigured as fault:
            config.fault("retry-classes", 0, fault.detail)
    return Classes(found)


def transports_of(config: Config) -> Transports:
    """Make the table of agents by domain; faults of the settings are noted in `config`."""
    from mailtools.services.local.aliases import virtual_domains
    from mailtools.services.queue.transports import Transports

    return Transports(
        config.lines("locals"),
        config.mapping("transports"),
        virtual_domains(os.path.join(config.folder, "virtual")),
    )


def tls_of(
    config: Config,
    *,
    needed: bool,
    accounts: Accounts | None = None,
    protocols: tuple[str, ...] = (),
) -> Callable[[], SSLContext] | None:
    """Give what makes the TLS context; None where no certificate is named.

    `needed` makes that a fault. Where one of `accounts` has a client certificate, clients are asked
    for theirs. `protocols` are those of ALPN that are served. What is wrong with the files is noted
    in `config`.
    """
    certificate, key = config.path("tls-certificate"), config.path("tls-key")
    if not certificate:
        if needed:
            config.fault("tls-certificate", 0, "is missing, and --tls needs it")
        return None
    from mailtools.net.tls import Certificates, Chain  # ssl costs 10 ms: only where TLS is offered
    from mailtools.services.access.certificate import wanted

    chains = [Chain("", certificate, key or certificate)]
    chains += (Chain(*parts) for parts in named_chains(config))
    certificates = Certificates(
        chains,
        tickets=config.flag("tls-tickets"),
        clients=config.path("tls-clients") if accounts is not None else "",
        ask_clients=lambda: accounts is not None and wanted(accounts),
        protocols=protocols,
    )
    config.attempt(certificates.context)  # what is wrong with it is said now
    return certificates.context


def tls_stamp(etc: str) -> object:
    """Give what is another when a certificate or key was renewed: which files, and how they are."""
    config = Config(etc)
    chains = (("", config.path("tls-certificate"), config.path("tls-key")), *named_chains(config))
    files = {path for _, *paths in chains for path in paths if path}
    files.add(config.path("tls-clients"))
    return frozenset((path, _as_it_is(path)) for path in files)


def _as_it_is(path: str) -> tuple[int, ...]:
    try:
        about = os.stat(path)
    except OSError:
        return ()
    return about.st_mtime_ns, about.st_ino, about.st_size


def named_chains(config: Config) -> list[tuple[str, str, str]]:
    """Read tls-certificates: name ("" for `*`), certificate and key of each line."""
    found = []
    for number, text in enumerate(config.lines("tls-certificates"), 1):
        name, colon, rest = text.partition(":")
        paths = [os.path.join(config.folder, os.path.expanduser(path)) for path in rest.split()]
        if not colon or not 1 <= len(paths) <= 2:
            what = "`name: certificate key` expected, or one file with both"
            config.fault("tls-certificates", number, what)
            continue
        plain = name.strip().lower().rstrip(".")
        found.append(("" if plain == "*" else plain, paths[0], paths[-1]))
    return found


def networks_of(config: Config, name: str) -> Networks:
    """Read a list of addresses and networks; what is neither is a fault."""
    found = []
    for number, text in enumerate(config.lines(name), 1):
        if is_network(text):
            found.append(text)
        else:
            config.fault(name, number, f"{text!r} is neither an IP address nor a network")
    return Networks(found)
