"""Every mechanism by every client that speaks it, at submission, POP3 and IMAP, by both TLS forms.

curl, msmtp, mpop, mbsync (Cyrus SASL), swaks, Python's own clients; scramp is the oracle of SCRAM.
"""

import base64
import hashlib
import imaplib
import poplib
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Server, Site

MESSAGE = b"From: alice@example.org\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\nbody\r\n"
TOKEN = "ya29." + "t" * 800
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-1")
SECRETS = ("PLAIN", "LOGIN", "CRAM-MD5", *SCRAM)
ALL = (*SECRETS, "OAUTHBEARER", "XOAUTH2", "EXTERNAL")


class Gate(NamedTuple):
    """The site, its listeners by scheme (`imap`, `imaps`, ...), the CA, alice's certificate."""

    site: Site
    servers: dict[str, Server]
    ca: Path
    certificate: Path

    def port(self, scheme: str) -> int:
        return self.servers[scheme].port

    def queued(self) -> int:
        return len(list((self.site.queue / "new").iterdir())) if self.site.queue.exists() else 0


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, authority: Any) -> Iterator[Gate]:
    site = Site(tmp_path_factory.mktemp("gate"))
    site.tls(authority.issue_cert("mail.example.org", "localhost", "127.0.0.1"))
    mine = authority.issue_cert("alice@example.org")
    certificate, ca = site.root / "alice.pem", site.root / "ca.pem"
    mine.private_key_and_cert_chain_pem.write_to_path(certificate)
    certificate.chmod(0o600)
    authority.cert_pem.write_to_path(ca)
    der = ssl.PEM_cert_to_DER_cert(mine.cert_chain_pems[0].bytes().decode())
    fingerprint = hashlib.sha256(der).hexdigest()
    maildir = site.homes / "alice" / "Maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    (maildir / "new" / "1700000000.M1P1.host").write_bytes(MESSAGE.replace(b"\r", b""))
    site.account("bob")
    with (site.etc / "accounts").open("a") as file:
        file.write(f"alice:{{PLAIN}}secret::::::cert=sha256:{fingerprint}\n")
    site.set("tls-clients", str(ca))
    site.set("cram-md5", "yes")
    site.set("apop", "yes")
    program = site.root / "token"
    program.write_text(
        f"#!/bin/sh\n[ \"$(tr '\\0' ' ' <&3 | cut -d' ' -f1,2)\" = 'alice {TOKEN}' ]\n"
    )
    program.chmod(0o755)
    site.set("token-program", str(program))
    servers = {
        "smtp": site.listen("smtpd-accept", "--submission"),
        "smtps": site.listen("smtpd-accept", "--submission", "--tls"),
        "pop3": site.listen("pop3d"),
        "pop3s": site.listen("pop3d", "--tls"),
        "imap": site.listen("imapd"),
        "imaps": site.listen("imapd", "--tls"),
    }
    yield Gate(site, servers, ca, certificate)
    site.stop()


def run(*command: str, **extra: Any) -> subprocess.CompletedProcess[bytes]:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    if "input" not in extra:
        extra["stdin"] = subprocess.DEVNULL
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **extra)


# -- curl -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def curl_knows() -> Callable[[str], bool]:
    scram = b"gsasl" in run("curl", "--version").stdout
    return lambda mechanism: scram or mechanism not in SCRAM


@pytest.mark.parametrize("mechanism", ALL)
@pytest.mark.parametrize("scheme", ["smtp", "smtps", "pop3", "pop3s", "imap", "imaps"])
def test_curl(gate: Gate, curl_knows: Callable[[str], bool], scheme: str, mechanism: str) -> None:
    if not curl_knows(mechanism):
        pytest.skip("this curl has no gsasl")
    if scheme.startswith("pop3") and mechanism == "EXTERNAL":
        pytest.skip("curl sends no user name by POP3")
    options = ["-sS", "--ssl-reqd", "--cacert", str(gate.ca)]
    options += ["--login-options", f"AUTH={mechanism}"]
    if mechanism in ("OAUTHBEARER", "XOAUTH2"):
        options += ["--user", "alice:", "--oauth2-bearer", TOKEN]
    elif mechanism == "EXTERNAL":
        options += ["--user", "alice:", "--cert", str(gate.certificate)]
    else:
        options += ["--user", "alice:secret"]
    url = f"{scheme}://localhost:{gate.port(scheme)}/"
    if not scheme.startswith("smtp"):
        url += "1" if scheme.startswith("pop3") else "INBOX;MAILINDEX=1"
        done = run("curl", *options, url)
        assert (done.returncode, done.stdout) == (0, MESSAGE), done.stderr
        return
    before = gate.queued()
    options += ["--mail-from", "alice@example.org", "--mail-rcpt", "bob@example.org"]
    done = run("curl", *options, "--upload-file", "-", url, input=MESSAGE)
    assert done.returncode == 0, done.stderr
    assert gate.queued() == before + 1


# -- msmtp and mpop: GNU SASL ---------------------------------------------------------------------


def gnu_options(gate: Gate, scheme: str, mechanism: str) -> list[str]:
    secret = TOKEN if mechanism in ("OAUTHBEARER", "XOAUTH2") else "secret"
    starttls = "off" if scheme.endswith("s") else "on"
    options = [
        "-C", "/dev/null", "--host=localhost", f"--port={gate.port(scheme)}", "--tls=on",
        f"--tls-starttls={starttls}", f"--tls-trust-file={gate.ca}", "--user=alice",
        f"--auth={mechanism.lower()}",
    ]  # fmt: skip
    if mechanism == "EXTERNAL":
        return [
            *options,
            f"--tls-cert-file={gate.certificate}",
            f"--tls-key-file={gate.certificate}",
        ]
    return [*options, f"--passwordeval=echo {secret}"]


@pytest.mark.parametrize("mechanism", ALL)
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_msmtp(gate: Gate, scheme: str, mechanism: str) -> None:
    before = gate.queued()
    options = gnu_options(gate, scheme, mechanism)
    done = run("msmtp", *options, "--from=alice@example.org", "bob@example.org", input=MESSAGE)
    assert done.returncode == 0, done.stderr
    assert gate.queued() == before + 1


@pytest.mark.parametrize("mechanism", ["USER", "APOP", *ALL])
@pytest.mark.parametrize("scheme", ["pop3", "pop3s"])
def test_mpop(gate: Gate, tmp_path: Path, scheme: str, mechanism: str) -> None:
    target = tmp_path / "got"
    for name in ("tmp", "new", "cur"):
        (target / name).mkdir(parents=True)
    done = run(
        "mpop", *gnu_options(gate, scheme, mechanism), "--keep=on", "--received-header=off",
        f"--uidls-file={tmp_path}/uidls", f"--delivery=maildir,{target}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((target / "new").iterdir())) == 1


# -- mbsync: Cyrus SASL ---------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", SECRETS)
@pytest.mark.parametrize("scheme", ["imap", "imaps"])
def test_mbsync(gate: Gate, tmp_path: Path, scheme: str, mechanism: str) -> None:
    said = run("mbsync", "--version").stdout
    old = b" 1.4" in said
    kind = {"imap": "STARTTLS", "imaps": "IMAPS"}[scheme]
    (tmp_path / "near").mkdir()
    (tmp_path / "mbsyncrc").write_text(
        f"IMAPAccount far\nHost localhost\nPort {gate.port(scheme)}\nUser alice\nPass secret\n"
        f"{'SSLType' if old else 'TLSType'} {kind}\nCertificateFile {gate.ca}\n"
        f"AuthMechs {mechanism}\n\nIMAPStore far\nAccount far\n\n"
        f"MaildirStore near\nPath {tmp_path}/near/\nInbox {tmp_path}/near/INBOX\n\n"
        "Channel all\nFar :far:\nNear :near:\n"
        f"Sync Pull\nCreate Near\nSyncState {tmp_path}/state\n"
    )
    done = run("mbsync", "-c", str(tmp_path / "mbsyncrc"), "all")
    if b"no mechanism available" in done.stderr or b"SASL(-4)" in done.stderr:
        pytest.skip("the modules of Cyrus SASL are not installed")
    assert done.returncode == 0, done.stderr
    near = tmp_path / "near" / "INBOX"
    assert len([*(near / "new").iterdir(), *(near / "cur").iterdir()]) == 1


# -- swaks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize(("scheme", "tls"), [("smtp", "--tls"), ("smtps", "--tls-on-connect")])
def test_swaks(gate: Gate, scheme: str, tls: str, mechanism: str) -> None:
    before = gate.queued()
    done = run(
        "swaks", "--server", f"127.0.0.1:{gate.port(scheme)}", tls, "--tls-verify",
        "--tls-ca-path", str(gate.ca), "--auth", mechanism, "--auth-user", "alice",
        "--auth-password", "secret", "--from", "alice@example.org", "--to", "bob@example.org",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert gate.queued() == before + 1


# -- Python, and scramp as the oracle -------------------------------------------------------------


class Scram:
    """A SCRAM client of scramp, called with each challenge as smtplib and imaplib do."""

    def __init__(self, mechanism: str, password: str = "secret") -> None:
        scramp = pytest.importorskip("scramp")
        self.client = scramp.ScramClient([mechanism], "alice", password)
        self.steps = 0

    def __call__(self, challenge: bytes | None = None) -> str:
        if not challenge:
            return str(self.client.get_client_first())
        self.steps += 1
        if self.steps == 1:
            self.client.set_server_first(challenge.decode())
            return str(self.client.get_client_final())
        self.client.set_server_final(challenge.decode())  # raises where the server is not ours
        return ""


def context(gate: Gate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(gate.ca))


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize("mechanism", SCRAM)
def test_scram_at_submission(gate: Gate, mechanism: str, initial: bool) -> None:
    said = Scram(mechanism)
    with smtplib.SMTP("localhost", gate.port("smtp"), timeout=30) as smtp:
        smtp.starttls(context=context(gate))
        smtp.ehlo()
        assert smtp.auth(mechanism, said, initial_response_ok=initial)[0] == 235
    assert said.steps == 2


@pytest.mark.parametrize("mechanism", SCRAM)
def test_scram_at_imap(gate: Gate, mechanism: str) -> None:
    said = Scram(mechanism)
    with imaplib.IMAP4_SSL("localhost", gate.port("imaps"), ssl_context=context(gate)) as imap:
        imap.authenticate(mechanism, lambda challenge: said(challenge).encode())
        assert imap.select()[0] == "OK"
    assert said.steps == 2


@pytest.mark.parametrize("mechanism", SCRAM)
def test_scram_at_pop3(gate: Gate, mechanism: str) -> None:
    said = Scram(mechanism)
    pop = poplib.POP3_SSL("localhost", gate.port("pop3s"), context=context(gate), timeout=30)
    answer = pop._shortcmd(f"AUTH {mechanism}")
    while answer.startswith(b"+ "):
        word = base64.b64encode(said(base64.b64decode(answer[2:])).encode()).decode()
        answer = pop._shortcmd(word)
    assert answer.startswith(b"+OK")
    assert (said.steps, pop.stat()[0]) == (2, 1)
    pop.quit()


@pytest.mark.parametrize("mechanism", SCRAM)
def test_scram_with_a_wrong_password(gate: Gate, mechanism: str) -> None:
    with smtplib.SMTP_SSL("localhost", gate.port("smtps"), context=context(gate)) as smtp:
        smtp.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            smtp.auth(mechanism, Scram(mechanism, "wrong"))
    assert caught.value.smtp_code == 535


def test_python_logs_in_by_its_own_choice(gate: Gate) -> None:
    # smtplib sends LOGIN's user name with the command, as Outlook does.
    with smtplib.SMTP_SSL("localhost", gate.port("smtps"), context=context(gate)) as smtp:
        smtp.ehlo()
        smtp.user, smtp.password = "alice", "secret"
        assert smtp.auth("LOGIN", smtp.auth_login, initial_response_ok=True)[0] == 235
    with smtplib.SMTP("localhost", gate.port("smtp"), timeout=30) as smtp:
        smtp.starttls(context=context(gate))
        assert smtp.login("alice", "secret")[0] == 235  # by CRAM-MD5, its first choice
    pop = poplib.POP3("localhost", gate.port("pop3"), timeout=30)
    pop.stls(context=context(gate))
    pop.user("alice")
    assert pop.pass_("secret").startswith(b"+OK")
    pop.quit()
    pop = poplib.POP3_SSL("localhost", gate.port("pop3s"), context=context(gate), timeout=30)
    with pytest.raises(poplib.error_proto, match="AUTH"):
        pop.apop("alice", "wrong")
    with pytest.raises(poplib.error_proto, match="AUTH"):
        pop.apop("nobody", "secret")
    assert pop.apop("alice", "secret").startswith(b"+OK")
    pop.quit()
    bare = poplib.POP3("localhost", gate.port("pop3"), timeout=30)
    with pytest.raises(poplib.error_proto, match="TLS"):
        bare.apop("alice", "secret")
    bare.quit()
    with imaplib.IMAP4_SSL("localhost", gate.port("imaps"), ssl_context=context(gate)) as imap:
        assert imap.login_cram_md5("alice", "secret")[0] == "OK"


@pytest.mark.parametrize(("scheme", "code"), [("smtp", 55), ("pop3", 67), ("imap", 67)])
def test_no_secret_is_taken_in_clear(gate: Gate, scheme: str, code: int) -> None:
    done = run(
        "curl", "-sS", "-v", "--user", "alice:secret", "--mail-from", "alice@example.org",
        "--mail-rcpt", "bob@example.org", f"{scheme}://localhost:{gate.port(scheme)}/",
        *(["--upload-file", "-"] if scheme == "smtp" else []), input=MESSAGE,
    )  # fmt: skip
    assert done.returncode == code, done.stderr  # refused, or: the login is denied
    for secret in (b"secret", base64.b64encode(b"\0alice\0secret"), base64.b64encode(b"secret")):
        assert secret not in done.stderr
