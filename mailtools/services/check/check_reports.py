"""What mail-check finds of reports on others' mail: whether they have data, and are believed."""

from __future__ import annotations

from collections.abc import Iterator

from mailtools.mail.address import ascii_domain
from mailtools.services.check.finding import Finding, warning
from mailtools.services.relay.dkim_keys import KeyLine, State


def reports(
    folder: str, *, kinds: list[str], checks: str, sender: str, lines: list[KeyLine]
) -> Iterator[Finding]:
    """Look at the settings of reports.

    `kinds` are those that are on (dmarc, tls, dmarc-failure); `checks` is that control file's
    word; `sender` is the address reports come from, `lines` are the DKIM keys.
    """
    if checks == "off" and (on := [kind for kind in kinds if kind.startswith("dmarc")]):
        yield warning(
            f"{folder}/{on[0]}-reports",
            "nothing is noted for reports, since strangers' mail is not judged",
            f"echo mark > {folder}/checks",
        )
    domain = ascii_domain(sender.rpartition("@")[2])
    signing = {line.domain for line in lines if line.state is State.SIGNING}
    if kinds and not any(domain == each or domain.endswith(f".{each}") for each in signing):
        yield warning(
            f"{folder}/{kinds[0]}-reports",
            f"no DKIM key signs for {domain}: who gets reports does not believe them (RFC 8460 3)",
            f"mail-dkim new {domain}, or see that the smarthost signs",
        )
