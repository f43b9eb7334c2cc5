"""Real milters and scanners: opendkim, rspamd, ClamAV and SpamAssassin, each where it is there."""

import contextlib
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.postfix import free_port
from conftest import ROOT, Server, Site

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
CONTENT = ROOT / "examples" / "content"
HARMLESS = "MAILTOOLS-HARMLESS-TEST-STRING"
SPAM = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if not shutil.which(name, path=PATH)]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}")


Start = Callable[..., None]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs and waits until they listen; they end with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(listens: str, *words: object) -> None:
        process = subprocess.Popen(
            [str(word) for word in words],
            env={**os.environ, "PATH": PATH},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        running.append(process)
        until = time.monotonic() + 60
        while not answers(listens):
            assert process.poll() is None, f"{words[0]} ended"
            assert time.monotonic() < until, f"{words[0]} does not listen"
            time.sleep(0.05)

    yield begin
    for process in running:
        os.killpg(
            process.pid, signal.SIGKILL
        )  # with its workers; some say goodbye for half a minute
        process.wait()


def answers(where: str) -> bool:
    """Whether somebody listens at a path, or at a port of loopback."""
    with contextlib.suppress(OSError):
        if where.startswith("/"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(where)
        else:
            socket.create_connection(("127.0.0.1", int(where))).close()
        return True
    return False


@pytest.fixture
def open_site(site: Site) -> Site:
    """A site in a folder that the users of other programs may look into."""
    for parent in (site.root, *site.root.parents):
        if parent not in (Path("/"), Path("/tmp")):
            with contextlib.suppress(PermissionError):
                parent.chmod(parent.stat().st_mode | 0o055)
    site.account("bob")
    return site


def send(server: Server, body: str, *, header: str = "") -> tuple[int, str]:
    """Send a message from alice@example.org to bob; give the reply to it."""
    text = f"{header}From: alice@example.org\r\nTo: bob@example.org\r\nSubject: x\r\n\r\n{body}\r\n"
    with smtplib.SMTP(*server.address, local_hostname="client.example.com", timeout=60) as smtp:
        smtp.ehlo()
        smtp.mail("alice@example.org")
        smtp.rcpt("bob@example.org")
        code, said = smtp.data(text)
        return code, said.decode()


def newest(site: Site) -> tuple[str, str]:
    """Envelope and message of the newest entry."""
    # by ID, which tells microseconds; a file's time may be that of the last tick
    path = max((site.queue / "new").iterdir(), key=lambda path: path.name)
    head, _, text = path.read_text().partition("\n\n")
    return head, text


@needs("opendkim", "opendkim-genkey")
def test_opendkim_signs_and_verifies(open_site: Site, start: Start) -> None:
    root = open_site.root
    subprocess.run(
        ["opendkim-genkey", "-b", "2048", "-d", "example.org", "-s", "sel", "-D", root],
        check=True, env={**os.environ, "PATH": PATH},
    )  # fmt: skip
    record = "".join(re.findall(r'"([^"]*)"', (root / "sel.txt").read_text()))
    (root / "zone").write_text(f"sel._domainkey.example.org {record}\n")
    for name, inside in (("sign", "127.0.0.1"), ("verify", "192.0.2.1")):
        (root / f"{name}.inside").write_text(f"{inside}\n")
        (root / f"{name}.conf").write_text(
            f"Syslog no\nSocket local:{root}/{name}.sock\nMode {name[0]}\nUMask 0\n"
            f"Canonicalization simple/simple\nDomain example.org\nSelector sel\n"
            f"KeyFile {root}/sel.private\nRequireSafeKeys no\nInternalHosts {root}/{name}.inside\n"
            f"TestDNSData {root}/zone\n"
        )
        start(f"{root}/{name}.sock", "opendkim", "-f", "-x", root / f"{name}.conf")
    open_site.set("milters", f"unix:{root}/sign.sock", f"unix:{root}/verify.sock")
    server = open_site.listen("smtpd-accept")
    odd = "X-Odd:  two blanks, \r\n\tfolded \r\n"
    assert send(server, "Hello", header=odd)[0] == 250
    # The second one saw what the first one wrote, and every octet of the rest.
    _, text = newest(open_site)
    assert re.search(r"dkim=pass .*header\.s=sel", text), text
    assert text.index("Authentication-Results: ") < text.index("DKIM-Signature: ")
    assert "X-Odd:  two blanks, \n\tfolded \n" in text


RSPAMD = """
options {{
  tempdir = "{at}"; cache_file = "{at}/cache"; control_socket = "{at}/control";
  hs_cache_dir = "{at}";
  filters = ""; url_tld = "{at}/tld"; disable_hyperscan = true; enable_test_patterns = true;
  dns {{ nameserver = ["127.0.0.1:1"]; }}
}}
logging {{ type = "console"; level = "error"; }}
actions {{ reject = 15; add_header = 6; }}
worker "rspamd_proxy" {{
  bind_socket = "127.0.0.1:{milter}"; milter = yes; count = 1;
  upstream "local" {{ default = yes; self_scan = yes; }}
}}
worker "normal" {{ bind_socket = "127.0.0.1:{normal}"; count = 1; }}
"""


@pytest.fixture
def rspamd(open_site: Site, start: Start) -> tuple[int, int]:
    """The ports where rspamd is a milter, and where rspamc asks it."""
    at = open_site.root / "rspamd"
    at.mkdir()
    at.chmod(0o777)
    (at / "tld").write_text("com\norg\n")
    milter, normal = free_port(), free_port()
    # No rule asks DNS.
    (at / "conf").write_text(RSPAMD.format(at=at, milter=milter, normal=normal))
    user = ("-u", "nobody", "-g", "nogroup") if os.geteuid() == 0 else ("-i",)
    variables = ("--var", f"DBDIR={at}", "--var", f"RUNDIR={at}")
    start(str(milter), "rspamd", "-f", *user, "-c", at / "conf", *variables)
    until = time.monotonic() + 30
    while not answers(str(normal)):
        assert time.monotonic() < until
        time.sleep(0.05)
    return milter, normal


@needs("rspamd")
def test_rspamd(open_site: Site, rspamd: tuple[int, int]) -> None:
    open_site.set("milters", f"inet:127.0.0.1:{rspamd[0]}")
    server = open_site.listen("smtpd-accept")
    assert send(server, "Hello")[0] == 250
    assert "JUNK" not in newest(open_site)[0]
    assert send(server, SPAM) == (554, "5.7.1 Gtube pattern")
    assert send(server, SPAM.replace("XJS", "YJS"))[0] == 250
    head, text = newest(open_site)
    assert "parameter JUNK\n" in head
    assert "\nX-Spam: Yes\n" in text
    assert send(server, SPAM.replace("XJS", "ZJS"))[0] == 250
    assert "\nSubject: *** SPAM *** x\n" in newest(open_site)[1]


@needs("rspamd", "rspamc")
def test_rspamc_as_a_content_program(open_site: Site, rspamd: tuple[int, int]) -> None:
    open_site.set("content-programs", f"RSPAMD=127.0.0.1:{rspamd[1]} {CONTENT}/rspamc.sh")
    server = open_site.listen("smtpd-accept")
    assert send(server, "Hello")[0] == 250
    assert "JUNK" not in newest(open_site)[0]
    assert send(server, SPAM) == (550, "5.7.1 Gtube pattern")
    assert send(server, SPAM.replace("XJS", "YJS"))[0] == 250
    assert "parameter JUNK" in newest(open_site)[0]
    nobody = open_site.set("content-programs", f"RSPAMD=127.0.0.1:1 {CONTENT}/rspamc.sh")
    assert nobody.exists()
    assert send(open_site.listen("smtpd-accept"), "Hello")[0] == 451


@pytest.fixture
def clamd(open_site: Site, start: Start) -> Path:
    """A clamd that knows one harmless string; its configuration."""
    at = open_site.root / "clamav"
    (at / "db").mkdir(parents=True)
    (at / "db" / "own.ndb").write_text(f"Mailtools.Test:0:*:{HARMLESS.encode().hex()}\n")
    conf = at / "clamd.conf"
    conf.write_text(
        f"Foreground yes\nDatabaseDirectory {at}/db\nLocalSocket {at}/clamd.sock\n"
        f"LocalSocketMode 666\nTemporaryDirectory {at}\n"
        + ("User root\n" if os.geteuid() == 0 else "")
    )
    start(f"{at}/clamd.sock", "clamd", "-c", conf)
    return conf


@needs("clamd", "clamav-milter")
def test_clamav_milter(open_site: Site, clamd: Path, start: Start) -> None:
    at = clamd.parent
    (at / "milter.conf").write_text(
        f"Foreground yes\nMilterSocket unix:{at}/milter.sock\nMilterSocketMode 666\n"
        f"ClamdSocket unix:{at}/clamd.sock\nTemporaryDirectory {at}\nOnInfected Reject\n"
        "RejectMsg Go away with your %v\nAddHeader Replace\n"
        + ("User root\n" if os.geteuid() == 0 else "")
    )
    start(f"{at}/milter.sock", "clamav-milter", "-c", at / "milter.conf")
    open_site.set("milters", f"unix:{at}/milter.sock")
    server = open_site.listen("smtpd-accept")
    assert send(server, "Hello")[0] == 250
    assert "\nX-Virus-Status: Clean\n" in newest(open_site)[1]
    code, said = send(server, HARMLESS)
    assert (code, said.removesuffix(".UNOFFICIAL")) == (
        550,
        "5.7.1 Go away with your Mailtools.Test",
    )


@needs("clamd", "clamdscan")
def test_clamdscan_as_a_content_program(open_site: Site, clamd: Path) -> None:
    open_site.set("content-programs", f"CLAMD_CONF={clamd} {CONTENT}/clamdscan.sh")
    server = open_site.listen("smtpd-accept")
    assert send(server, "Hello")[0] == 250
    code, said = send(server, HARMLESS)
    assert code == 550
    assert said.startswith("5.7.1 This message holds malware: Mailtools.Test")
    open_site.set("content-programs", f"CLAMD_CONF=/nowhere {CONTENT}/clamdscan.sh")
    assert send(open_site.listen("smtpd-accept"), "Hello")[0] == 451


@needs("spamd", "spamc")
def test_spamc_as_a_content_program(open_site: Site, start: Start) -> None:
    port = free_port()
    user = ("-u", "nobody") if os.geteuid() == 0 else ()
    pid = open_site.root / "pid"
    start(str(port), "spamd", "-L", "-x", "-i", "127.0.0.1", "-p", port, "-m", 1, *user, "-r", pid)
    program = f"SPAMC_OPTIONS='-p {port}' {CONTENT}/spamc.sh"
    open_site.set("content-programs", program)
    server = open_site.listen("smtpd-accept")
    assert send(server, "Hello", header="X-Spam-Status: No, score=-99\r\n\t forged\r\n")[0] == 250
    head, text = newest(open_site)
    assert "JUNK" not in head
    assert text.startswith("X-Spam-Checker-Version: SpamAssassin")
    assert "forged" not in text
    assert send(server, SPAM)[0] == 250
    head, text = newest(open_site)
    assert "parameter JUNK" in head
    assert "\nX-Spam-Status: Yes, score=" in text
    assert text.endswith(f"\nSubject: x\n\n{SPAM}\n")
    open_site.set("content-programs", f"REFUSE=15 {program}")
    refusing = open_site.listen("smtpd-accept")
    assert send(refusing, SPAM) == (550, "5.7.1 This message looks like spam")
