"""nginx's mail proxy in front: XCLIENT and PROXY, with and without a login there."""

import imaplib
import os
import poplib
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Server, Site

MODULE = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
pytestmark = pytest.mark.skipif(
    not shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") or not MODULE.exists(),
    reason="needs nginx and its mail module",
)
CLIENT = "127.0.0.9"  # whence the clients connect; nginx itself does from 127.0.0.1


class Answering(ThreadingHTTPServer):
    """Answers nginx's auth_http: alice may log in, and who goes where."""

    to = 0
    asked: list[dict[str, str]]


class Answer(BaseHTTPRequestHandler):
    """One question of nginx's."""

    server: Answering

    def do_GET(self) -> None:
        """Let alice in, and everybody where no login is wanted."""
        asked = dict(self.headers.items())
        self.server.asked.append(asked)
        known = (asked.get("Auth-User"), asked.get("Auth-Pass")) == ("alice", "secret")
        self.send_response(200)
        if known or asked.get("Auth-Method") == "none":
            self.send_header("Auth-Status", "OK")
            self.send_header("Auth-Server", "127.0.0.1")
            self.send_header("Auth-Port", str(self.server.to))
        else:
            self.send_header("Auth-Status", "Invalid login or password")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def wait_for_listener(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("nginx does not listen")


Front = Callable[..., tuple[str, int]]


@pytest.fixture
def front(secure_site: Site) -> Iterator[Front]:
    """Start nginx before a server: `front(server, "imap", "proxy_protocol on;")`."""
    site = secure_site
    answering: list[Answering] = []

    def start(server: Server, protocol: str, *settings: str) -> tuple[str, int]:
        auth = Answering(("127.0.0.1", 0), Answer)
        auth.to, auth.asked = server.port, []
        answering.append(auth)
        threading.Thread(target=auth.serve_forever, daemon=True).start()
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        lines = "".join(f"    {line}\n" for line in settings)
        config = site.root / f"nginx-{port}.conf"
        config.write_text(
            f"load_module {MODULE};\ndaemon off;\nmaster_process off;\nuser root;\n"
            f"pid {site.root}/nginx-{port}.pid;\nerror_log stderr warn;\nevents {{}}\n"
            f"mail {{\n  server_name front.example.org;\n"
            f"  auth_http 127.0.0.1:{auth.server_port}/;\n  proxy_pass_error_message on;\n"
            f"  ssl_certificate {site.etc}/certificate.pem;\n"
            f"  ssl_certificate_key {site.etc}/key.pem;\n"
            f"  server {{\n    listen 127.0.0.1:{port};\n    protocol {protocol};\n"
            f"{lines}  }}\n}}\n"
        )
        process = subprocess.Popen(
            ["nginx", "-e", "stderr", "-p", str(site.root), "-c", str(config)],
            env={**os.environ, "PATH": "/usr/sbin:/usr/local/sbin:/usr/bin"},
            stdin=subprocess.DEVNULL,
        )
        site.running.append(process)
        wait_for_listener(process, port)
        return "127.0.0.1", port

    yield start
    for auth in answering:
        auth.shutdown()
        auth.server_close()


@pytest.fixture
def trusting(authority: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.check_hostname = False
    return context


def entries(site: Site) -> list[str]:
    return [path.read_text() for path in (site.queue / "new").iterdir()]


MESSAGE = "From: alice@example.org\r\nSubject: x\r\n\r\nx\r\n"


def test_a_login_at_nginx_is_one_here(
    secure_site: Site, front: Front, trusting: ssl.SSLContext
) -> None:
    secure_site.account("alice")
    secure_site.set("xclient-clients", "127.0.0.1")
    server = secure_site.listen("smtpd-accept", "--submission")
    address = front(server, "smtp", "smtp_auth plain login;", "starttls on;", "xclient on;")
    with smtplib.SMTP(*address, timeout=30, source_address=(CLIENT, 0)) as smtp:
        smtp.starttls(context=trusting)
        smtp.login("alice", "secret")
        smtp.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)
    queued = server.log_line("queued ")
    assert f"client={CLIENT} " in queued
    assert "user=alice" in queued
    (entry,) = entries(secure_site)
    assert f"[{CLIENT}])\n" in entry
    assert " with ESMTPA id " in entry


def test_who_logs_in_there_may_not_send_as_another(secure_site: Site, front: Front) -> None:
    for user in ("alice", "bob"):
        secure_site.account(user)
    secure_site.set("xclient-clients", "127.0.0.1")
    server = secure_site.listen("smtpd-accept", "--submission")
    address = front(server, "smtp", "smtp_auth plain login;", "xclient on;")
    with smtplib.SMTP(*address, timeout=30) as smtp:
        smtp.login("alice", "secret")
        assert smtp.mail("bob@example.org")[0] == 550


def test_an_account_that_may_not_log_in_may_not_through_nginx(
    secure_site: Site, front: Front
) -> None:
    secure_site.set("accounts", "alice:{PLAIN}secret::::::nologin=yes")
    secure_site.set("xclient-clients", "127.0.0.1")
    server = secure_site.listen("smtpd-accept", "--submission")
    address = front(server, "smtp", "smtp_auth plain;", "xclient on;")
    with smtplib.SMTP(*address, timeout=30) as smtp, pytest.raises(smtplib.SMTPException):
        smtp.login("alice", "secret")
    assert "at=xclient" in server.log_line("refused ")


def test_nginx_that_is_not_listed_is_not_believed(secure_site: Site, front: Front) -> None:
    secure_site.account("alice")
    secure_site.set("xclient-clients", "192.0.2.1")
    server = secure_site.listen("smtpd-accept", "--submission")
    address = front(server, "smtp", "smtp_auth plain;", "xclient on;")
    with smtplib.SMTP(*address, timeout=30) as smtp, pytest.raises(smtplib.SMTPException):
        smtp.login("alice", "secret")
    assert "at=xclient" in server.log_line("refused ")


@pytest.mark.parametrize("how", ["xclient on;", "xclient off; proxy_protocol on;"])
def test_an_exchanger_behind_nginx_judges_the_client(
    secure_site: Site, front: Front, how: str
) -> None:
    secure_site.account("alice")
    word = "proxies" if "proxy_protocol" in how else "xclient-clients"
    secure_site.set(word, "127.0.0.1")
    secure_site.set("relay-clients", CLIENT)
    address = front(secure_site.listen("smtpd-accept"), "smtp", "smtp_auth none;", how)
    for source, code in ((CLIENT, 250), ("127.0.0.8", 550)):
        with smtplib.SMTP(*address, timeout=30, source_address=(source, 0)) as smtp:
            smtp.ehlo("client.example.com")
            smtp.mail("bob@example.net")
            assert smtp.rcpt("carol@example.com")[0] == code
    with smtplib.SMTP(*address, timeout=30, source_address=("127.0.0.8", 0)) as smtp:
        smtp.sendmail("bob@example.net", ["alice@example.org"], MESSAGE)
    (entry,) = entries(secure_site)
    assert "([127.0.0.8])\n" in entry


def test_nginx_that_logs_in_itself(secure_site: Site, front: Front) -> None:
    secure_site.account("alice")
    secure_site.set("proxies", "127.0.0.1")
    secure_site.set("plaintext-login", "yes")
    server = secure_site.listen("smtpd-accept", "--submission")
    address = front(
        server,
        "smtp",
        "smtp_auth plain;",
        "xclient off;",
        "proxy_protocol on;",
        "proxy_smtp_auth on;",
    )
    with smtplib.SMTP(*address, timeout=30, source_address=(CLIENT, 0)) as smtp:
        smtp.login("alice", "secret")
        smtp.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)
    assert f"user=alice rip={CLIENT} " in server.log_line("authenticated ")


@pytest.mark.parametrize("proxied", [True, False])
def test_readers_behind_nginx(
    secure_site: Site, front: Front, trusting: ssl.SSLContext, proxied: bool
) -> None:
    secure_site.account("alice")
    secure_site.set("plaintext-login", "yes")
    if proxied:
        secure_site.set("proxies", "127.0.0.1")
    how = "proxy_protocol on;" if proxied else ""
    pop3, imap = secure_site.listen("pop3d"), secure_site.listen("imapd")
    at_pop3 = front(pop3, "pop3", "starttls on;", how)
    at_imap = front(imap, "imap", "starttls on;", how)
    pop = poplib.POP3(*at_pop3, timeout=30)
    pop.stls(context=trusting)
    pop.user("alice")
    pop.pass_("secret")
    assert pop.stat() == (0, 0)
    pop.quit()
    with imaplib.IMAP4(*at_imap, timeout=30) as reader:
        reader.starttls(trusting)
        assert reader.authenticate("PLAIN", lambda _: b"\0alice\0secret")[0] == "OK"
        assert reader.select()[0] == "OK"
    refused = imaplib.IMAP4(*at_imap, timeout=30)
    with pytest.raises(imaplib.IMAP4.error):
        refused.login("alice", "wrong")
    refused.shutdown()
    for server in (pop3, imap):
        assert "user=alice rip=127.0.0.1 " in server.log_line("authenticated ")


def test_the_example_is_one_nginx_takes(secure_site: Site) -> None:
    text = (ROOT / "examples/proxies/nginx.conf").read_text()
    text = text.replace("modules/ngx_mail_module.so", str(MODULE))
    text = text.replace("/etc/nginx/mail.example.org.pem", f"{secure_site.etc}/certificate.pem")
    text = text.replace("/etc/nginx/mail.example.org.key", f"{secure_site.etc}/key.pem")
    config = secure_site.root / "nginx.conf"
    config.write_text(f"pid {secure_site.root}/pid;\n{text}")
    done = subprocess.run(
        ["nginx", "-t", "-q", "-e", "stderr", "-p", str(secure_site.root), "-c", str(config)],
        env={"PATH": "/usr/sbin:/usr/local/sbin:/usr/bin"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
