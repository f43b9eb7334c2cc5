"""The class of a refusal: what peers say in the wild, and what we say ourselves."""

from pathlib import Path

import pytest

from mailtools.mail.report import DELAYED, DELIVERED, FAILED, Report
from mailtools.services.why.cause import helps
from mailtools.services.why.report_cause import cause_of

SAID = "mx.example.net[192.0.2.9]:25 said "

# status, text, class, whose trouble
CASES = [
    ("4.7.1", SAID + "450 4.7.1 Greylisted, please try again (to RCPT)", "greylist", "theirs"),
    ("4.2.0", SAID + "450 4.2.0 Recipient address rejected: Greylisting in action", "greylist",
     "theirs"),
    ("5.7.26", SAID + "550 5.7.26 Unauthenticated email is not accepted", "authentication", "ours"),
    ("5.7.25", SAID + "550 5.7.25 The sending IP does not match its name", "authentication",
     "ours"),
    ("4.7.1", SAID + "450 4.7.1 Client host rejected: cannot find your reverse hostname",
     "authentication", "ours"),
    ("5.7.1", SAID + "554 5.7.1 Service unavailable; blocked using zen.spamhaus.org", "reputation",
     "ours"),
    ("5.7.1", SAID + "550 5.7.1 messages from [192.0.2.1] weren't sent: part of our block list",
     "reputation", "ours"),
    ("4.7.28", SAID + "421 4.7.28 unusual rate of mail", "rate", "theirs"),
    ("4.3.2", SAID + "421 4.3.2 Too many connections from your host", "rate", "theirs"),
    ("4.2.2", SAID + "452 4.2.2 Over quota", "quota", "theirs"),
    ("5.0.0", SAID + "552 Mailbox is full", "quota", "theirs"),
    ("5.1.1", SAID + "550 5.1.1 <bob@example.net>: no such user", "address", "the sender's"),
    ("5.0.0", SAID + "550 Recipient address rejected: User unknown in table", "address",
     "the sender's"),
    ("5.3.4", SAID + "552 5.3.4 Message size exceeds fixed limit", "size", "the sender's"),
    ("5.7.30", "mx.test does not offer REQUIRETLS", "tls", "on the way"),
    ("5.7.10", "REQUIRETLS: neither DNSSEC nor MTA-STS vouches for the exchangers of x", "tls",
     "on the way"),
    ("4.7.5", "The certificate matches no TLSA record (DANE)", "tls", "on the way"),
    ("4.7.4", "mx.test offers no STARTTLS", "tls", "on the way"),
    ("5.7.8", SAID + "535 5.7.8 Authentication failed (to AUTH)", "login", "ours"),
    ("4.4.3", "DNS lookup of MX example.net failed: 192.0.2.53 said SERVFAIL", "dns", "theirs"),
    ("5.1.2", "The domain example.net does not exist", "domain", "the sender's"),
    ("5.1.10", "example.net does not accept mail (null MX)", "domain", "the sender's"),
    ("4.4.1", "mx.test[192.0.2.9]:25: Connection refused", "tcp", "theirs"),
    ("4.4.2", "Lost the connection with mx.test", "connection", "on the way"),
    ("5.4.6", "Mail for example.net would come back to this host", "loop", "ours"),
    ("4.3.5", "Mail system configuration error", "configuration", "ours"),
    ("4.2.2", "The mailbox is full", "quota", "ours"),
    ("5.1.1", "No such mailbox here", "address", "the sender's"),
    ("4.3.1", "Insufficient system storage", "space", "ours"),
    ("4.3.0", "The delivery agent died", "here", "ours"),
    ("5.4.7", "The time its sender gave for delivery is over", "expired", "the sender's"),
    ("5.1.1", "Not tried, since this address was refused as unknown on 2026-11-23: " + SAID
     + "550 5.1.1 no", "suppressed", "ours"),
    ("4.0.0", SAID + "451 come back on Monday", "busy", "theirs"),
    ("5.0.0", SAID + "554 no", "refused", "theirs"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "text", "kind", "whose"), CASES)
def test_each_class(status: str, text: str, kind: str, whose: str) -> None:
    action = FAILED if status.startswith("5") else DELAYED
    cause = cause_of(Report("bob@example.net", action, status, text))
    assert cause
    assert (cause.kind, cause.whose) == (kind, whose)


REPLIES = (Path(__file__).parent / "replies.txt").read_text().splitlines()
IN_THE_WILD = [tuple(line.split("\t")) for line in REPLIES if not line.startswith("#")]


@pytest.mark.parametrize(("kind", "status", "said"), IN_THE_WILD)
def test_what_is_said_in_the_wild(kind: str, status: str, said: str) -> None:
    action = FAILED if said.startswith("5") else DELAYED
    cause = cause_of(Report("bob@example.net", action, status, SAID + said))
    assert cause
    assert cause.kind == kind


def test_a_mailbox_that_is_not_known_for_now_is_not_said_to_be_missing() -> None:
    text = SAID + "450 4.2.1 mailbox temporarily disabled"
    cause = cause_of(Report("bob@example.net", DELAYED, "4.2.1", text))
    assert cause
    assert (cause.kind, cause.whose) == ("address", "theirs")
    assert "for now" in cause.says


@pytest.mark.parametrize(
    "text",
    [
        "Not tried, since example.net did not answer: mx.test[192.0.2.9]:25: Connection refused",
        "Given up, it was tried too long: mx.test[192.0.2.9]:25: Connection refused",
        "Given up, it was tried too long: Not tried, since a.test did not answer: mx: refused",
    ],
)
def test_what_is_said_within_counts(text: str) -> None:
    cause = cause_of(Report("bob@example.net", FAILED, "4.4.1", text))
    assert cause
    assert cause.kind == "tcp"


def test_what_is_well_has_no_cause() -> None:
    assert cause_of(Report("bob@example.net", DELIVERED, "2.0.0", "delivered to bob")) is None


def test_commands_are_safe_to_paste() -> None:
    cause = cause_of(Report("x", DELAYED, "4.4.1", "refused"))
    assert cause
    assert helps(cause, "1.M1P1R1", "o'hara; rm@example.net") == [
        """mail-route --dial 'o'"'"'hara; rm@example.net'""",
        "queue-run --domain example.net",
    ]
