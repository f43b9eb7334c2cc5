"""What the control files say about milters, for smtpd-accept and mail-check."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from mailtools import __version__
from mailtools.commands.parts import networks_of
from mailtools.config import duration
from mailtools.services.reception.milter.link import Milter, read_milter
from mailtools.services.reception.milter.session import Milters

if TYPE_CHECKING:
    from collections.abc import Callable

    from mailtools.config import Config
    from mailtools.trust.iprev import IprevResult
    from mailtools.trust.lookup import Lookup

TIMEOUT = 3.0  # seconds for a question to one resolver
PATIENCE = 10.0  # seconds for a client's name: the greeting waits meanwhile


def rows_of(config: Config) -> list[Milter]:
    """Read the control file `milters`; faults are noted in `config`."""
    rows = []
    for number, line in enumerate(config.lines("milters"), 1):
        try:
            rows.append(read_milter(line, duration))
        except ValueError as fault:
            config.fault("milters", number, str(fault))
    return rows


def milters_of(config: Config, *, submission: bool, ready: bool) -> Milters | None:
    """Make the milters, None where there are none; faults of the settings are noted in `config`.

    `submission`: of those that are asked on one side only, the ones for mail that is submitted.

    `ready`: processes will be forked from this one, so what is heavy is loaded now.
    """
    side = "submission" if submission else "exchange"
    rows = [row for row in rows_of(config) if row.side in ("", side)]
    if not rows:
        return None
    if ready:
        preload()
    return Milters(
        tuple(rows),
        me=config.line("me"),
        version=f"mailtools {__version__}",
        exempt=networks_of(config, "milter-exempt"),
        iprev=_names(config.line("resolver")),
    )


def _names(server: str) -> Callable[[str], IprevResult]:
    """Give the function that looks up the name of an address."""

    @cache
    def lookup() -> Lookup:
        from mailtools.net.dns import Resolver  # 75 ms: where a stranger comes

        return Resolver(server, timeout=TIMEOUT).lookup

    def names(address: str) -> IprevResult:
        from mailtools.services.reception.belief import patient
        from mailtools.trust.iprev import check_iprev

        return check_iprev(address, patient(lookup(), PATIENCE))

    return names


def preload() -> None:
    """Load what a session needs later than its banner: a listener does it before it forks."""
    import mailtools.net.dns
    import mailtools.services.reception.belief
    import mailtools.services.reception.milter.reception  # noqa: F401
