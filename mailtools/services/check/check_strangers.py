"""What mail-check finds of the rules for strangers: those that wait for `checks` to be on."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mailtools.services.check.finding import Finding, warning

MARKING = ("dnsbl", "arc-trusted")
"""What says something of strangers, once they are looked at."""
ENFORCING = ("greylist", "batv-secrets")
"""What refuses something, once that is wanted."""


def idle(folder: str, checks: str, set_: Collection[str]) -> Iterator[Finding]:
    """Look for settings that do nothing; `checks` is that control file's word."""
    waiting = [*(MARKING if checks == "off" else ()), *(ENFORCING if checks != "enforce" else ())]
    for name in waiting:
        if name in set_:
            yield warning(
                f"{folder}/{name}",
                f"refuses nothing, since checks is {checks}",
                f"echo enforce > {folder}/checks",
            )
