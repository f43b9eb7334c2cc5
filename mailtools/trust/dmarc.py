"""DMARC: does the author's domain stand behind this message (RFC 9989)?

Needs no list of public suffixes: the DNS tree walk finds organizational domains. Reports are not
made here; the result holds what they need.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from mailtools.errors import BadMessage, DnsTrouble
from mailtools.mail.fields import Header
from mailtools.trust.author import author_domain
from mailtools.trust.dkim import Dkim, DkimResult
from mailtools.trust.dmarc_record import DmarcRecord, Policy, record_at, walk
from mailtools.trust.lookup import NAME_MOST, Lookup
from mailtools.trust.spf import Spf, SpfResult

IDENTIFIERS_MOST = 10  # signatures that pass and are compared, as many as dkim.py looks at


class Dmarc(StrEnum):
    """The results, in the words RFC 9989 9.2 registers for RFC 8601."""

    NONE = "none"
    PASS = "pass"
    FAIL = "fail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class DmarcResult(NamedTuple):
    """What DMARC says of a message."""

    result: Dmarc
    author: str = ""
    """The domain of From, A-labels."""
    policy: Policy = Policy.NONE
    """What the domain published for this author (p=, sp= or np=), t= not counted."""
    disposition: Policy = Policy.NONE
    """What the domain asks to be done with this very message; `none` for one that passes."""
    organizational: str = ""
    """The author's organizational domain."""
    record: DmarcRecord | None = None
    """The record that applies; its `domain` is the policy domain."""
    spf: str = ""
    """The domain SPF authenticated, if it is aligned."""
    dkim: tuple[str, ...] = ()
    """The domains DKIM authenticated that are aligned."""
    problem: str = ""


def evaluate_header(
    header: Header, spf: SpfResult | None, dkim: Sequence[DkimResult], lookup: Lookup
) -> DmarcResult:
    """Judge a message by its header; more or less than one author domain gives permerror."""
    try:
        author = author_domain(header)
    except BadMessage as fault:
        return DmarcResult(Dmarc.PERMERROR, problem=fault.text)
    if not author:
        return DmarcResult(Dmarc.NONE, problem="the author has an address literal, and no domain")
    return evaluate(author, spf, dkim, lookup)


def evaluate(
    author: str, spf: SpfResult | None, dkim: Sequence[DkimResult], lookup: Lookup
) -> DmarcResult:
    """Judge a message of the author domain given (A-labels) by what SPF and DKIM found.

    `spf` is the result for the reverse-path, or for the HELO name where that was null. Asks
    through `lookup`, which should be a `remembering` one: the walks of several domains meet.
    """
    if len(author) + len("_dmarc.") > NAME_MOST:
        return DmarcResult(Dmarc.PERMERROR, author, problem="the author domain is too long")
    try:
        found = _discover(author, lookup)
        if found is None:
            return DmarcResult(Dmarc.NONE, author)
        record, home = found
        policy = _policy(record, author, lookup)
    except DnsTrouble as trouble:
        return DmarcResult(Dmarc.TEMPERROR, author, problem=trouble.text)
    alignment = _Alignment(author, home, lookup)
    spf_domain = _spf_domains(spf, (Spf.PASS,))
    aligned_spf = alignment.aligned(spf_domain, strict=record.strict_spf)
    passed = list(dict.fromkeys(each.domain for each in dkim if each.result is Dkim.PASS))
    aligned_dkim = alignment.aligned(passed[:IDENTIFIERS_MOST], strict=record.strict_dkim)
    result, problem = Dmarc.PASS, ""
    if not aligned_spf and not aligned_dkim:
        # RFC 9989 5.3.6: what might still pass cannot be called a failure
        unsure = [each.domain for each in dkim if each.result is Dkim.TEMPERROR]
        if alignment.aligned(unsure[:IDENTIFIERS_MOST], strict=record.strict_dkim):
            alignment.problem = alignment.problem or "the key of an aligned signature is not known"
        if alignment.aligned(_spf_domains(spf, (Spf.TEMPERROR,)), strict=record.strict_spf):
            alignment.problem = alignment.problem or "SPF of an aligned domain is not known"
        problem = alignment.problem
        result = Dmarc.TEMPERROR if problem else Dmarc.FAIL
    return DmarcResult(
        result,
        author,
        policy,
        record.applied(policy) if result is Dmarc.FAIL else Policy.NONE,
        home if isinstance(home, str) else author,
        record,
        aligned_spf[0] if aligned_spf else "",
        tuple(aligned_dkim),
        problem,
    )


def _spf_domains(spf: SpfResult | None, results: Sequence[Spf]) -> list[str]:
    return [spf.domain.lower()] if spf and spf.result in results else []


def _discover(author: str, lookup: Lookup) -> tuple[DmarcRecord, str | DnsTrouble] | None:
    """Find the record that applies and the organizational domain (RFC 9989 4.10.1, 4.10.2).

    Where the author has a record, that is known whatever stands above it, and trouble there is for
    those identifiers that need the organizational domain.
    """
    record = record_at(author, lookup)
    try:
        records = list(walk(author, lookup))
    except DnsTrouble as trouble:
        if record is None:
            raise
        return (record, trouble) if record.usable else None
    organizational = _organizational(author, records)
    if record is None:
        # that of the organizational domain, else of the public suffix above it
        at = {each.domain: each for each in records}
        suffix = next((each for each in records if each.psd == "y"), None)
        record = at.get(organizational) or suffix
    if record is None or not record.usable:
        return None
    return record, organizational


def organizational_domain(domain: str, lookup: Lookup) -> str:
    """Find the organizational domain of a domain (RFC 9989 4.10.2); raise DnsTrouble."""
    return _organizational(domain, list(walk(domain, lookup)))


def _organizational(domain: str, records: Sequence[DmarcRecord]) -> str:
    """Choose the organizational domain among the records of a walk (RFC 9989 4.10.2)."""
    for record in records:
        if record.psd == "n":
            return record.domain
        if record.psd == "y" and record.domain != domain:
            below = domain.removesuffix(f".{record.domain}").rpartition(".")[2]
            return f"{below}.{record.domain}"
    return records[-1].domain if records else domain


def _policy(record: DmarcRecord, author: str, lookup: Lookup) -> Policy:
    below = record.domain != author
    exists = True
    if below and record.np is not None:
        exists = lookup(author, "A").exists  # RFC 8020, RFC 9989 3.2.13
    return record.policy(below=below, exists=exists)


class _Alignment:
    """Compares domains with the author's (RFC 9989 4.4, 4.10.2); notes trouble on the way."""

    def __init__(self, author: str, home: str | DnsTrouble, lookup: Lookup) -> None:
        """`home` is the author's organizational domain, or why that is not known."""
        self.author = author
        self.home = home
        self.lookup = lookup
        self.problem = ""

    def aligned(self, domains: Iterable[str], *, strict: bool) -> list[str]:
        return [domain for domain in domains if self._is_aligned(domain, strict=strict)]

    def _is_aligned(self, domain: str, *, strict: bool) -> bool:
        if domain == self.author:
            return True
        if strict:
            return False
        if isinstance(self.home, DnsTrouble):  # what shares no label has no home in common
            if domain.rpartition(".")[2] == self.author.rpartition(".")[2]:
                self.problem = self.home.text
            return False
        if not f".{domain}".endswith(f".{self.home}"):
            return False
        try:
            found = list(walk(domain, self.lookup))
        except DnsTrouble as trouble:
            self.problem = trouble.text
            return False
        return _organizational(domain, found) == self.home
