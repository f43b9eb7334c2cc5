"""report-send as a person or cron runs it: what it says, its exit codes, one at a time."""

import fcntl
import json
import os
import time

import pytest
from conftest import Site
from dnsserver import DnsServer

from mailtools.mail.dmarc_report import Published, Row

ZONE = {
    "_dmarc.bank.test": {"TXT": ['"v=DMARC1; p=none; rua=mailto:a@bank.test"']},
    "_dmarc.example.org": {"TXT": ['"v=DMARC1; p=none; rua=mailto:a@example.org"']},
}
YESTERDAY = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))


@pytest.fixture
def office(site: Site) -> Site:
    """example.org, which has noted a message of bank.test and one of its own yesterday."""
    site.set("dmarc-reports")
    folder = site.spool / "reports/dmarc"
    folder.mkdir(parents=True)
    policy = json.dumps(Published("none")._asdict())
    lines = []
    for domain in ("bank.test", "example.org"):
        row = Row("192.0.2.7", "none", "fail", "fail", domain)
        lines.append(f"1\t{domain}\t{policy}\t{json.dumps(row._asdict())}\n")
    (folder / YESTERDAY).write_text("".join(lines))
    return site


def entries(site: Site) -> list[str]:
    return [path.read_text() for path in sorted((site.queue / "new").glob("*"))]


def test_neither_kind_is_on(site: Site) -> None:
    done = site.run("report-send")
    assert done.returncode == os.EX_CONFIG
    assert b"neither dmarc-reports nor tls-reports is on" in done.stderr


def test_it_sends_shows_and_sends_no_more(office: Site) -> None:
    with DnsServer(ZONE) as dns:
        office.set("resolver", dns.at)
        dry = office.run("report-send", "--dry-run")
        assert dry.stdout.decode() == f"{YESTERDAY}\tdmarc\tbank.test\t1\ta@bank.test\n"
        shown = office.run("report-send", "--show", "bank.test").stdout
        assert b"<source_ip>192.0.2.7</source_ip>" in shown
        assert not office.queue.exists()
        assert not (office.spool / "reports/sent").exists()
        done = office.run("report-send")
        assert (done.returncode, done.stdout) == (0, b"")
        assert done.stderr.count(b"reported id=") == 1
        assert "\nforward-path a@bank.test NOTIFY=NEVER\n" in entries(office)[0]
        assert "\nFrom: <postmaster@example.org>\n" in entries(office)[0]
        again = office.run("report-send")
        assert (again.returncode, again.stderr) == (0, b"")
        assert len(entries(office)) == 1


def test_settings_of_the_reporter(office: Site) -> None:
    office.set("report-from", "dmarc@mail.example.org")
    office.set("report-organization", "Example & Sons")
    office.set("report-bounces", "bounces@example.org")
    office.set("report-ourselves")
    with DnsServer(ZONE) as dns:
        office.set("resolver", dns.at)
        assert (
            b"<org_name>Example &amp; Sons</org_name>" in office.run("report-send", "--show").stdout
        )
        assert office.run("report-send").returncode == 0
    texts = entries(office)
    assert len(texts) == 2  # one of them to ourselves
    assert all("\nreverse-path bounces@example.org\n" in text for text in texts)
    assert all("\nFrom: <dmarc@mail.example.org>\n" in text for text in texts)


def test_one_domain_and_one_day(office: Site) -> None:
    with DnsServer(ZONE) as dns:
        office.set("resolver", dns.at)
        assert office.run("report-send", "other.test").stderr == b""
        assert office.run("report-send", "--day", "2020-01-01").stderr == b""
        done = office.run("report-send", "--day", YESTERDAY, "Bank.Test.")
        assert b"domain=bank.test" in done.stderr


def test_dns_that_does_not_answer_is_for_the_next_run(office: Site) -> None:
    with DnsServer(ZONE, {"_dmarc.bank.test": "SERVFAIL"}) as dns:
        office.set("resolver", dns.at)
        done = office.run("report-send")
        assert done.returncode == os.EX_TEMPFAIL
        assert b"unreported kind=dmarc domain=bank.test" in done.stderr
        dns.faults.clear()
        assert office.run("report-send").returncode == 0
        assert len(entries(office)) == 1


@pytest.mark.parametrize("day", ["yesterday", "2026-1-1", time.strftime("%Y-%m-%d", time.gmtime())])
def test_a_day_that_is_none_or_not_over(office: Site, day: str) -> None:
    assert office.run("report-send", "--day", day).returncode == os.EX_USAGE


@pytest.mark.parametrize(
    ("name", "text"),
    [("report-from", "nobody"), ("report-bounces", "a b@c"), ("dmarc-reports", "perhaps")],
)
def test_settings_that_cannot_be(office: Site, name: str, text: str) -> None:
    path = office.set(name, text)
    done = office.run("report-send")
    assert done.returncode == os.EX_CONFIG
    assert str(path).encode() in done.stderr
    assert text.encode() in done.stderr


def test_one_runs_at_a_time(office: Site) -> None:
    with DnsServer(ZONE) as dns:
        office.set("resolver", dns.at)
        fd = os.open(office.spool / "reports", os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert office.run("report-send").returncode == 0
        assert entries(office) == []
        os.close(fd)
        assert office.run("report-send").returncode == 0
        assert len(entries(office)) == 1
