"""Perl's Mail::SRS reads our reverse-paths and we its; Perl's BounceParser reads our DSNs."""

import subprocess
import time
from email import message_from_bytes, policy

import pytest
from conftest import Site

from mailtools.mail.address import parse_address
from mailtools.mail.dsn import Notification, compose
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, DELIVERED, EXPANDED, FAILED, RELAYED, Report
from mailtools.trust.srs import srs_forward, srs_reverse

SECRET = "correct horse"
NOW = 1795435200.0
MESSAGE = (
    b"From: alice@example.org\nTo: bob@example.net\nSubject: hello\n"
    b"Message-ID: <1@example.org>\n\nbody\n"
)


def perl(module: str, script: str, *words: str, input: bytes = b"") -> list[str]:
    """Run a script with a module; give the lines it prints."""
    there = subprocess.run(["perl", f"-M{module}", "-e", "1"], capture_output=True, check=False)
    if there.returncode:
        pytest.skip(f"needs Perl's {module}")
    done = subprocess.run(
        ["perl", f"-M{module}", "-we", script, *words], input=input, capture_output=True, check=True
    )
    return done.stdout.decode().splitlines()


# -- SRS ------------------------------------------------------------------------------------------

SRS = """
my $srs = Mail::SRS->new(Secret => [shift], HashLength => 4, MaxAge => 21);
my ($way, @rest) = @ARGV;
print $way eq "forward" ? $srs->forward(@rest) : $srs->reverse(@rest), "\\n";
"""


def test_perl_reads_what_we_rewrote_and_we_what_perl_did() -> None:
    now = int(time.time())
    alice = parse_address("alice@example.net")
    ours = srs_forward(alice, "example.org", SECRET.encode(), now)
    assert perl("Mail::SRS", SRS, SECRET, "reverse", str(ours)) == ["alice@example.net"]
    (theirs,) = perl("Mail::SRS", SRS, SECRET, "forward", "alice@example.net", "example.org")
    assert srs_reverse(parse_address(theirs), [SECRET.encode()], now) == alice
    # The next forwarder makes SRS1 of an SRS0: it goes back to the first one, whoever made which.
    (second,) = perl("Mail::SRS", SRS, "another", "forward", str(ours), "example.com")
    assert second.startswith("SRS1")
    (back,) = perl("Mail::SRS", SRS, "another", "reverse", second)
    assert back == str(ours)
    further = srs_forward(parse_address(theirs), "example.com", b"another", now)
    assert str(further).startswith("SRS1")
    assert perl("Mail::SRS", SRS, "another", "reverse", str(further)) == [theirs]
    (third,) = perl("Mail::SRS", SRS, "third", "forward", str(further), "example.edu")
    assert srs_reverse(parse_address(second), [b"another"], now) == ours
    (last,) = perl("Mail::SRS", SRS, "third", "reverse", third)
    assert last == theirs  # SRS1 leads to the first forwarder at once


# -- DSNs -----------------------------------------------------------------------------------------

BOUNCE = """
binmode STDOUT, ":utf8";
my $parsed = Mail::DeliveryStatus::BounceParser->new(\\*STDIN);
print $parsed->is_bounce ? "bounce" : "none", "\\n", $parsed->orig_message_id, "\\n";
for my $report ($parsed->reports) {
    print join("|", map { $report->get($_) // "" } qw(email std_reason smtp_code)), "\\n";
}
"""


def notice(report: Report, sender: str = "alice@example.org", message: bytes = MESSAGE) -> bytes:
    """The DSN for one report on a message from `sender`."""
    envelope = Envelope(sender, (ForwardPath(report.forward_path),))
    told = ((NOW, report),)
    return compose(
        Notification(
            "mail.example.org",
            "1795435200.M1P1R1",
            NOW,
            sender,
            envelope,
            NOW - 60,
            told,
            message,
            NOW + 3600,
        )
    )


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        ("5.1.1", "mx said 550 5.1.1 no such user", "user_unknown"),
        ("5.2.2", "mx said 552 5.2.2 mailbox full", "over_quota"),
        ("5.1.2", "The domain nowhere.test does not exist", "domain_error"),
    ],
)
def test_perl_finds_who_failed_and_why(status: str, text: str, reason: str) -> None:
    dsn = notice(Report("bob@example.net", FAILED, status, text))
    kind, message_id, *reports = perl("Mail::DeliveryStatus::BounceParser", BOUNCE, input=dsn)
    assert kind == "bounce"
    assert message_id == "<1@example.org>"
    (found,) = reports
    assert found.split("|")[:2] == ["bob@example.net", reason]


@pytest.mark.parametrize("action", [DELIVERED, RELAYED, EXPANDED, DELAYED])
def test_what_is_no_failure_is_no_bounce(action: str) -> None:
    status = "4.4.1" if action == DELAYED else "2.0.0"
    dsn = notice(Report("bob@example.net", action, status, "said so"))
    _, _, *reports = perl("Mail::DeliveryStatus::BounceParser", BOUNCE, input=dsn)
    assert not [line for line in reports if "user_unknown" in line]
    parsed = message_from_bytes(dsn, policy=policy.default)
    (status_part,) = [
        part for part in parsed.walk() if part.get_content_type() == "message/delivery-status"
    ]
    blocks = status_part.get_payload()
    assert isinstance(blocks, list)
    assert blocks[1]["Action"] == action
    assert blocks[1]["Status"] == status


def test_a_dsn_on_an_address_beyond_ascii_keeps_it() -> None:
    message = MESSAGE.replace(b"bob@", "jörg@".encode())
    dsn = notice(Report("jörg@example.net", FAILED, "5.1.1", "nicht da"), message=message)
    parsed = message_from_bytes(dsn, policy=policy.SMTPUTF8)
    kinds = [part.get_content_type() for part in parsed.walk()]
    assert "message/global-delivery-status" in kinds or "message/delivery-status" in kinds
    assert "jörg@example.net" in dsn.decode() or rb"\x{F6}" in dsn
    assert not parsed.defects


def test_a_bounce_of_a_real_run_can_be_read(site: Site) -> None:
    site.set("routes", ":127.0.0.1:1")
    site.run("sendmail", "-i", "-f", "alice@example.com", "nobody@example.org", input=MESSAGE)
    site.account("bob")
    done = site.run("queue-run")
    (entry,) = (site.queue / "wait").glob("*/*")
    dsn = entry.read_bytes().partition(b"\n\n")[2]
    kind, message_id, *reports = perl("Mail::DeliveryStatus::BounceParser", BOUNCE, input=dsn)
    assert kind == "bounce", done.stderr
    assert message_id == "<1@example.org>"
    assert reports[0].startswith("nobody@example.org|user_unknown|")
