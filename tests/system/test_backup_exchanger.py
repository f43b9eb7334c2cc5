"""Mail for others' domains: taken from strangers, held while their host is down, sent on then.

Two hosts of mailtools in network namespaces: mx1 of example.net, and mx2, a backup that is not the
last one.
"""

import shutil
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import BIN, Site, wait_for_line
from netns import HERE, THERE, can_make_namespaces, inside, two_namespaces
from smtpsink import Taker

ZONE = {
    "example.net": {"MX": ["30 mx3.example.net.", "20 mx2.example.org.", "10 mx1.example.net."]},
    "mx1.example.net": {"A": [THERE[0]]},
    "mx2.example.org": {"A": [HERE]},
    "mx3.example.net": {"A": [THERE[2]]},
}
DNS = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from dnsserver import DnsServer
with DnsServer({ZONE!r}) as server:
    print("listening", server.port, file=sys.stderr, flush=True)
    sys.stdin.read()
"""
DIALOG = """
import smtplib, sys
with smtplib.SMTP("192.0.2.1", 25, timeout=30, source_address=("192.0.2.2", 0)) as smtp:
    smtp.ehlo("mx1.example.net")
    for line in sys.argv[1:]:
        smtp.send(line.encode() + b"\\r\\n")
        code, text = smtp.getreply()
        print(code, text.decode())
"""


class Net:
    """The backup `here`, the primary `there`, and what is said from there."""

    def __init__(self, folder: Path, namespaces: tuple[str, str]) -> None:
        self.namespaces = namespaces
        (folder / "here").mkdir()
        (folder / "there").mkdir()
        self.here, self.there = Site(folder / "here"), Site(folder / "there")
        self.here.set("me", "mx2.example.org")
        self.here.set("relay-domains", "example.net")
        self.there.set("me", "mx1.example.net")
        self.there.set("locals", "example.net")
        self.there.account("bob")
        dns = self.start(self.here, 0, "-c", DNS)
        self.here.set("resolver", f"127.0.0.1:{wait_for_line(dns, 'listening').split()[1]}")

    def start(self, site: Site, which: int, *command: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [*inside(self.namespaces[which]), sys.executable, *command],
            env=site.environ, stderr=subprocess.PIPE, stdin=subprocess.PIPE,
        )  # fmt: skip
        site.running.append(process)
        return process

    def listen(self, site: Site, which: int, address: str) -> None:
        receiver = self.start(site, which, str(BIN / "smtpd-accept"), "--listen", f"{address}:25")
        wait_for_line(receiver, "listening")

    def say(self, *lines: str) -> list[str]:
        done = subprocess.run(
            [*inside(self.namespaces[1]), sys.executable, "-c", DIALOG, *lines],
            capture_output=True, check=False, timeout=60, env=self.there.environ,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().splitlines()

    def queue_run(self) -> str:
        done = subprocess.run(
            [*inside(self.namespaces[0]), sys.executable, str(BIN / "queue-run")],
            capture_output=True, check=False, timeout=60, env=self.here.environ,
        )  # fmt: skip
        return done.stderr.decode()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    if not can_make_namespaces():
        pytest.skip("needs root and iproute2")
    with two_namespaces() as names:
        made = Net(tmp_path, names)
        try:
            yield made
        finally:
            made.here.stop()
            made.there.stop()


def test_a_backup_holds_mail_until_the_primary_asks_for_it(net: Net) -> None:
    net.here.set("relay-recipients", "bob@example.net")
    net.listen(net.here, 0, HERE)
    said = net.say(
        "MAIL FROM:<alice@example.com>", "RCPT TO:<bob@example.net>", "RCPT TO:<who@example.net>",
        "RCPT TO:<bob@example.edu>", "DATA", "Subject: while you were out\r\n\r\nhello\r\n.",
    )  # fmt: skip
    assert [line[:9] for line in said] == [
        "250 2.1.0", "250 2.1.5", "550 5.1.1", "550 5.7.1", said[4][:9], "250 2.0.0"
    ], said  # fmt: skip
    log = net.queue_run()
    assert "mx1.example.net" in log
    assert "mx3" not in log  # worse than we are: RFC 5321 5.1
    assert len(list((net.here.queue / "wait").rglob("*M*P*"))) == 1
    assert net.queue_run() == ""  # not due yet

    net.listen(net.there, 1, THERE[0])
    assert net.say("ETRN example.edu")[0].startswith("459 4.7.1")
    assert net.say("ETRN example.net")[0].startswith("253 2.0.0 OK, 1 pending")
    assert net.say("ETRN example.net")[0].startswith("458 4.7.0")
    assert "relayed" in net.queue_run()
    assert net.there.run("queue-run").returncode == 0
    (message,) = net.there.messages("bob")
    assert b"while you were out" in message
    assert message.count(b"\nReceived: ") + message.startswith(b"Received: ") >= 2
    assert not list((net.here.queue / "wait").rglob("*M*P*"))


def test_a_host_that_is_itself_the_best_exchanger_ends_the_loop(net: Net) -> None:
    net.here.set("me", "mx1.example.net")  # as if the records named us first
    net.listen(net.here, 0, HERE)
    net.say("MAIL FROM:<>", "RCPT TO:<bob@example.net>", "DATA", "Subject: x\r\n\r\ny\r\n.")
    log = net.queue_run()
    assert "5.4.6" in log
    assert "relayed" not in log


# -- at the door, without another host ------------------------------------------------------------


@pytest.fixture
def gateway(site: Site) -> Site:
    site.account("alice")
    site.set("relay-domains", "example.net", ".example.com")
    site.set("relay-recipients", "bob@example.net", "@.example.com")
    return site


def answers(site: Site, *paths: str) -> list[tuple[int, bytes]]:
    server = site.listen("smtpd-accept")
    with smtplib.SMTP(server.host, server.port, timeout=30) as smtp:
        smtp.ehlo("client.example.edu")
        smtp.mail("carol@example.edu")
        return [smtp.rcpt(path) for path in paths]


def test_strangers_may_write_to_relay_domains_only(gateway: Site) -> None:
    found = answers(
        gateway, "bob@example.net", "who@example.net", "any@mail.example.com", "any@example.com",
        "bob@a.example.net", "alice@example.org", "who%example.net@example.edu",
    )  # fmt: skip
    assert [code for code, _ in found] == [250, 550, 250, 550, 550, 250, 550]
    assert found[1][1].startswith(b"5.1.1")
    assert found[3][1].startswith(b"5.7.1")


@pytest.mark.skipif(not shutil.which("swaks"), reason="needs swaks")
def test_what_swaks_brings_goes_on_by_lmtp(gateway: Site) -> None:
    server = gateway.listen("smtpd-accept")
    with Taker() as store:
        gateway.set("transports", f"example.net:relay-send --lmtp --via 127.0.0.1:{store.port}")
        for to, code in (("bob+lists@example.net", 0), ("who@example.net", 24)):
            done = subprocess.run(
                ["swaks", "--server", f"{server.host}:{server.port}", "--helo", "x.example.edu",
                 "--from", "carol@example.edu", "--to", to, "--body", "by swaks"],
                capture_output=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == code, done.stdout
        assert gateway.run("queue-run").returncode == 0
    ((sender, paths, text),) = store.messages
    assert (sender, paths) == ("carol@example.edu", ["bob+lists@example.net"])
    assert b"by swaks" in text


def test_transports_and_routes_alone_open_no_door(gateway: Site) -> None:
    gateway.set("transports", "lists.test:relay-send --via 127.0.0.1:1")
    gateway.set("routes", "store.test:127.0.0.1:1")
    assert [code for code, _ in answers(gateway, "a@lists.test", "a@store.test")] == [550, 550]


def test_recipients_with_a_fault_put_mail_off(gateway: Site) -> None:
    gateway.set("relay-recipients", "bob@example.net", "bob")
    ((code, _),) = answers(gateway, "bob@example.net")
    assert code == 451


def test_etrn_is_offered_where_strangers_may_ask(gateway: Site) -> None:
    server = gateway.listen("smtpd-accept")
    with smtplib.SMTP(server.host, server.port, timeout=30) as smtp:
        smtp.ehlo("mx1.example.net")
        assert smtp.has_extn("etrn")
        assert smtp.docmd("ETRN", "a.example.com")[0] == 251
        assert smtp.docmd("ETRN", "b.example.com")[0] == 458  # the line was looked for just now
        assert smtp.docmd("ETRN", "@example.net")[0] == 459  # subdomains are not listed
        assert smtp.docmd("VRFY", "bob@example.net")[0] == 252


def test_a_rehearsal_knows_them(gateway: Site) -> None:
    dialog = (
        b"MAIL FROM:<a@example.edu>\r\nRCPT TO:<bob@example.net>\r\n"
        b"RCPT TO:<who@example.net>\r\nQUIT\r\n"
    )
    done = gateway.run("smtpd-accept", "--pretend-from", "192.0.2.7:x.example.edu", input=dialog)
    assert b"recipient: bob@example.net taken" in done.stderr
    assert b"550 5.1.1" in done.stdout
