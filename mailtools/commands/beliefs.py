"""What the control files say about strangers, for smtpd-accept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mailtools.commands.parts import batv_of
from mailtools.errors import BadAddress, Misconfigured
from mailtools.mail.address import ascii_domain, parse_domain
from mailtools.net.dns import Resolver, prepare
from mailtools.services.access.networks import Networks, is_network
from mailtools.services.reception.belief import Belief
from mailtools.services.reception.client_lists import ClientLists
from mailtools.services.reception.greylist import Exempt, Greylist
from mailtools.trust import keys
from mailtools.trust.dnsbl import parse_list

if TYPE_CHECKING:
    from mailtools.config import Config
    from mailtools.services.reports.dmarc_data import DmarcData
    from mailtools.services.reports.failure_data import FailureData
    from mailtools.trust.dnsbl import DnsList

TIMEOUT = 3.0  # seconds for a question to one resolver: the peer waits meanwhile


def belief_of(config: Config, *, spool: str, home: str, ready: bool) -> Belief:
    """Make the belief; faults of the settings are noted in `config`.

    `ready`: processes will be forked from this one, or it gives up root, so all is loaded now.
    """
    if ready:
        # Else loaded by the first stranger, and by the first message that has it.
        import mailtools.services.reception.stranger
        import mailtools.trust.dkim2  # noqa: F401

        keys.prepare()
        prepare()
    lists, threshold = lists_of(config), config.number("dnsbl-threshold")
    delay = config.seconds("greylist")
    server = config.line("resolver")
    asked = config.attempt(lambda: Resolver(server, timeout=TIMEOUT))
    return Belief(
        me=config.line("me"),
        authserv_id=config.line("authserv-id"),
        contact=f"postmaster@{home}",
        lookup=(asked or Resolver("", timeout=TIMEOUT)).lookup,
        scratch=f"{spool}/queue/tmp",
        batv=batv_of(config),
        enforce=config.line("checks") == "enforce",
        quarantine=one_of(config, "dmarc-quarantine", ("junk", "mark", "reject")),
        arc_trusted=frozenset(_domains(config, "arc-trusted")),
        lists=ClientLists(lists, threshold) if lists else None,
        greylist=Greylist(f"{spool}/greylist", delay, exempt=exempt_of(config)) if delay else None,
        reports=_reports(config, f"{spool}/reports") if config.flag("dmarc-reports") else None,
        failures=_failures(config, f"{spool}/reports")
        if config.flag("dmarc-failure-reports")
        else None,
    )


def _failures(config: Config, folder: str) -> FailureData:
    from mailtools.services.reports.failure_data import FailureData  # fewer still
    from mailtools.store.report_data import Collected

    collected = Collected(folder, "failure", config.octets("reports-size"))
    return FailureData(collected, time.time, config.line("authserv-id"))


def _reports(config: Config, folder: str) -> DmarcData:
    from mailtools.services.reports.dmarc_data import DmarcData  # few sites send reports
    from mailtools.store.report_data import Collected

    return DmarcData(Collected(folder, "dmarc", config.octets("reports-size")), time.time)


def exempt_of(config: Config) -> Exempt:
    """Read who is never greylisted: networks, and domains."""
    networks, domains = [], set()
    for number, text in enumerate(config.lines("greylist-exempt"), 1):
        if is_network(text):
            networks.append(text)
            continue
        try:
            domains.add(parse_domain(ascii_domain(text)))
        except BadAddress:
            config.fault("greylist-exempt", number, f"{text!r} is neither a network nor a domain")
    return Exempt(Networks(networks), frozenset(domains))


def one_of(config: Config, name: str, words: tuple[str, ...]) -> str:
    """Read a setting that is one of some words; another is a fault."""
    value = config.line(name)
    if value not in words:
        config.fault(name, 0, f"{value!r} is none of {', '.join(words)}")
    return value


def _domains(config: Config, name: str) -> list[str]:
    found = []
    for number, text in enumerate(config.lines(name), 1):
        try:
            found.append(ascii_domain(text))
        except BadAddress:
            config.fault(name, number, f"{text!r} is no domain")
    return found


def lists_of(config: Config) -> list[DnsList]:
    """Read the lists of clients; faults are noted in `config`."""
    found = []
    for number, text in enumerate(config.lines("dnsbl"), 1):
        try:
            found.append(parse_list(text))
        except Misconfigured as fault:
            config.fault("dnsbl", number, fault.text)
    return found
