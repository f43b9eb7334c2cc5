"""Which received reports are meant, and the names of the addresses in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from mailtools.errors import DnsTrouble
from mailtools.services.reports.read_values import Complaint, Incoming, Mail
from mailtools.trust.iprev import Iprev, check_iprev
from mailtools.trust.lookup import Lookup


def chosen(reports: Iterable[Incoming], domains: Iterable[str], since: float) -> Iterator[Incoming]:
    """Yield the reports on some domains (all, where none is named) that end after `since`."""
    wanted = {name.lower().rstrip(".") for name in domains}
    for report in reports:
        if since and report.end and report.end < since:
            continue
        if not wanted or any(_within(report.domain, name) for name in wanted):
            yield report


def _within(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def failing(report: Incoming) -> Incoming:
    """Leave out what went well."""
    rows = (
        row
        for row in report.rows
        if isinstance(row, Complaint) or (not row.passed if isinstance(row, Mail) else row.failure)
    )
    return report._replace(rows=tuple(rows))


def namer(lookup: Lookup) -> Callable[[str], str]:
    """Give what names an IP address by reverse DNS, where the name leads back to it."""
    known: dict[str, str] = {}

    def name_of(address: str) -> str:
        if address not in known:
            try:
                found = check_iprev(address, lookup)
                known[address] = found.name if found.result is Iprev.PASS else ""
            except (ValueError, DnsTrouble):  # no address, or no answer
                known[address] = ""
        return known[address]

    return name_of
