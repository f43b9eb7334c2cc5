"""Mailers log in: relay-send at Postfix with Dovecot's SASL, Postfix and relay-send at ours."""

import os
import shutil
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.postfix import Postfix
from conftest import Server, Site

MESSAGE = b"From: alice@example.org\nTo: bob@example.net\nSubject: hello\n\nbody\n"
needs_postfix = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("postfix", path="/usr/sbin:/usr/bin"),
    reason="needs root and postfix",
)


@pytest.fixture
def trusting(secure_site: Site, authority: Any) -> dict[str, str]:
    """An environment whose authorities are the tests'."""
    authority.cert_pem.write_to_path(str(secure_site.root / "ca.pem"))
    return {**secure_site.environ, "SSL_CERT_FILE": str(secure_site.root / "ca.pem")}


def relay(site: Site, environ: dict[str, str], port: int, secret: str) -> str:
    """Send the message by relay-send with a login; give the report, or what it complained of."""
    site.set("routes", f":localhost:{port}")
    site.set("route-credentials", f"localhost:{port}:alice:{secret}").chmod(0o600)
    done = site.run(
        "relay-send", "--from", "alice@example.org", "bob@example.net", input=MESSAGE, env=environ
    )
    return done.stdout.decode() or done.stderr.decode()


@pytest.mark.parametrize("scheme", ["SCRAM-SHA-256", "SSHA512"])
def test_relay_send_at_ours(secure_site: Site, trusting: dict[str, str], scheme: str) -> None:
    made = secure_site.run("mail-account", "add", "alice", "--scheme", scheme, input=b"secret\n")
    assert made.returncode == 0, made.stderr
    server = secure_site.listen("smtpd-accept", "--submission")
    assert "\trelayed\t" in relay(secure_site, trusting, server.port, "secret")
    assert "user=alice" in server.log_line("queued ")
    assert "\tdelayed\t4.7.8\t" in relay(secure_site, trusting, server.port, "wrong")


def test_relay_send_at_ours_by_token(secure_site: Site, trusting: dict[str, str]) -> None:
    secure_site.account("alice", "never told")
    program = secure_site.root / "token"
    program.write_text(
        "#!/bin/sh\n[ \"$(tr '\\0' ' ' <&3 | cut -d' ' -f1,2)\" = 'alice the.token' ]\n"
    )
    program.chmod(0o755)
    secure_site.set("token-program", str(program))
    server = secure_site.listen("smtpd-accept", "--submission")
    assert "\trelayed\t" in relay(secure_site, trusting, server.port, "!/bin/echo the.token")
    assert "\tdelayed\t4.7.8\t" in relay(secure_site, trusting, server.port, "!/bin/echo another")


@pytest.fixture
def postfix(secure_site: Site) -> Iterator[Callable[..., Postfix]]:
    started: list[Postfix] = []

    def start(extra: str) -> Postfix:
        # It reads as its own user: a folder that is open to it.
        made = Postfix(Path(f"/tmp/mailtools-sasl-{os.getpid()}-{len(started)}"), extra=extra)
        started.append(made)
        made.start()
        return made

    yield start
    for made in started:
        made.stop()
        shutil.rmtree(made.root, ignore_errors=True)


DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = /dev/stderr
ssl = no
protocols =
listen = 127.0.0.1
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
auth_failure_delay = 0
auth_mechanisms = plain login scram-sha-1 scram-sha-256 cram-md5
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
service auth {{
  unix_listener auth-client {{
    mode = 0666
  }}
}}
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nonexistent
}}
"""


@pytest.fixture
def dovecot() -> Iterator[Path]:
    """Dovecot's SASL with alice; gives the socket."""
    if not shutil.which("dovecot"):
        pytest.skip("needs Dovecot")
    folder = Path(f"/tmp/dovesasl{os.getpid()}")  # a socket's path is short
    folder.mkdir()
    (folder / "users").write_text("alice:{PLAIN}secret\n")
    (folder / "dovecot.conf").write_text(DOVECOT.format(folder=folder))
    process = subprocess.Popen(
        ["dovecot", "-F", "-c", str(folder / "dovecot.conf")], stderr=subprocess.PIPE
    )
    try:
        assert process.stderr
        for line in process.stderr:
            if b"starting up" in line:
                break
        (folder / "run").chmod(0o755)
        yield folder / "run" / "auth-client"
    finally:
        process.terminate()
        process.wait(30)
        assert process.stderr
        process.stderr.close()
        shutil.rmtree(folder)


MECHANISMS = ("scram-sha-256", "scram-sha-1", "plain", "login", "cram-md5")


@needs_postfix
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_relay_send_at_postfix_with_dovecots_sasl(
    *,
    secure_site: Site,
    trusting: dict[str, str],
    authority: Any,
    dovecot: Path,
    postfix: Callable[..., Postfix],
    mechanism: str,
) -> None:
    pem = secure_site.root / "postfix.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    peer = postfix(
        f"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {pem}\n"
        f"smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\nsmtpd_sasl_path = {dovecot}\n"
        f"smtpd_sasl_mechanism_filter = {mechanism}\nsmtpd_tls_auth_only = yes\n"
        "virtual_mailbox_domains = example.net\n"
        "smtpd_relay_restrictions = permit_sasl_authenticated, reject\n"
        "smtpd_recipient_restrictions = permit_sasl_authenticated, reject\n"
    )
    assert "\trelayed\t" in relay(secure_site, trusting, peer.port, "secret")
    assert "\tdelayed\t4.7.8\t" in relay(secure_site, trusting, peer.port, "wrong")


@needs_postfix
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_postfix_logs_in_at_ours(
    secure_site: Site,
    trusting: dict[str, str],
    postfix: Callable[..., Postfix],
    mechanism: str,
) -> None:
    if mechanism != "login" and not any(Path("/usr/lib").glob("*/sasl2/libscram.so")):
        pytest.skip("needs the modules of Cyrus SASL")
    secure_site.account("alice")
    secure_site.set("cram-md5", "yes")
    server: Server = secure_site.listen("smtpd-accept", "--submission")
    ca = Path(f"/tmp/mailtools-ca-{os.getpid()}.pem")
    shutil.copy(trusting["SSL_CERT_FILE"], ca)
    try:
        peer = postfix(
            f"virtual_mailbox_domains =\nrelayhost = [localhost]:{server.port}\n"
            f"smtp_tls_security_level = secure\nsmtp_tls_CAfile = {ca}\n"
            "smtp_sasl_auth_enable = yes\nsmtp_sasl_password_maps = static:alice:secret\n"
            f"smtp_sasl_security_options = noanonymous\nsmtp_sasl_mechanism_filter = {mechanism}\n"
        )
        with smtplib.SMTP("127.0.0.1", peer.port) as client:
            client.sendmail("alice@example.org", ["bob@example.net"], MESSAGE)
        until = time.monotonic() + 30
        while not (found := list((secure_site.queue / "new").glob("*"))):
            assert time.monotonic() < until, "nothing came in 30 seconds"
            time.sleep(0.05)
    finally:
        ca.unlink()
    assert b" with ESMTPSA id " in found[0].read_bytes()
