"""What a received report says, of whatever kind; and as a line of JSON, for --append and --json."""

from __future__ import annotations

import ipaddress
import time
from typing import Any, NamedTuple

from mailtools.mail.reply import one_line

DMARC, TLS, FAILURE = "dmarc", "tls", "failure"
MAGIC = "mailtools-report"
TEXT_MOST = 300  # characters of any text that is kept
TIME_MOST = 1e11  # seconds since 1970: beyond the year 5000 no report was made
COUNT_MOST = 10**12  # messages or sessions; beyond, a number is absurd


class Mail(NamedTuple):
    """Messages that an aggregate report counts together."""

    source: str
    """The IP address they came from."""
    author: str
    """The domain of From."""
    number: int
    disposition: str
    """none, pass, quarantine, reject; "" where it does not say."""
    dkim: str
    """pass or fail: whether an aligned signature passed."""
    spf: str
    signed: tuple[str, ...] = ()
    """Domains whose signature passed, aligned or not."""
    sent: tuple[str, ...] = ()
    """Domains that SPF passed for."""
    reasons: tuple[str, ...] = ()
    """Why the policy was not followed: forwarded, mailing_list …"""

    @property
    def passed(self) -> bool:
        """Whether DMARC passed."""
        return "pass" in (self.dkim, self.spf)


class Sessions(NamedTuple):
    """TLS sessions that a report counts together; `failure` is "" for those that went well."""

    policy: str
    """sts, tlsa or no-policy-found."""
    domain: str
    failure: str
    number: int
    exchanger: str = ""
    source: str = ""
    reason: str = ""


class Complaint(NamedTuple):
    """One message that somebody complains of, or whose authentication failed."""

    what: str
    """abuse, fraud, auth-failure …"""
    failure: str
    """dkim, spf, dmarc …; "" where it is no auth-failure."""
    source: str
    reverse_path: str
    forward_path: str
    subject: str
    message_id: str
    number: int = 1


Row = Mail | Sessions | Complaint
_LISTS = frozenset(("signed", "sent", "reasons"))
_ROWS: dict[str, type[Row]] = {DMARC: Mail, TLS: Sessions, FAILURE: Complaint}


class Incoming(NamedTuple):
    """A report."""

    kind: str
    reporter: str
    id: str
    domain: str
    """Whom it is about."""
    begin: float
    """Seconds since 1970; 0.0 where it does not say."""
    end: float
    policy: str
    """What the domain had published, in a few words."""
    rows: tuple[Row, ...]
    faults: tuple[str, ...] = ()
    """What could not be read in it."""

    @property
    def day(self) -> str:
        """The UTC day that most of it is about."""
        middle = (self.begin + max(self.end, self.begin)) / 2
        return time.strftime("%Y-%m-%d", time.gmtime(middle)) if self.begin else "-"

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from others: a report that comes twice is counted once."""
        return self.kind, self.reporter, self.id, self.domain, self.begin, self.rows


class Fault(NamedTuple):
    """What could not be read: which file (or what in it), and why."""

    name: str
    text: str


def to_json(report: Incoming) -> str:
    """Write a report as a line of JSON."""
    import json

    rows = [
        {key: value for key, value in row._asdict().items() if value not in ("", ())}
        for row in report.rows
    ]
    return json.dumps({MAGIC: 1, **report._asdict(), "rows": rows})


def from_json(line: bytes) -> Incoming | None:
    """Read a line of `to_json`; None for any other, such as one that was torn."""
    import json

    try:
        found = json.loads(line)
        if not isinstance(found, dict) or found.pop(MAGIC, None) != 1:
            return None
        shape = _ROWS[found["kind"]]
        rows = tuple(_row(shape, row) for row in found.pop("rows"))
        faults = tuple(clean(text) for text in found.pop("faults"))
        times = {name: float(found.pop(name)) for name in ("begin", "end")}
        if not all(0 <= each < TIME_MOST for each in times.values()):
            return None
        words = {key: clean(str(value)) for key, value in found.items()}
        return Incoming(rows=rows, faults=faults, **times, **words)  # type: ignore[arg-type]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _row(shape: type[Row], found: dict[str, Any]) -> Row:
    values: dict[str, Any] = {}
    for name in shape._fields:
        value = found.get(name)
        if name == "number":
            values[name] = count_of(str(value))
        elif name in _LISTS:
            values[name] = tuple(clean(str(each)) for each in value or ())
        else:
            values[name] = clean(str(value or ""))
    return shape(**values)


# -- values, made safe ----------------------------------------------------------------------------


def clean(text: str) -> str:
    """Make a text fit for one line of a terminal."""
    return "".join(c if c.isprintable() else "?" for c in one_line(text.strip()[:TEXT_MOST]))


def word(text: str) -> str:
    """Read a keyword: lower case."""
    return clean(text).lower()


def domain(text: str) -> str:
    """Read a domain: lower case, without a dot at its end."""
    return clean(text).lower().rstrip(".")


def address(text: str) -> str:
    """Read an IP address in its usual form; what is none stays as it is."""
    found = clean(text)
    try:
        return str(ipaddress.ip_address(found))
    except ValueError:
        return found


def moment(seconds: float) -> float:
    """Give a time in seconds since 1970; 0.0 for an absurd one."""
    return seconds if 0 <= seconds < TIME_MOST else 0.0


def count_of(text: str) -> int:
    """Read a number of messages; raise ValueError for what is none, or absurd."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 13):
        raise ValueError(f"{clean(digits)[:40]!r} is no number of messages or sessions")
    if int(digits) > COUNT_MOST:
        raise ValueError(f"the number {digits} is absurd")
    return int(digits)
