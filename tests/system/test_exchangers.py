"""Two hosts that find each other by DNS, each in a network namespace that the test makes.

The sender asks a DNS server in its own namespace for the exchangers of example.net: nobody listens
at the best, the next takes the mail.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BIN, Site, wait_for_line
from netns import HERE, can_make_namespaces, inside, two_namespaces
from netns import THERE as ADDRESSES

THERE = ADDRESSES[0]
ZONE = {
    "example.net": {"MX": ["10 closed.example.net.", "20 alias.example.net."]},
    "closed.example.net": {"A": ["192.0.2.4"], "AAAA": ["2001:db8::4"]},
    "alias.example.net": {"A": [THERE]},
    "implicit.example.com": {"A": [THERE]},
    "nomail.example.com": {"MX": ["0 ."]},
    "loop.example.com": {"MX": ["10 mail.example.org."]},
    "mail.example.org": {"A": [HERE]},
}
DNS = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from dnsserver import DnsServer
with DnsServer({ZONE!r}, {{"broken.example.com": "SERVFAIL"}}) as server:
    print("listening", server.port, file=sys.stderr, flush=True)
    sys.stdin.read()
"""


pytestmark = pytest.mark.skipif(not can_make_namespaces(), reason="needs root and iproute2")


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    with two_namespaces() as names:
        yield names


def start(site: Site, namespace: str, *command: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [*inside(namespace), sys.executable, *command],
        env=site.environ, stderr=subprocess.PIPE, stdin=subprocess.PIPE,
    )  # fmt: skip
    site.running.append(process)
    return process


def test_exchangers_by_dns(tmp_path: Path, namespaces: tuple[str, str]) -> None:
    sites = []
    for name, domain in (("here", "example.org"), ("there", "example.net")):
        (tmp_path / name).mkdir()
        sites.append(Site(tmp_path / name))
        sites[-1].set("me", f"mail.{domain}")
        sites[-1].set("locals", domain)
    here, there = sites
    there.set("locals", "example.net", "implicit.example.com")
    there.account("bob")
    try:
        dns = start(here, namespaces[0], "-c", DNS)
        here.set("resolver", f"127.0.0.1:{wait_for_line(dns, 'listening').split()[1]}")
        listener = start(there, namespaces[1], str(BIN / "smtpd-accept"), "--listen", f"{THERE}:25")
        wait_for_line(listener, "listening")
        expected = {
            "bob@example.net": "relayed",
            "bob@implicit.example.com": "relayed",
            "bob@nomail.example.com": "failed\t5.1.10",
            "bob@nowhere.example.com": "failed\t5.1.2",
            "bob@broken.example.com": "delayed\t4.4.3",
            "bob@loop.example.com": "failed\t5.4.6",
            "nobody@example.net": "failed\t5.1.1",
        }
        sent = subprocess.run(
            [*inside(namespaces[0]), sys.executable, str(BIN / "relay-send"), "--from",
              "alice@example.org", *expected],
            input=b"Subject: by DNS\n\nhello\n", env=here.environ, capture_output=True,
            timeout=120, check=False,
        )  # fmt: skip
        reports = {
            line.split("\t")[1]: line.split("\t", 2)[2]
            for line in sent.stdout.decode().splitlines()
        }
        for address, start_of_report in expected.items():
            assert reports.get(address, "").startswith(start_of_report), (reports, sent.stderr)
        assert sent.returncode == os.EX_TEMPFAIL
        assert "alias.example.net" in reports["bob@example.net"]  # the first was closed
        assert there.run("queue-run").returncode == 0
        assert [b"by DNS" in message for message in there.messages("bob")] == [True, True]
    finally:
        for site in sites:
            site.stop()
