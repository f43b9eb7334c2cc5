"""relay-send into a real Exim, and Exim into smtpd-accept (tests/peers.py says how it is run)."""

import email
import shutil
import smtplib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.postfix import free_port
from conftest import Site
from peers import MESSAGE, Unpacked, available, body, wait_for

pytestmark = pytest.mark.skipif(
    not available("usr/sbin/exim4"), reason="needs root, and Exim in $MAILTOOLS_PEERS"
)

CONFIG = """\
primary_hostname = exim.example.org
spool_directory = {root}/spool
log_file_path = {root}/%slog
exim_user = mail
exim_group = mail
never_users =
domainlist ours = example.org : $primary_hostname
hostlist relaying = {relaying}
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
prdr_enable = true
rfc1413_query_timeout = 0s
host_lookup =
message_size_limit = 3M
tls_advertise_hosts = *
tls_certificate = {root}/exim.pem
acl_smtp_rcpt = rcpt
acl_smtp_data_prdr = prdr
acl_smtp_data = {data}
keep_environment =
{settings}

begin acl
rcpt:
  {rcpt}
  accept domains = +ours
  accept hosts = +relaying
  deny message = relay not permitted
lines:
  deny message = maximum allowed line length is 998 octets, got $max_received_linelength
       condition = ${{if >{{$max_received_linelength}}{{998}}}}
  accept
prdr:
  deny local_parts = nobulk
       message = not for me
  accept

begin routers
ours:
  driver = accept
  domains = +ours
  transport = maildir
others:
  driver = manualroute
  route_list = * 127.0.0.1::{onward} byname
  self = send
  host_all_ignored = defer
  transport = smtp

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {root}/Maildir
  create_directory
  envelope_to_add
  return_path_add
  user = mail
  group = mail
smtp:
  driver = smtp
  allow_localhost
  hosts_try_prdr =

begin retry
* * F,2h,1m
"""


class Exim(Unpacked):
    """Exim on `port`: example.org into Maildirs, the rest to the port `onward`."""

    def __init__(
        self, folder: Path, authority: Any, *, rcpt: str, data: str, settings: str, relaying: str,
        onward: int,
    ) -> None:  # fmt: skip
        self.root, self.port = folder, free_port()
        shutil.chown(folder, "mail", "mail")
        pem = folder / "exim.pem"
        authority.issue_cert("exim.example.org").private_key_and_cert_chain_pem.write_to_path(pem)
        shutil.chown(pem, "mail", "mail")
        config = folder / "exim.conf"
        facts = {
            "rcpt": rcpt, "data": data, "settings": settings, "relaying": relaying, "onward": onward
        }  # fmt: skip
        config.write_text(CONFIG.format(root=folder, port=self.port, **facts))
        super().__init__(
            folder, ["Debian-exim"], 'exec exim4 -C "$1" -bdf', str(config), port=self.port
        )

    def mailbox(self, name: str) -> list[Path]:
        """All messages for an address of example.org, of which Exim makes a file each."""
        wanted = f"\nEnvelope-to: {name}@example.org\n".encode()
        return [
            file
            for file in (self.root / "Maildir" / "new").glob("*")
            if wanted in file.read_bytes()
        ]


@pytest.fixture
def exim(authority: Any) -> Iterator[Callable[..., Exim]]:
    started: list[Exim] = []
    folders: list[Path] = []

    def start(
        *, rcpt: str = "", data: str = "accept", settings: str = "", relaying: str = "127.0.0.1",
        onward: int = 1,
    ) -> Exim:  # fmt: skip
        folder = Path(tempfile.mkdtemp(prefix="mailtools-exim-"))  # open to Exim's user
        folders.append(folder)
        started.append(
            Exim(
                folder,
                authority,
                rcpt=rcpt,
                data=data,
                settings=settings,
                relaying=relaying,
                onward=onward,
            )
        )
        return started[-1]

    yield start
    for made in started:
        made.stop()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def send(
    site: Site, peer: Exim, *paths: str, message: bytes = MESSAGE
) -> tuple[dict[str, list[str]], str]:
    """Relay a message; give each path's report, and the log."""
    done = site.run(
        *("relay-send", "--via", f"127.0.0.1:{peer.port}", "--from", "alice@example.net", *paths),
        input=message,
    )
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    return {row[1]: row[2:] for row in rows}, done.stderr.decode()


def test_into_exim(site: Site, exim: Callable[..., Exim]) -> None:
    peer = exim()
    reports, log = send(site, peer, "bob@example.org", "carol@example.org")
    assert {row[0] for row in reports.values()} == {"relayed"}, (reports, log)
    assert "tls=TLSv1.3 tls_wanted=may" in log
    for name in ("bob", "carol"):
        (file,) = wait_for(lambda name=name: peer.mailbox(name))
        delivered = file.read_bytes()
        assert body(delivered) == body(MESSAGE)
        assert b"Return-path: <alice@example.net>" in delivered
        assert b"with esmtps" in delivered


def test_long_lines_go_by_bdat_and_arrive_as_they_were(
    site: Site, exim: Callable[..., Exim]
) -> None:
    peer = exim()
    message = MESSAGE + b"y" * 5000 + b"\n.\n" + b"z" * 998 + b"\n"
    reports, log = send(site, peer, "bob@example.org", message=message)
    assert reports["bob@example.org"][0] == "relayed", (reports, log)
    (file,) = wait_for(lambda: peer.mailbox("bob"))
    assert body(file.read_bytes()) == body(message)


def test_what_was_submitted_has_no_lines_that_exim_refuses(
    site: Site, exim: Callable[..., Exim]
) -> None:
    """Exim's own example of a configuration refuses long lines, however they come."""
    peer = exim(data="lines")
    reports, _ = send(site, peer, "bob@example.org", message=MESSAGE + b"y" * 5000 + b"\n")
    assert reports["bob@example.org"][:2] == ["failed", "5.0.0"]
    site.set("routes", f":127.0.0.1:{peer.port}")
    site.set("locals", "example.net")
    text = b"Subject: long\n\n" + b"y" * 5000 + b"\n"
    assert (
        site.run("sendmail", "-f", "alice@example.net", "bob@example.org", input=text).returncode
        == 0
    )
    site.run("queue-run")
    (file,) = wait_for(lambda: peer.mailbox("bob"))
    found = email.message_from_bytes(file.read_bytes())
    assert found.get_payload(decode=True).strip() == b"y" * 5000


def test_addresses_and_fields_in_utf8(site: Site, exim: Callable[..., Exim]) -> None:
    peer = exim()
    message = "From: <jörg@example.net>\nTo: <bücher@example.org>\nSubject: Grüße\n\nhallo\n"
    reports, log = send(site, peer, "bücher@example.org", message=message.encode())
    assert reports["bücher@example.org"][0] == "relayed", (reports, log)
    (file,) = wait_for(lambda: peer.mailbox("bücher"))
    assert "Subject: Grüße" in file.read_text()


def test_too_many_recipients_go_in_further_transactions(
    site: Site, exim: Callable[..., Exim]
) -> None:
    peer = exim(settings="recipients_max = 2")
    paths = [f"user{number}@example.org" for number in range(5)]
    reports, log = send(site, peer, *paths)
    assert {row[0] for row in reports.values()} == {"relayed"}, (reports, log)
    for path in paths:
        wait_for(lambda path=path: peer.mailbox(path.partition("@")[0]))


def test_each_recipient_has_its_reply(site: Site, exim: Callable[..., Exim]) -> None:
    peer = exim(
        relaying="",
        rcpt="""defer local_parts = grey
       message = 4.7.1 greylisted, come again
  defer local_parts = full
       message = 4.2.2 mailbox full
  deny local_parts = nobody
       message = 5.1.1 no such user
  drop local_parts = gone
       message = 5.7.1 that is enough
""",
    )
    reports, _ = send(
        site, peer, "bob@example.org", "grey@example.org", "full@example.org", "nobody@example.org",
        "eve@elsewhere.test",
    )  # fmt: skip
    assert {path: row[:2] for path, row in reports.items()} == {
        "bob@example.org": ["relayed", "2.0.0"],
        "grey@example.org": ["delayed", "4.7.1"],
        "full@example.org": ["delayed", "4.2.2"],
        "nobody@example.org": ["failed", "5.1.1"],
        "eve@elsewhere.test": ["failed", "5.0.0"],
    }
    # Exim drops the connection in the middle: who was not answered is tried again.
    reports, _ = send(site, peer, "gone@example.org", "bob@example.org")
    assert reports["bob@example.org"][0] == "delayed"


def test_what_is_too_big_fails_before_it_is_sent(site: Site, exim: Callable[..., Exim]) -> None:
    peer = exim()
    big = MESSAGE + b"0123456789" * 70 + b"\n"
    big += (b"0123456789" * 7 + b"\n") * 60_000
    reports, _ = send(site, peer, "bob@example.org", message=big)
    assert reports["bob@example.org"][:2] == ["failed", "5.3.4"]
    below = big[: 2 * 1024 * 1024] + b"\n"
    reports, log = send(site, peer, "bob@example.org", message=below)
    assert reports["bob@example.org"][0] == "relayed", (reports, log)
    (file,) = wait_for(lambda: peer.mailbox("bob"))
    assert body(file.read_bytes()) == body(below)


def test_from_exim(site: Site, exim: Callable[..., Exim]) -> None:
    site.set("locals", "example.com")
    site.account("bob")
    server = site.listen("smtpd-accept")
    peer = exim(onward=server.port)
    with smtplib.SMTP("127.0.0.1", peer.port) as client:
        client.ehlo()
        client.sendmail(
            "alice@example.net", ["bob@example.com"], MESSAGE.replace(b"\n", b"\r\n"),
            ["BODY=8BITMIME"],
        )  # fmt: skip
    (file,) = wait_for(lambda: list((site.queue / "new").glob("*")))
    entry = file.read_bytes()
    assert b"reverse-path alice@example.net\nforward-path bob@example.com" in entry
    assert entry.endswith(body(MESSAGE))
