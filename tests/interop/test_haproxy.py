"""HAProxy in front: PROXY v1 and v2, its health checks, TLS that ends there; strangers refused."""

import imaplib
import poplib
import shutil
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from conftest import ROOT, Server, Site, wait_for_line

pytestmark = pytest.mark.skipif(
    not shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin"), reason="needs haproxy"
)

PROXY, STRANGER, CLIENT = "127.0.0.2", "127.0.0.3", "127.0.0.9"  # whence each connects
DEFAULTS = """global
  log stderr format raw local0
defaults
  mode tcp
  log global
  option log-health-checks
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout check 5s
"""


class Front(NamedTuple):
    """A listening socket of HAProxy's, and the stanza that says what is behind it."""

    sock: socket.socket
    stanza: str

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.sock.getsockname()[1]


def front(
    server: Server, how: str, *, source: str = PROXY, bind: str = "", check: str = ""
) -> Front:
    sock = socket.create_server(("127.0.0.1", 0))
    stanza = (
        f"listen front{sock.fileno()}\n  bind fd@{sock.fileno()} {bind}\n{check}"
        f"  server s 127.0.0.1:{server.port} source {source} {how}\n"
    )
    return Front(sock, stanza)


@pytest.fixture
def haproxy(site: Site) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    fronts: list[Front] = []

    def start(*added: Front) -> subprocess.Popen[bytes]:
        fronts.extend(added)
        config = site.root / "haproxy.cfg"
        config.write_text(DEFAULTS + "".join(one.stanza for one in added))
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(config)],
            pass_fds=[one.sock.fileno() for one in added],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**site.environ, "PATH": "/usr/sbin:/usr/local/sbin:/usr/bin"},
        )
        site.running.append(process)
        return process

    yield start
    for one in fronts:
        one.sock.close()


@pytest.fixture
def behind(secure_site: Site, authority: Any) -> tuple[Site, ssl.SSLContext]:
    """A site that believes HAProxy, and what its clients trust."""
    secure_site.set("proxies", PROXY)
    secure_site.account("alice")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.check_hostname = False
    return secure_site, context


def stopped(site: Site, server: Server) -> str:
    """Stop a server; give the rest of its log."""
    server.process.terminate()
    assert server.process.stderr
    return server.process.stderr.read().decode()


def submit(address: tuple[str, int], context: ssl.SSLContext, *, implicit: bool = False) -> None:
    kind: Any = smtplib.SMTP_SSL if implicit else smtplib.SMTP
    extra = {"context": context} if implicit else {}
    with kind(*address, timeout=30, source_address=(CLIENT, 0), **extra) as smtp:
        if not implicit:
            smtp.starttls(context=context)
        smtp.login("alice", "secret")
        smtp.sendmail("alice@example.org", ["alice@example.org"], "Subject: x\r\n\r\nx\r\n")


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
def test_submission_sees_the_client(behind: Any, haproxy: Any, how: str) -> None:
    site, context = behind
    server = site.listen("smtpd-accept", "--submission")
    door = front(server, how)
    haproxy(door)
    submit(door.address, context)
    assert f"rip={CLIENT} " in server.log_line("authenticated ")
    assert f"client={CLIENT} " in server.log_line("queued ")
    (entry,) = (site.queue / "new").iterdir()
    assert f" ([{CLIENT}])\n" in entry.read_text()


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
def test_an_exchanger_judges_the_client(behind: Any, haproxy: Any, how: str) -> None:
    site, _ = behind
    site.set("relay-clients", CLIENT)
    door = front(site.listen("smtpd-accept"), how)
    haproxy(door)
    for source, code in ((CLIENT, 250), ("127.0.0.8", 550)):
        with smtplib.SMTP(*door.address, timeout=30, source_address=(source, 0)) as smtp:
            smtp.ehlo()
            smtp.mail("bob@example.net")
            assert smtp.rcpt("carol@example.com")[0] == code


def test_readers_and_health_checks(behind: Any, haproxy: Any) -> None:
    site, context = behind
    pop3, imap, imaps = site.listen("pop3d"), site.listen("imapd"), site.listen("imapd", "--tls")
    submission = site.listen("smtpd-accept", "--submission")
    checked = "check check-send-proxy inter 100ms"
    doors = [
        front(pop3, f"send-proxy-v2 {checked}"),
        front(imap, f"send-proxy-v2 {checked}"),
        front(imaps, f"send-proxy {checked}"),
        front(submission, f"send-proxy-v2 {checked}", check="  option smtpchk EHLO probe.test\n"),
    ]
    process = haproxy(*doors)
    for _ in doors:
        wait_for_line(process, "Health check")
    pop = poplib.POP3(*doors[0].address, timeout=30)
    pop.stls(context=context)
    pop.user("alice")
    pop.pass_("secret")
    pop.quit()
    with imaplib.IMAP4(*doors[1].address, timeout=30) as reader:
        reader.starttls(context)
        reader.login("alice", "secret")
    with imaplib.IMAP4_SSL(*doors[2].address, ssl_context=context, timeout=30) as reader:
        reader.login("alice", "secret")
    submit(doors[3].address, context)
    for server in (pop3, imap, imaps, submission):
        log = stopped(site, server)
        assert "authenticated user=alice rip=127.0.0." in log
        assert "lost " not in log, log
        assert "Traceback" not in log, log


def test_tls_that_ends_at_the_proxy(behind: Any, haproxy: Any) -> None:
    # With the name asked for, and more, in the header.
    site, context = behind
    pem = site.root / "both.pem"
    pem.write_bytes(
        (site.etc / "certificate.pem").read_bytes() + (site.etc / "key.pem").read_bytes()
    )
    how = "send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,authority,unique-id,crc32c"
    imap, submission = site.listen("imapd"), site.listen("smtpd-accept", "--submission")
    doors = [front(one, how, bind=f"ssl crt {pem}") for one in (imap, submission)]
    clear = front(imap, "send-proxy-v2 proxy-v2-options ssl")
    haproxy(*doors, clear)
    with imaplib.IMAP4_SSL(*doors[0].address, ssl_context=context, timeout=30) as reader:
        assert "STARTTLS" not in reader.capabilities
        assert reader.login("alice", "secret")[0] == "OK"
    submit(doors[1].address, context, implicit=True)
    (entry,) = (site.queue / "new").iterdir()
    assert "(using TLSv1.3 with cipher TLS_AES_" in entry.read_text()
    assert " with ESMTPSA id " in entry.read_text()
    with imaplib.IMAP4(*clear.address, timeout=30) as reader:
        assert "LOGINDISABLED" in reader.capabilities


@pytest.mark.parametrize("how", ["send-proxy", "send-proxy-v2"])
def test_who_is_not_listed_is_not_believed(behind: Any, haproxy: Any, how: str) -> None:
    site, _ = behind
    site.set("relay-clients", CLIENT)
    servers = [site.listen("smtpd-accept"), site.listen("pop3d"), site.listen("imapd")]
    doors = [front(server, how, source=STRANGER) for server in servers]
    haproxy(*doors)
    for door in doors:
        with socket.create_connection(door.address, 30, (CLIENT, 0)) as sock:
            sock.sendall(b"QUIT\r\n")
            sock.shutdown(socket.SHUT_WR)
            said = b""
            while data := sock.recv(4096):
                said += data
        assert any(word in said for word in (b"554 5.5.0", b"500 5.5", b"-ERR", b"BAD")), said
    assert f"client={STRANGER} " in servers[0].log_line("refused ")


def test_a_proxy_without_its_header_is_refused(behind: Any, haproxy: Any) -> None:
    site, _ = behind
    server = site.listen("imapd")
    door = front(server, "")
    haproxy(door)
    with socket.create_connection(door.address, 30) as sock:
        sock.sendall(b"a1 NOOP\r\n")
        assert sock.recv(4096) == b""
    assert f"client={PROXY} after=PROXY" in server.log_line("lost ")


def test_the_example_is_one_haproxy_takes(secure_site: Site) -> None:
    pem = secure_site.root / "both.pem"
    etc = secure_site.etc
    pem.write_bytes((etc / "certificate.pem").read_bytes() + (etc / "key.pem").read_bytes())
    config = secure_site.root / "haproxy.cfg"
    text = (ROOT / "examples/proxies/haproxy.cfg").read_text()
    config.write_text(text.replace("/etc/haproxy/mail.example.org.pem", str(pem)))
    done = subprocess.run(
        ["haproxy", "-c", "-q", "-f", str(config)],
        env={"PATH": "/usr/sbin:/usr/local/sbin:/usr/bin"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
