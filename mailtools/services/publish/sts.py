"""MTA-STS for our own domains: the policy files for a web server, and the records for DNS.

    FOLDER/mta-sts.example.org/.well-known/mta-sts.txt

A folder for each host name, as web servers want them. The file is all the state there is: the id in
DNS follows from what it says (RFC 8461 3.1, 3.2; TLSRPT's record: RFC 8460 3).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from mailtools.errors import BadAddress, BadParameter, Failure, Misconfigured
from mailtools.services.relay.dkim_keys import domain_name
from mailtools.store import disk
from mailtools.trust.mta_sts import (
    AGE_MOST,
    Mode,
    StsPolicy,
    format_sts_policy,
    matches_pattern,
    parse_sts_policy,
    parse_sts_record,
    parse_tlsrpt_record,
    policy_id,
)
from mailtools.trust.tags import BadRecord

if TYPE_CHECKING:
    from mailtools.trust.lookup import Lookup

PATH = ".well-known/mta-sts.txt"
AGE = {Mode.TESTING: 86400, Mode.ENFORCE: 14 * 86400, Mode.NONE: 86400}
"""How long a policy may be kept where nobody says: RFC 8461 3.2 wants weeks of one that counts."""


class StsFiles:
    """The policy files in one folder."""

    def __init__(self, folder: str) -> None:
        """Take the folder, which need not exist."""
        self.folder = folder

    def path(self, domain: str) -> str:
        """Where a domain's policy lies."""
        return f"{self.folder}/mta-sts.{domain}/{PATH}"

    def read(self, domain: str) -> StsPolicy | None:
        """Read a domain's policy, None for none; raise Misconfigured for what is no policy."""
        path = self.path(domain)
        try:
            with open(path, "rb") as file:
                return parse_sts_policy(file.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Misconfigured(detail=f"{path}: cannot be read: {error.strerror}") from error
        except BadRecord as fault:
            raise Misconfigured(detail=f"{path}: {fault.text}") from None

    def write(self, domain: str, policy: StsPolicy) -> bool:
        """Write a domain's policy, for all to read; False where it says that already."""
        path, text = self.path(domain), format_sts_policy(policy)
        try:
            with open(path, "rb") as file:
                if file.read() == text:
                    return False
        except OSError:
            disk.make_directory(os.path.dirname(path), 0o755, sync=True)
        disk.replace(path, text, mode=0o644)
        return True


def domain_of(text: str) -> str:
    """Read a domain as DNS has it, fit for a file's name; raise BadAddress."""
    try:
        return domain_name(text.rstrip("."))
    except Misconfigured as fault:
        raise BadAddress(fault.detail) from None


def planned(before: StsPolicy | None, mode: str, age: int | None, mx: tuple[str, ...]) -> StsPolicy:
    """Give the policy that is wanted: what is not said stays as it was before.

    Raise BadParameter for a pattern that is none, or an age that nobody grants.
    """
    wanted = Mode(mode) if mode else before.mode if before else Mode.TESTING
    if age is None:
        same = before is not None and before.mode is wanted
        age = before.max_age if same and before else AGE[wanted]
    if age > AGE_MOST:
        raise BadParameter(f"max_age is {AGE_MOST} seconds, a year, at most")
    policy = StsPolicy(wanted, mx, age)
    try:
        return parse_sts_policy(format_sts_policy(policy))  # so that what is written can be read
    except BadRecord as fault:
        raise BadParameter(fault.text) from None


def left_out(policy: StsPolicy, exchangers: Iterable[str]) -> list[str]:
    """Give the exchangers that no pattern of a policy names."""
    return [host for host in exchangers if not any(matches_pattern(p, host) for p in policy.mx)]


# -- records --------------------------------------------------------------------------------------


class Record(NamedTuple):
    """A record that is to be in DNS, and whether it is."""

    line: str
    """As a zone file has it."""
    there: bool


def records(
    domain: str, policy: StsPolicy, lookup: Lookup, *, web: str, reports: str
) -> Iterator[Record]:
    """Yield the records that a policy needs; raise DnsTrouble.

    `web` is the host to name where `mta-sts.` leads nowhere; `reports` the URI for TLS reports.
    """
    host = f"mta-sts.{domain}"
    leads = any(lookup(host, rrtype).records for rrtype in ("A", "AAAA"))
    yield Record(f"{host}. IN CNAME {web}.", leads)
    id_ = policy_id(policy)
    published = record_fault(domain, policy, lookup) == ""
    yield Record(f'_mta-sts.{domain}. IN TXT "v=STSv1; id={id_};"', published)
    line = f'_smtp._tls.{domain}. IN TXT "v=TLSRPTv1; rua={reports}"'
    yield Record(line, reports_fault(domain, lookup) == "")


def record_fault(domain: str, policy: StsPolicy | None, lookup: Lookup) -> str:
    """Say what is wrong with a domain's record, "" for nothing; raise DnsTrouble."""
    try:
        found = parse_sts_record(lookup(f"_mta-sts.{domain}", "TXT").records)
    except BadRecord as fault:
        return fault.text
    if found is None:
        return f"no record, or several, at _mta-sts.{domain}: the policy counts for nobody"
    if policy is not None and found != policy_id(policy):
        return f"DNS has the id {found}, the policy here {policy_id(policy)}"
    return ""


def reports_fault(domain: str, lookup: Lookup) -> str:
    """Say what is wrong with a domain's TLSRPT record, "" for nothing; raise DnsTrouble."""
    try:
        found = parse_tlsrpt_record(lookup(f"_smtp._tls.{domain}", "TXT").records)
    except BadRecord as fault:
        return fault.text
    return "" if found else f"no record at _smtp._tls.{domain}: nobody tells what fails"


# -- what others find -----------------------------------------------------------------------------


class Row(NamedTuple):
    """Something that others see of a domain's policy: what it is, what is wrong, how grave."""

    what: str
    fault: str = ""
    grave: bool = False
    """Mail does not come in."""


def seen(
    domain: str,
    policy: StsPolicy | None,
    lookup: Lookup,
    fetch: Callable[[str], bytes],
    exchangers: Iterable[str],
) -> Iterator[Row]:
    """Yield what others find of a domain's policy, beside the one of ours; raise DnsTrouble."""
    yield Row("record", record_fault(domain, policy, lookup))
    served, fault = _served(domain, policy, fetch)
    yield Row("web", fault)
    counts = served or policy
    if counts is not None and counts.mode is not Mode.NONE:
        missing = ", ".join(left_out(counts, exchangers))
        wrong = f"the policy leaves out {missing}" if missing else ""
        yield Row("mx", wrong, counts.mode is Mode.ENFORCE)
    yield Row("reports", reports_fault(domain, lookup))


def _served(
    domain: str, policy: StsPolicy | None, fetch: Callable[[str], bytes]
) -> tuple[StsPolicy | None, str]:
    try:
        served = parse_sts_policy(fetch(domain))
    except Failure as failure:  # BadRecord too
        return None, failure.text
    if policy is not None and served != policy:
        return served, "the web server gives another policy than the file here"
    return served, ""
