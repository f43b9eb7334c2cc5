"""MTA-STS: what a domain says of its exchangers and their TLS (RFC 8461); TLSRPT's record.

Pure rules: fetching and keeping policies is done elsewhere.
"""

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from mailtools.trust.tags import BadRecord

AGE_MOST = 31557600  # seconds, RFC 8461 3.2
POLICY_MOST = 65536  # octets of a policy, RFC 8461 3.3 recommends 64 kB
ID_SIZE = 20  # of the 32 letters that an id may have
PATTERNS_MOST = 1000  # mx lines: ours

_id = re.compile(r"[A-Za-z0-9]{1,32}\Z")
_field = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*:[ \t]*(.*?)[ \t]*\Z", re.DOTALL)
_label = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_pattern = re.compile(rf"(?:\*\.)?{_label}(?:\.{_label})*\Z")


class Mode(StrEnum):
    """What a sender does when TLS or the name fails (RFC 8461 5)."""

    ENFORCE = "enforce"
    """Do not deliver."""
    TESTING = "testing"
    """Deliver as if there were no policy, and report."""
    NONE = "none"
    """There is no policy any more."""


class StsPolicy(NamedTuple):
    """A policy: its mode, the patterns of its exchangers, how long it may be kept (seconds)."""

    mode: Mode
    mx: tuple[str, ...]
    max_age: int

    def matches(self, exchanger: str) -> bool:
        """Tell whether an exchanger's name is one of the policy's (RFC 8461 4.1)."""
        return any(matches_pattern(pattern, exchanger) for pattern in self.mx)


def matches_pattern(pattern: str, name: str) -> bool:
    """Match a name with a pattern, whose `*` stands for exactly one leftmost label."""
    name, pattern = name.lower().rstrip("."), pattern.lower().rstrip(".")
    if pattern.startswith("*."):
        first, dot, rest = name.partition(".")
        return bool(first and dot) and rest == pattern[2:]
    return name == pattern


def parse_sts_record(records: Iterable[str]) -> str | None:
    """Give the id in the TXT records of `_mta-sts.DOMAIN`; None: the domain has no policy.

    Other records than those of version STSv1 are passed over; two of that version count as none
    (RFC 8461 3.1). Raise BadRecord where the one there is cannot be read.
    """
    return _one_value(records, "STSv1", "id")


def parse_tlsrpt_record(records: Iterable[str]) -> tuple[str, ...]:
    """Give the URIs in the TXT records of `_smtp._tls.DOMAIN` (RFC 8460 3), () for none."""
    value = _one_value(records, "TLSRPTv1", "rua")
    uris = [uri.strip(" \t") for uri in (value or "").split(",")]
    return tuple(uri for uri in uris if uri.lower().startswith(("mailto:", "https:")))


def _one_value(records: Iterable[str], version: str, name: str) -> str | None:
    found = [text for text in records if re.match(rf"v={version}[ \t]*(?:;|\Z)", text)]
    if len(found) != 1:
        return None
    for piece in found[0].split(";")[1:]:
        key, _, value = piece.partition("=")
        if key.strip(" \t") == name:
            value = value.strip(" \t")
            if name != "id" or _id.match(value):
                return value
    raise BadRecord(f"the {version} record has no usable {name}=")


def parse_sts_policy(data: bytes) -> StsPolicy:
    """Read a policy, as https://mta-sts.DOMAIN/.well-known/mta-sts.txt gives it (RFC 8461 3.2).

    Of a field that stands twice the first counts; unknown fields are ignored. Raise BadRecord.
    """
    if len(data) > POLICY_MOST:
        raise BadRecord(f"the policy has {len(data)} octets")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRecord("the policy is not UTF-8") from None
    values: dict[str, str] = {}
    patterns: list[str] = []
    for line in text.split("\n"):
        match = _field.match(line.rstrip("\r"))
        if not match:
            if line.strip():
                raise BadRecord(f"{line.strip()[:60]!r} is not of the form key: value")
        elif match[1] == "mx":
            patterns.append(_check_pattern(match[2]))
        else:
            values.setdefault(match[1], match[2])
    return _policy(values, patterns)


def _check_pattern(pattern: str) -> str:
    lower = pattern.lower().rstrip(".")
    if not _pattern.match(lower):
        raise BadRecord(f"{pattern[:60]!r} is no pattern of an exchanger")
    return lower


def _policy(values: dict[str, str], patterns: list[str]) -> StsPolicy:
    if values.get("version") != "STSv1":
        raise BadRecord("the policy has no version: STSv1")
    try:
        mode = Mode(values.get("mode", ""))
    except ValueError:
        raise BadRecord("the policy has no mode: enforce, testing or none") from None
    age = values.get("max_age", "")
    if not re.match(r"[0-9]{1,10}\Z", age):
        raise BadRecord("the policy has no max_age in seconds")
    if mode is not Mode.NONE and not patterns:
        raise BadRecord("the policy names no mx")
    if len(patterns) > PATTERNS_MOST:
        raise BadRecord(f"the policy has {len(patterns)} mx")
    return StsPolicy(mode, tuple(patterns), min(int(age), AGE_MOST))


def policy_id(policy: StsPolicy) -> str:
    """Give the id to publish with a policy: it follows from what it says, so it changes with it.

    RFC 8461 3.1: an id stands for one instance of the policy; there is no order among them.
    """
    import hashlib  # only where a policy is published

    return hashlib.sha256(format_sts_policy(policy)).hexdigest()[:ID_SIZE]


def format_sts_policy(policy: StsPolicy) -> bytes:
    """Write a policy to publish, with CRLF."""
    lines = ["version: STSv1", f"mode: {policy.mode}"]
    lines += [f"mx: {pattern}" for pattern in policy.mx]
    lines.append(f"max_age: {policy.max_age}")
    return "".join(f"{line}\r\n" for line in lines).encode()
