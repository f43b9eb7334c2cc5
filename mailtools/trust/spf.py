"""SPF: may this client use this domain as reverse-path or HELO name (RFC 7208, RFC 8616)?

Everything of RFC 7208 but the Received-SPF field: results go into Authentication-Results
(`authres.py`), and `p` counts no lookup of its own beyond its limit of ten names.
"""

import ipaddress
from enum import StrEnum
from typing import NamedTuple

from mailtools.errors import BadAddress, DnsTrouble
from mailtools.mail.address import ascii_domain
from mailtools.trust.ip import IPAddress, read_ip
from mailtools.trust.lookup import Answer, Lookup, is_name, parse_mx
from mailtools.trust.spf_macro import MacroValues, check_macro_string, expand, expand_domain
from mailtools.trust.spf_record import (
    Mechanism,
    Qualifier,
    SpfRecord,
    parse_spf,
    select_spf,
)
from mailtools.trust.tags import BadRecord

LOOKUPS_MOST = 10  # terms that ask DNS, RFC 7208 4.6.4
VOID_MOST = 2  # of them, those that may find nothing, RFC 7208 4.6.4
NAMES_MOST = 10  # exchangers of one mx, names of one ptr, RFC 7208 4.6.4


class Spf(StrEnum):
    """The results, in the words of RFC 7208 2.6."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_RESULTS = {
    Qualifier.PASS: Spf.PASS,
    Qualifier.FAIL: Spf.FAIL,
    Qualifier.SOFTFAIL: Spf.SOFTFAIL,
    Qualifier.NEUTRAL: Spf.NEUTRAL,
}


class SpfResult(NamedTuple):
    """What a check found."""

    result: Spf
    domain: str
    """The domain that was asked about: A-labels, lower case, as others compare it."""
    identity: str = "mailfrom"
    """`mailfrom` or `helo` (RFC 7208 11.1 and RFC 8601 2.7.2)."""
    explanation: str = ""
    """For `fail`, what the domain wants the sender to read: ASCII, written by a stranger."""
    problem: str = ""
    """For `temperror` and `permerror`, what is wrong, for the log and the domain's owner."""
    term: str = ""
    """The directive that matched, as published; "" when none did."""


class _PermError(Exception):
    """Stop: the record cannot be judged."""


class _Match(NamedTuple):
    """What one record came to; `record` is where a fail's exp= is looked for."""

    result: Spf
    domain: str
    record: SpfRecord | None = None
    term: str = ""


def check_host(
    ip: str,
    domain: str,
    sender: str,
    helo: str,
    lookup: Lookup,
    *,
    receiver: str = "unknown",
    now: int = 0,
) -> SpfResult:
    """Judge whether `ip` may use `domain` (RFC 7208 4); raises nothing for what others publish.

    `sender` is the reverse-path or `postmaster@HELO`; `receiver` and `now` (seconds since 1970)
    serve explanations only. How long lookups may take is the lookup's business (20 s in all is
    the least, RFC 7208 4.6.4): what is too late raises DnsTrouble and gives temperror.
    """
    check = _Check(ip, sender, helo, lookup, receiver=receiver, now=now)
    asked = _ascii(domain)
    name = asked.lower().removesuffix(".")
    try:
        match = check.run(asked)
    except DnsTrouble as trouble:
        return SpfResult(Spf.TEMPERROR, name, problem=trouble.text)
    except _PermError as error:
        return SpfResult(Spf.PERMERROR, name, problem=str(error))
    explanation = check.explanation(match) if match.result is Spf.FAIL else ""
    return SpfResult(match.result, name, explanation=explanation, term=match.term)


def check_helo(
    ip: str, helo: str, lookup: Lookup, *, receiver: str = "unknown", now: int = 0
) -> SpfResult:
    """Judge the HELO name (RFC 7208 2.3)."""
    sender = f"postmaster@{helo}"
    found = check_host(ip, helo, sender, helo, lookup, receiver=receiver, now=now)
    return SpfResult(
        found.result, found.domain, "helo", found.explanation, found.problem, found.term
    )


def check_mail_from(
    ip: str,
    reverse_path: str,
    helo: str,
    lookup: Lookup,
    *,
    receiver: str = "unknown",
    now: int = 0,
) -> SpfResult:
    """Judge the reverse-path; for the null one ("") the HELO name (RFC 7208 2.4)."""
    if not reverse_path:
        return check_helo(ip, helo, lookup, receiver=receiver, now=now)
    domain = reverse_path.rpartition("@")[2]
    return check_host(ip, domain, reverse_path, helo, lookup, receiver=receiver, now=now)


class _Check:
    """One check: its counters, which `include` and `redirect` share."""

    def __init__(
        self, ip: str, sender: str, helo: str, lookup: Lookup, *, receiver: str, now: int
    ) -> None:
        self.ip = read_ip(ip)
        self.rrtype = "A" if self.ip.version == 4 else "AAAA"
        self.lookup = lookup
        self.lookups = self.voids = 0
        self.names: list[str] | None = None
        local, _, sender_domain = sender.rpartition("@")
        local = local or "postmaster"  # RFC 7208 4.3
        self.values = MacroValues(
            f"{local}@{_ascii(sender_domain)}",
            local,
            _ascii(sender_domain),
            _macro_ip(self.ip),
            str(self.ip),
            "in-addr" if self.ip.version == 4 else "ip6",
            helo,
            receiver,
            now,
            self.validated,
        )

    def run(self, domain: str) -> _Match:
        """Evaluate check_host() for a domain (RFC 7208 4); raise DnsTrouble or _PermError."""
        domain = domain.removesuffix(".")
        if not is_name(domain) or "." not in domain or domain.startswith("["):  # RFC 7208 4.3
            return _Match(Spf.NONE, domain)
        try:
            text = select_spf(self.lookup(domain, "TXT").records)
            if text is None:
                return _Match(Spf.NONE, domain)
            record = parse_spf(text)
        except BadRecord as error:
            raise _PermError(f"{domain}: {error.text}") from None
        return self.evaluate(record, domain)

    def evaluate(self, record: SpfRecord, domain: str) -> _Match:
        """Take the first directive that matches, else redirect, else neutral (RFC 7208 4.7)."""
        for mechanism in record.mechanisms:
            if self.matches(mechanism, domain):
                result = _RESULTS[mechanism.qualifier]
                return _Match(result, domain, record, mechanism.text)
        if record.redirect is None:
            return _Match(Spf.NEUTRAL, domain, record)
        self.count(f"redirect={record.redirect}")
        match = self.run(expand_domain(record.redirect, domain, self.values))
        if match.result is Spf.NONE:  # RFC 7208 6.1
            raise _PermError(f"{domain}: redirect={record.redirect} leads to no SPF record")
        return match

    def matches(self, mechanism: Mechanism, domain: str) -> bool:
        """Tell whether a mechanism matches the client (RFC 7208 5)."""
        if mechanism.name == "all":
            return True
        if mechanism.network is not None:
            return mechanism.network.version == self.ip.version and self.ip in mechanism.network
        self.count(mechanism.text)
        target = domain
        if mechanism.domain_spec:
            target = expand_domain(mechanism.domain_spec, domain, self.values)
        if mechanism.name == "include":
            return self.includes(target, mechanism.text)
        if not is_name(target):
            return False
        if mechanism.name == "exists":  # RFC 7208 5.7: A, whatever the client's family
            return bool(self.ask(target, "A").records)
        if mechanism.name == "ptr":
            return any(_within(name, target) for name in self.validated_names())
        length = mechanism.prefix4 if self.ip.version == 4 else mechanism.prefix6
        if mechanism.name == "a":
            return self.has_address(self.ask(target, self.rrtype), length)
        return self.matches_mx(target, length)

    def includes(self, target: str, term: str) -> bool:
        """Evaluate another domain's record as a mechanism (RFC 7208 5.2)."""
        match = self.run(target)
        if match.result is Spf.NONE:
            raise _PermError(f"{term} leads to no SPF record")
        return match.result is Spf.PASS

    def matches_mx(self, target: str, length: int) -> bool:
        """Look for the client among the addresses of a domain's exchangers (RFC 7208 5.4)."""
        exchangers = self.ask(target, "MX").records
        if len(exchangers) > NAMES_MOST:
            raise _PermError(f"{target} has more than {NAMES_MOST} exchangers (RFC 7208 4.6.4)")
        names = [parse_mx(record)[1] for record in exchangers]
        return any(
            is_name(name) and self.has_address(self.lookup(name, self.rrtype), length)
            for name in names
        )

    def has_address(self, answer: Answer, length: int) -> bool:
        """Tell whether the client is in the network of `length` bits around an address found."""
        shift = self.ip.max_prefixlen - length
        client = int(self.ip) >> shift
        return any(int(ipaddress.ip_address(text)) >> shift == client for text in answer.records)

    def count(self, term: str) -> None:
        """Count a term that asks DNS (RFC 7208 4.6.4)."""
        self.lookups += 1
        if self.lookups > LOOKUPS_MOST:
            raise _PermError(f"more than {LOOKUPS_MOST} terms ask DNS; {term} is one too many")

    def ask(self, name: str, rrtype: str) -> Answer:
        """Ask for a term; count an answer without records (RFC 7208 4.6.4)."""
        answer = self.lookup(name, rrtype)
        if not answer.records:
            self.voids += 1
            if self.voids > VOID_MOST:
                raise _PermError(f"more than {VOID_MOST} lookups found nothing, the last {name}")
        return answer

    def validated_names(self) -> list[str]:
        """Give the client's names that lead back to it (RFC 7208 5.5); trouble just skips one."""
        if self.names is None:
            self.names = []
            for name in self.reverse_names():
                try:
                    answer = self.lookup(name, self.rrtype)
                except DnsTrouble:
                    continue
                if self.has_address(answer, self.ip.max_prefixlen):
                    self.names.append(name.lower())
        return self.names

    def reverse_names(self) -> list[str]:
        """Give the names PTR records say the client has, ten at most."""
        try:
            records = self.lookup(self.ip.reverse_pointer, "PTR").records
        except DnsTrouble:
            return []
        names = [record.rstrip(".") for record in records[:NAMES_MOST]]
        return [name for name in names if is_name(name)]

    def validated(self, domain: str) -> str:
        """Give what `%{p}` stands for: the domain itself, a name in it, any, or `unknown`."""
        names = self.validated_names()
        if domain.lower() in names:
            return domain
        inside = [name for name in names if _within(name, domain)]
        return (inside or names or ["unknown"])[0]

    def explanation(self, match: _Match) -> str:
        """Give the text exp= leads to, "" where anything about it is wrong (RFC 7208 6.2)."""
        if match.record is None or not match.record.exp:
            return ""
        name = expand_domain(match.record.exp, match.domain, self.values)
        try:
            records = self.lookup(name, "TXT").records if is_name(name) else ()
            if len(records) != 1:
                return ""
            check_macro_string(records[0], exp=True)
            text = expand(records[0], match.domain, self.values, exp=True)
        except (BadRecord, DnsTrouble):
            return ""
        return text if text.isascii() and text.isprintable() else ""


def _within(name: str, domain: str) -> bool:
    name, domain = name.lower(), domain.lower()
    return name == domain or name.endswith(f".{domain}")


def _macro_ip(ip: IPAddress) -> str:
    """Write an address for `%{i}`: IPv6 as nibbles with dots between (RFC 7208 7.3)."""
    return str(ip) if ip.version == 4 else ".".join(ip.exploded.replace(":", "").upper())


def _ascii(domain: str) -> str:
    """Give a domain with A-labels (RFC 8616 4); one that has none stays, and names nothing."""
    if domain.isascii():
        return domain
    try:
        return ascii_domain(domain)
    except BadAddress:
        return domain
