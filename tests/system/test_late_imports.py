"""What begins as root loads all it needs before it gives root up.

Whoever it becomes may not be allowed to read Python or the package; then an import would end in a
traceback. A sitecustomize notes each import of such a process that comes too late.
"""

import base64
import contextlib
import imaplib
import os
import poplib
import pwd
import shutil
import smtplib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Site
from dkim2_signer import instance
from dkim2_signer import sign as sign_dkim2
from dnsserver import DnsServer

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.fields import split_message
from mailtools.store.queue import Queue
from mailtools.trust.arc import Arc, ArcResult
from mailtools.trust.arc_seal import seal
from mailtools.trust.authres import AuthenticationResults
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer, sign
from mailtools.trust.keys import new_private_key

RECEIVER, OWNER = "mail", "games"  # users that every Debian has
NOTICE = """
import os, sys

class Late:
    def find_spec(self, name, path=None, target=None):
        if os.geteuid():
            file = os.open(os.environ["LATE"], os.O_WRONLY | os.O_APPEND)
            os.write(file, f"{os.path.basename(sys.argv[0])}: {name}\\n".encode())
            os.close(file)

if os.geteuid() == 0:  # whoever starts as somebody else may read it
    sys.meta_path.insert(0, Late())
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Watched(Site):
    """A site whose queue is one user's and whose mailboxes are another's."""

    def lay_out(self) -> None:
        (self.root / "sitecustomize.py").write_text(NOTICE)
        self.noted = self.root / "late"
        self.noted.touch()
        self.noted.chmod(0o666)
        self.set("mailbox-owner", OWNER)
        self.account("bob")
        shutil.chown(self.etc / "accounts", "root", RECEIVER)
        (self.etc / "accounts").chmod(0o640)
        shutil.chown(self.spool, RECEIVER, RECEIVER)
        self.spool.chmod(0o700)
        shutil.chown(self.homes, OWNER, OWNER)

    @property
    def environ(self) -> dict[str, str]:
        return {**super().environ, "PYTHONPATH": str(self.root), "LATE": str(self.noted)}

    @property
    def late(self) -> list[str]:
        return self.noted.read_text().splitlines()

    def does(self, command: str, *words: str, input: bytes = b"") -> str:
        done = self.run(command, *words, input=input)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()


@pytest.fixture
def host() -> Iterator[Watched]:
    root = Path(tempfile.mkdtemp(prefix="mailtools-"))
    root.chmod(0o755)
    site = Watched(root)
    site.lay_out()
    yield site
    site.stop()
    shutil.rmtree(root)


TEXT = b"From: alice@example.net\nSubject: x\n\ny\n"


def test_a_late_import_is_noted(host: Watched) -> None:
    words = f"import os; os.seteuid({pwd.getpwnam(OWNER).pw_uid}); import this"
    subprocess.run(
        [sys.executable, "-c", words], env=host.environ, check=False, capture_output=True
    )
    assert host.late == ["-c: this"]


def test_sendmail_and_queue_run(host: Watched) -> None:
    host.set("suppress", "5d")
    host.set("hold", "from held@*")
    host.set("delay-warning", "1")
    host.does("queue-run")
    host.does("sendmail", "bob@example.org", input=TEXT)
    host.does("sendmail", "-XV", "-t", input=b"To: who@example.org, bob@example.org\n" + TEXT)
    host.does("queue-run")
    assert len(host.messages("bob")) >= 2
    dialog = ["EHLO x", "MAIL FROM:<a@example.net>", "RCPT TO:<bob@example.org>", "DATA"]
    dialog += ["Subject: x", "", "y", ".", "QUIT", ""]
    host.does("sendmail", "-bs", input="\r\n".join(dialog).encode())
    host.does("queue-run", "--dry-run")
    host.does("queue-run", "--domain", "example.org")
    assert len(host.messages("bob")) >= 3
    assert host.late == []


def test_sendmail_q_of_root_runs_the_queue_as_root_does(host: Watched) -> None:
    host.does("queue-run")
    queue = Queue(str(host.queue))
    writer = queue.begin(Envelope("", (ForwardPath("bob@example.org"),)))
    writer.write(TEXT)
    queue.defer(queue.open(writer.commit()), 2e9)
    for path in host.queue.rglob("*"):
        shutil.chown(path, RECEIVER, RECEIVER)
    host.does("sendmail", "-q")
    assert len(host.messages("bob")) == 1
    assert {pwd.getpwuid(path.stat().st_uid).pw_name for path in host.homes.rglob("*")} == {OWNER}
    assert host.late == []


def test_deliveries(host: Watched) -> None:
    home = host.homes / "carol"
    home.mkdir()
    host.set("accounts", "bob:{PLAIN}secret::::::userdb_quota_rule=*:storage=10M",
             f"carol:{{PLAIN}}x:{pwd.getpwnam(OWNER).pw_uid}:60::{home}:")  # fmt: skip
    (home / ".forward").write_text("\\\\carol, |cat > /dev/null, dora@example.org\n")
    shutil.chown(home, OWNER, OWNER)
    shutil.chown(home / ".forward", OWNER, OWNER)
    host.set("aliases", "dora: bob", "prog: |cat > /dev/null", f"list: :include:{host.root}/list")
    (host.root / "list").write_text("bob, carol\n")
    host.does("queue-run")
    for to in ("bob", "prog", "carol", "list"):
        host.does("sendmail", to, input=TEXT)
    host.does("queue-run")
    host.does("local-deliver", "bob@example.org", input=TEXT)
    assert len(host.messages("bob")) >= 3
    assert host.late == []


@pytest.mark.parametrize("command", ["imapd", "pop3d", "smtpd-accept"])
def test_servers(host: Watched, command: str) -> None:
    host.set("plaintext-login", "yes")
    host.does("local-deliver", "bob@example.org", input=TEXT)
    server = host.listen(command)
    if command == "imapd":
        with imaplib.IMAP4(*server.address, timeout=30) as imap:
            imap.login("bob", "secret")
            imap.create("Sent")
            imap.append("Sent", "(\\Seen $Word)", "", TEXT.replace(b"\n", b"\r\n"))
            imap.select()
            imap.fetch("1", "(ENVELOPE BODYSTRUCTURE BODY[])")
            imap.search("UTF-8", "TEXT", "y")
            imap.store("1", "+FLAGS", "\\Deleted")
            imap.expunge()
    elif command == "pop3d":
        pop = poplib.POP3(*server.address, timeout=30)
        pop.user("bob")
        pop.pass_("secret")
        pop.uidl()
        pop.retr(1)
        pop.dele(1)
        pop.quit()
    else:
        with smtplib.SMTP(*server.address, timeout=30) as smtp:
            smtp.sendmail("a@example.net", ["bob@example.org"], TEXT.decode())
    assert host.late == []


def test_submission(host: Watched) -> None:
    host.set("plaintext-login", "yes")
    host.set("cram-md5", "yes")
    host.set("user-budget", "1")
    host.set("authserv-id", "mail.example.org")
    host.set("relay-domains", "example.net")
    host.set("proxies", "192.0.2.0/24")
    host.set("xclient-clients", "127.0.0.1")
    secrets = host.set("srs-secrets", "s" * 32)
    shutil.chown(secrets, "root", RECEIVER)
    secrets.chmod(0o640)
    server = host.listen("smtpd-accept", "--submission")
    odd = "From: bob", "To: x <y@bücher.example>", "Authentication-Results: mail.example.org; none"
    for login, mechanism in (("bob", "PLAIN"), ("bob", "CRAM-MD5"), ("wrong", "LOGIN")):
        with smtplib.SMTP(*server.address, timeout=30) as smtp:
            smtp.ehlo()
            smtp.docmd("XCLIENT", "ADDR=192.0.2.7")
            smtp.ehlo()
            smtp.user, smtp.password = login, "secret"
            with contextlib.suppress(smtplib.SMTPAuthenticationError):
                smtp.auth(mechanism, getattr(smtp, f"auth_{mechanism.lower().replace('-', '_')}"))
            smtp.docmd("ETRN", "example.net")
            smtp.docmd("AUTH", "SCRAM-SHA-256 " + scram_first("bob"))
            smtp.docmd("*")
            smtp.mail("bob@example.org", ["SMTPUTF8", "HOLDUNTIL=2026-01-01T00:00:00Z"])
            smtp.rcpt("SRS0=AAAA=AA=example.com=x@example.org")
            if smtp.rcpt("y@bücher.example", ["NOTIFY=NEVER"])[0] == 250:
                smtp.data("\r\n".join((*odd, "", "x", "")).encode())
    assert len(list(host.queue.glob("*/*"))) >= 2
    assert host.late == []


def scram_first(login: str) -> str:
    return base64.b64encode(f"n,,n={login},r=abcdefgh".encode()).decode()


def test_operators_commands(host: Watched) -> None:
    host.set("dmarc-reports", "yes")
    host.set("tls-reports", "yes")
    host.does("queue-run")
    host.does("report-send")
    host.does("sendmail", "bob@example.org", input=TEXT)
    (place,) = Queue(str(host.queue)).new()
    for word in ("hold", "show", "release", "retry", "expire"):
        host.does("queue-edit", word, place.id)
    host.does("mailq")
    host.does("queue-list", "--json")
    host.does("mail-why", place.id)
    host.does("mail-route", "bob@example.org")
    host.does("queue-run")
    assert host.late == []


def test_strangers(host: Watched) -> None:
    key = new_private_key("ed25519")
    author = {"TXT": ['"v=spf1 a mx exists:%{i}.x.bank.test include:list.test -all"']}
    zone = {
        "bank.test": {**author, "A": ["192.0.2.8"], "MX": ["10 bank.test."]},
        "_dmarc.bank.test": {"TXT": ['"v=DMARC1; p=quarantine; rua=mailto:a@bank.test"']},
        "s._domainkey.bank.test": {"TXT": [f'"{key.record()}"']},
        "7.2.0.192.in-addr.arpa": {"PTR": ["mx.bank.test."]},
        "7.2.0.192.black.test": {"A": ["127.0.0.2"]},
    }
    head = b"From: x@b\xc3\xbccher.bank.test, a@bank.test\nTo: bob@example.org\n\n"
    first = instance(b"From: a@bank.test\nTo: bob@example.org\n\nHello\n")
    first = sign_dkim2(first, {"s": key}, "bank.test", "a@bank.test", ["bob@example.org"], t="1")
    header, body = split_message(first)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    signer = Signer("bank.test", "s", key)
    header = sign(header, hashes, [signer], 1) + header
    results = AuthenticationResults("list.test")
    header = seal(header, hashes, signer, ArcResult(Arc.NONE), results, now=1) + header
    host.set("checks", "mark")
    host.set("dnsbl", "black.test")
    host.set("greylist", "5min")
    host.set("dmarc-reports", "yes")
    host.set("dmarc-failure-reports", "yes")
    host.set("xclient-clients", "127.0.0.1")
    with DnsServer(zone) as dns:
        host.set("resolver", dns.at)
        server = host.listen("smtpd-accept")
        for text in (header + b"\n" + body, head + b"x\n", TEXT):
            with smtplib.SMTP(*server.address, timeout=30) as smtp:
                smtp.ehlo("mx.bank.test")
                smtp.docmd("XCLIENT", "ADDR=192.0.2.7")
                smtp.ehlo("mx.bank.test")
                smtp.sendmail("a@bank.test", ["bob@example.org"], text.replace(b"\n", b"\r\n"))
    # Each DNS server's answers have a class of their own, for which dnspython looks in vain.
    assert [line for line in host.late if "dns.rdtypes.CLASS" not in line] == []
