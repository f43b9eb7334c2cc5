"""Reports on others' mail, from what is noted to what their readers find in their mailbox."""

import base64
import gzip
import json
import os
import re
import smtplib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import BIN, Server, Site, wait_for_line
from dnsserver import DnsServer
from netns import HERE, THERE, can_make_namespaces, inside, two_namespaces

from mailtools.mail.dmarc_report import NAMESPACE
from mailtools.mail.fields import split_message
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer, sign
from mailtools.trust.keys import new_private_key

KEY = new_private_key("ed25519")
GOOD, BAD = "192.0.2.7", "203.0.113.9"


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """example.org, which reports, and example.net, which reads."""
    made = []
    for name, domain in (("here", "example.org"), ("there", "example.net")):
        (tmp_path / name).mkdir()
        site = Site(tmp_path / name)
        site.set("me", f"mail.{domain}")
        site.set("locals", domain)
        made.append(site)
    yield made[0], made[1]
    for site in made:
        site.stop()


def make_it_yesterday(site: Site, kind: str) -> None:
    """Today's data become those of a day that is over."""
    folder = site.spool / "reports" / kind
    yesterday = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 86400))
    texts = [path.read_text() for path in sorted(folder.iterdir())]
    for path in folder.iterdir():
        path.unlink()
    (folder / yesterday).write_text("".join(texts))


def attachment(message: bytes) -> bytes:
    part = list(message_from_bytes(message).walk())[-1]
    return gzip.decompress(base64.b64decode(str(part.get_payload())))


# -- DMARC ----------------------------------------------------------------------------------------


@contextmanager
def client(server: Server, address: str) -> Iterator[smtplib.SMTP]:
    """A client that comes from `address`, as a trusted proxy says."""
    with smtplib.SMTP(*server.address, local_hostname="mx.bank.test", timeout=30) as smtp:
        smtp.ehlo()
        smtp.docmd("XCLIENT", f"ADDR={address}")
        smtp.ehlo("mx.bank.test")
        yield smtp


def text_of(author: str, *, signed: bool = False) -> bytes:
    text = f"From: {author}\nTo: bob@example.org\nSubject: x\n\nHello\n".encode()
    if signed:
        header, body = split_message(text)
        hashes = BodyHashes([SIGNING_FORM])
        hashes.update(body)
        text = sign(header, hashes, [Signer("bank.test", "s", KEY)], int(time.time())) + text
    return text.replace(b"\n", b"\r\n")


def test_dmarc_from_the_first_message_to_the_reader(sites: tuple[Site, Site]) -> None:
    here, there = sites
    zone = {
        "bank.test": {"TXT": ['"v=spf1 ip4:192.0.2.7 -all"'], "A": ["192.0.2.7"]},
        "_dmarc.bank.test": {
            "TXT": ['"v=DMARC1; p=reject; rua=mailto:dmarc@example.net,mailto:x@victim.test"']
        },
        "bank.test._report._dmarc.example.net": {"TXT": ['"v=DMARC1"']},
        "s._domainkey.bank.test": {"TXT": [f'"{KEY.record()}"']},
        "example.org": {"TXT": ['"v=spf1 -all"'], "A": ["192.0.2.1"]},
        "_dmarc.example.org": {"TXT": ['"v=DMARC1; p=reject; rua=mailto:dmarc@example.org"']},
        "x.test": {"A": ["192.0.2.9"]},
    }
    with DnsServer(zone) as dns:
        for site in sites:
            site.set("resolver", dns.at)
            site.set("checks", "enforce")
            site.set("dmarc-reports")
            site.set("xclient-clients", "127.0.0.1")
        here.account("bob")
        there.account("dmarc")
        made = here.run("mail-dkim", "new", "example.org", "--algorithm", "ed25519")
        name, _, record = made.stdout.decode().partition(". ")
        dns.zone[name] = {"TXT": [record[record.index('"') : record.rindex('"') + 1]]}
        assert b"signs from now on" in here.run("mail-dkim", "rotate").stdout

        server = here.listen("smtpd-accept")
        for _ in range(2):
            with client(server, GOOD) as smtp:
                smtp.sendmail("a@bank.test", "bob@example.org", text_of("a@bank.test", signed=True))
        with client(server, GOOD) as smtp:
            smtp.sendmail("a@bank.test", "bob@example.org", text_of("a@bank.test"))
        with client(server, BAD) as smtp, pytest.raises(smtplib.SMTPDataError):
            smtp.sendmail("a@x.test", "bob@example.org", text_of("The Bank <a@bank.test>"))
        with client(server, BAD) as smtp, pytest.raises(smtplib.SMTPDataError):
            smtp.sendmail("a@example.org", "bob@example.org", text_of("bob@example.org"))

        consent = "bank.test._report._dmarc.victim.test"
        shown = here.run("report-send", "--dry-run").stdout.decode().splitlines()
        assert [line.split("\t")[1:] for line in shown] == [
            ["dmarc", "bank.test", "4", "dmarc@example.net"],
            ["dmarc", "bank.test", "-", f"victim.test has not agreed: no TXT at {consent}"],
        ]
        make_it_yesterday(here, "dmarc")
        sent = here.run("report-send")
        assert sent.returncode == 0, sent.stderr
        assert b"reported id=" in sent.stderr
        assert here.run("report-send").stderr == b""  # nothing twice

        exchanger = there.listen("smtpd-accept")
        here.set("routes", f"example.net:127.0.0.1:{exchanger.port}")
        with_xclient = here.run("queue-run")
        assert b"relayed id=" in with_xclient.stderr, with_xclient.stderr
        assert there.run("queue-run").returncode == 0
        (message,) = there.messages("dmarc")
        assert re.search(rb"dmarc=pass\s+header.from=example.org", message), message
        tree, space = ElementTree.fromstring(attachment(message)), {"": NAMESPACE}
        rows: Counter[tuple[str, ...]] = Counter()
        for record in tree.iterfind("record", space):
            names = ("source_ip", "policy_evaluated/disposition", "policy_evaluated/dkim",
                     "policy_evaluated/spf")  # fmt: skip
            key = tuple(record.findtext(f"row/{name}", "", space) for name in names)
            rows[key] += int(record.findtext("row/count", "0", space))
        assert rows == {
            (GOOD, "pass", "pass", "pass"): 2,
            (GOOD, "pass", "fail", "pass"): 1,
            (BAD, "reject", "fail", "fail"): 1,
        }
        # The report itself passed DMARC there: there is no report on it.
        assert not list((there.spool / "reports").glob("dmarc/*"))


def test_a_failure_from_the_message_to_the_reader(sites: tuple[Site, Site]) -> None:
    here, there = sites
    zone = {
        "bank.test": {"TXT": ['"v=spf1 ip4:192.0.2.7 -all"'], "A": ["192.0.2.7"]},
        "_dmarc.bank.test": {
            "TXT": ['"v=DMARC1; p=reject; fo=1; ruf=mailto:ruf@example.net,mailto:x@victim.test"']
        },
        "bank.test._report._dmarc.example.net": {"TXT": ['"v=DMARC1"']},
        "example.org": {"TXT": ['"v=spf1 ip4:127.0.0.1 -all"'], "A": ["192.0.2.1"]},
        "_dmarc.example.org": {"TXT": ['"v=DMARC1; p=reject; ruf=mailto:ruf@example.org"']},
    }
    with DnsServer(zone) as dns:
        for site in sites:
            site.set("resolver", dns.at)
            site.set("xclient-clients", "127.0.0.1")
        here.set("checks", "enforce")
        here.set("dmarc-failure-reports")
        here.account("bob")
        there.account("ruf")
        server = here.listen("smtpd-accept")
        for sender in ("news@bank.test", "a@bank.test", ""):
            with client(server, BAD) as smtp, pytest.raises(smtplib.SMTPDataError):
                smtp.sendmail(sender, "bob@example.org", text_of("The Boss <boss@bank.test>"))
        with client(server, GOOD) as smtp:  # SPF passes, and fo=1 wants DKIM too
            smtp.sendmail("a@bank.test", "bob@example.org", text_of("boss@bank.test"))
        shown = here.run("report-send", "--dry-run").stdout.decode().splitlines()
        assert [line.split("\t")[1:4] for line in shown] == [
            ["failure", "bank.test", "2"],
            ["failure", "bank.test", "-"],
            ["failure", "bank.test", "1"],
            ["failure", "bank.test", "-"],
        ]
        text = here.run("report-send", "--show").stdout.decode()
        assert "Feedback-Type: auth-failure" in text
        assert "boss" not in text.lower()
        sent = here.run("report-send")
        assert sent.returncode == 0, sent.stderr
        assert sent.stderr.count(b"reported id=") == 2
        assert here.run("report-send").stderr == b""
        assert not [path for path in (here.spool / "reports/failure").rglob("*") if path.is_file()]

        exchanger = there.listen("smtpd-accept")
        here.set("routes", f"example.net:127.0.0.1:{exchanger.port}")
        assert b"relayed id=" in here.run("queue-run").stderr
        assert there.run("queue-run").returncode == 0
        messages = there.messages("ruf")
        assert len(messages) == 2
        found = there.run("report-read", "--json", str(there.homes / "ruf/Maildir")).stdout
        reports = [json.loads(line) for line in found.decode().splitlines()]
        rows = [row for report in reports for row in report["rows"]]
        assert sorted((row["source"], row["number"]) for row in rows) == [(GOOD, 1), (BAD, 2)]
        assert {report["domain"] for report in reports} == {"bank.test"}
        table = there.run("report-read", str(there.homes / "ruf/Maildir")).stdout.decode()
        assert BAD in table


# -- TLS ------------------------------------------------------------------------------------------

DOMAINS = ("good.test", "plain.test", "testing.test", "enforce.test", "dane.test")
SERVERS = """
import sys; sys.path.insert(0, {tests!r})
import http.server, ssl, threading
from dnsserver import DnsServer

class Policies(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        domain = self.headers["Host"].removeprefix("mta-sts.")
        mode = domain.partition(".")[0]
        text = f"version: STSv1\\r\\nmode: {{mode}}\\r\\nmx: mx.{{domain}}\\r\\nmax_age: 9999\\r\\n"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

def web():
    server = http.server.HTTPServer(({web!r}, 443), Policies)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain({chain!r})
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()

if sys.argv[1] == "web":
    threading.Thread(target=web, daemon=True).start()
    print("listening", file=sys.stderr, flush=True)
    sys.stdin.read()
else:
    server = DnsServer({zone!r})
    server.secure |= {secure!r}
    with server:
        print("listening", server.port, file=sys.stderr, flush=True)
        sys.stdin.read()
"""


def zone_of() -> tuple[dict[str, dict[str, list[str]]], set[str]]:
    zone: dict[str, dict[str, list[str]]] = {}
    for domain in DOMAINS:
        zone[domain] = {"MX": [f"10 mx.{domain}."]}
        zone[f"mx.{domain}"] = {"A": [THERE[1] if domain == "plain.test" else THERE[0]]}
        zone[f"_smtp._tls.{domain}"] = {"TXT": ['"v=TLSRPTv1; rua=mailto:tls@good.test"']}
    for domain in ("testing.test", "enforce.test"):
        zone[f"_mta-sts.{domain}"] = {"TXT": ['"v=STSv1; id=1;"']}
        zone[f"mta-sts.{domain}"] = {"A": [THERE[2]]}
    zone["_25._tcp.mx.dane.test"] = {"TLSA": ["3 1 1 " + "ab" * 32]}
    return zone, {"dane.test", "mx.dane.test", "_25._tcp.mx.dane.test"}


def start(site: Site, namespace: str, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [*inside(namespace), sys.executable, *command],
        env=site.environ, stderr=subprocess.PIPE, stdin=subprocess.PIPE,
    )  # fmt: skip
    site.running.append(process)
    return process


@pytest.mark.skipif(not can_make_namespaces(), reason="needs root and iproute2")
def test_tls_from_the_first_session_to_the_reader(
    sites: tuple[Site, Site], tmp_path: Path, authority: Any
) -> None:
    here, there = sites
    (tmp_path / "bare").mkdir()
    bare = Site(tmp_path / "bare")
    bare.set("me", "mail.plain.test")
    for site in (there, bare):
        site.set("locals", *DOMAINS)
        for name in ("bob", "tls"):
            site.account(name)
    there.tls(authority.issue_cert("mx.good.test"))
    chain = tmp_path / "web.pem"
    web = authority.issue_cert("mta-sts.testing.test", "mta-sts.enforce.test")
    web.private_key_and_cert_chain_pem.write_to_path(chain)
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(trusted)
    zone, secure = zone_of()
    servers = SERVERS.format(
        tests=str(Path(__file__).parents[1]), web=THERE[2], chain=str(chain), zone=zone,
        secure=secure,
    )  # fmt: skip
    here.set("tls-reports")
    with two_namespaces() as (ours, theirs):
        try:
            dns = start(here, ours, "-c", servers, "dns")
            here.set("resolver", f"127.0.0.1:{wait_for_line(dns, 'listening').split()[1]}")
            wait_for_line(start(there, theirs, "-c", servers, "web"), "listening")
            for site, address in ((there, THERE[0]), (bare, THERE[1])):
                command = str(BIN / "smtpd-accept")
                wait_for_line(start(site, theirs, command, "--listen", f"{address}:25"), "listen")

            def run(command: str, *words: str, text: bytes = b"") -> tuple[int, str, str]:
                done = subprocess.run(
                    [*inside(ours), sys.executable, str(BIN / command), *words], input=text,
                    env={**here.environ, "SSL_CERT_FILE": str(trusted)}, capture_output=True,
                    timeout=120, check=False,
                )  # fmt: skip
                return done.returncode, done.stdout.decode(), done.stderr.decode()

            paths = [f"bob@{domain}" for domain in DOMAINS]
            code, out, log = run(
                "relay-send", "--from", "a@example.org", *paths, text=b"x: y\n\nz\n"
            )
            actions = dict(line.split("\t")[1:3] for line in out.splitlines())
            assert [actions[path] for path in paths] == ["relayed"] * 3 + ["delayed"] * 2, log
            assert code == os.EX_TEMPFAIL

            make_it_yesterday(here, "tls")
            code, _, log = run("report-send")
            assert code == 0, log
            code, _, log = run("queue-run")
            assert log.count("relayed id=") == len(DOMAINS), log
            assert not list((here.spool / "reports/tls").glob("*" + time.strftime("%d")))
            assert there.run("queue-run").returncode == 0
        finally:
            bare.stop()
            here.stop()
            there.stop()
    found = {}
    for message in there.messages("tls"):
        report = json.loads(attachment(message))
        domain = message_from_bytes(message)["TLS-Report-Domain"]
        for policy in report["policies"]:
            summary, details = policy["summary"], policy.get("failure-details", [])
            kind = policy["policy"]["policy-type"]
            counts = tuple(summary.values())
            found[domain] = (kind, counts, [detail["result-type"] for detail in details])
            assert all(detail["sending-mta-ip"] == HERE for detail in details)
    assert found == {
        "good.test": ("no-policy-found", (1, 0), []),
        "plain.test": ("no-policy-found", (0, 1), ["starttls-not-supported"]),
        "testing.test": ("sts", (0, 1), ["certificate-host-mismatch"]),
        "enforce.test": ("sts", (0, 1), ["certificate-host-mismatch"]),
        "dane.test": ("tlsa", (0, 1), ["certificate-host-mismatch"]),
    }
