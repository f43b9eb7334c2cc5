"""Passwords and tokens that others check: PAM, Dovecot's auth socket, a program for tokens."""

import base64
import imaplib
import os
import shutil
import smtplib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Site, wait_for_line

from mailtools.errors import AuthTrouble
from mailtools.services.access import auth_socket, pam
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.elsewhere import Elsewhere

# -- PAM ------------------------------------------------------------------------------------------

MODULES = [Path(folder) for folder in ("/lib/security", "/usr/lib/security")]
MODULES += Path("/usr/lib").glob("*/security")
needs_pam = pytest.mark.skipif(
    not any((folder / "pam_exec.so").exists() for folder in MODULES), reason="needs PAM"
)


@pytest.fixture
def service(tmp_path: Path) -> str:
    """A PAM service whose program knows bob; carol's account is closed."""
    program = tmp_path / "check"
    program.write_text(
        "#!/bin/sh\n"
        'echo "$PAM_TYPE $PAM_USER $PAM_RHOST" >>"${0%/*}/told"\n'
        'password=$(cat)\n[ "$password" = hunter2 ]\n'
    )
    program.chmod(0o755)
    path = tmp_path / "mail"
    path.write_text(
        f"auth [success=1 default=ignore] pam_exec.so expose_authtok quiet {program}\n"
        "auth requisite pam_deny.so\n"
        "auth required pam_permit.so\n"
        "account requisite pam_succeed_if.so quiet user = bob\n"
        "account required pam_permit.so\n"
    )
    return str(path)


@needs_pam
def test_pam_is_asked_for_password_and_account(service: str, tmp_path: Path) -> None:
    assert pam.ask(service, "bob", "hunter2", "192.0.2.7")
    assert (tmp_path / "told").read_text() == "auth bob 192.0.2.7\n"
    assert not pam.ask(service, "bob", "hunter3", "")
    assert not pam.ask(service, "carol", "hunter2", "")  # the account is closed
    assert not pam.ask(service, "bob", "hunter2\0", "")
    assert not pam.ask(service, "", "hunter2", "")


@needs_pam
def test_pam_that_cannot_tell_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "broken").write_text("auth required pam_no_such_module.so\n")
    with pytest.raises(AuthTrouble):
        pam.ask(str(tmp_path / "broken"), "bob", "x", "")


@needs_pam
def test_a_server_lets_in_by_pam(site: Site, service: str) -> None:
    site.set("accounts", "bob:x")
    site.set("pam-service", service)
    site.set("plaintext-login", "yes")
    server = site.listen("imapd")
    with imaplib.IMAP4(*server.address, timeout=30) as imap:
        with pytest.raises(imaplib.IMAP4.error):
            imap.login("bob", "wrong")
        assert imap.login("bob", "hunter2")[0] == "OK"


def test_only_one_may_be_asked(site: Site) -> None:
    site.set("pam-service", "mail")
    site.set("auth-program", "/bin/true")
    result = site.run("imapd")
    assert result.returncode == 78
    assert b"only one of" in result.stderr


# -- Dovecot's auth socket ------------------------------------------------------------------------


def served(tmp_path: Path, *said: bytes) -> str:
    """Serve one connection on a socket: the greeting, then an answer."""
    path = str(tmp_path / "auth")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as sock:
            sock.sendall(said[0])
            if len(said) > 1:
                while b"\nAUTH\t" not in sock.recv(4096):
                    pass
                sock.sendall(said[1])

    threading.Thread(target=serve, daemon=True).start()
    return path


GREETING = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n"


@pytest.mark.parametrize(
    ("answer", "fits"),
    [
        (b"OK\t1\tuser=bob\n", True),
        (b"OK\t1\tuser=bob\tnologin\n", False),
        (b"FAIL\t1\tuser=bob\n", False),
    ],
)
def test_the_answer_decides(tmp_path: Path, answer: bytes, fits: bool) -> None:
    path = served(tmp_path, GREETING, answer)
    assert auth_socket.ask(path, "bob", "x", "imap", "192.0.2.7") is fits


@pytest.mark.parametrize(
    "said",
    [
        (GREETING, b"FAIL\t1\tuser=bob\ttemp\n"),
        (GREETING, b"FAIL\t1\tuser=bob\tcode=temp_fail\n"),
        (GREETING, b"CONT\t1\t\n"),
        (GREETING, b""),
        (b"VERSION\t2\t0\nDONE\n",),
        (b"VERSION\t1\t2\nMECH\tCRAM-MD5\nDONE\n",),
        (b"220 mail.example.org ESMTP\r\n",),
        (b"",),
    ],
)
def test_who_cannot_tell_is_trouble(tmp_path: Path, said: tuple[bytes, ...]) -> None:
    path = served(tmp_path, *said)
    with pytest.raises(AuthTrouble):
        auth_socket.ask(path, "bob", "x", "imap", "")


def test_no_socket_is_trouble(tmp_path: Path) -> None:
    with pytest.raises(AuthTrouble):
        auth_socket.ask(str(tmp_path / "none"), "bob", "x", "imap", "")


CONFIG = """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = /dev/stderr
ssl = no
protocols =
listen = 127.0.0.1
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {group}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
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
def dovecot(tmp_path: Path) -> Iterator[str]:
    """A real Dovecot with one user; gives its auth socket."""
    if not shutil.which("dovecot") or os.geteuid():
        pytest.skip("needs Dovecot, and root to start it")
    folder = Path(f"/tmp/dove{os.getpid()}")  # a socket's path is short
    folder.mkdir()
    (folder / "users").write_text("bob:{PLAIN}hunter2\n")
    config = CONFIG.format(folder=folder, user="nobody", group="nogroup")
    (folder / "dovecot.conf").write_text(config)
    process = subprocess.Popen(
        ["dovecot", "-F", "-c", str(folder / "dovecot.conf")], stderr=subprocess.PIPE
    )
    try:
        assert process.stderr
        for line in process.stderr:
            if b"starting up" in line:
                break
        yield f"{folder}/run/auth-client"
    finally:
        process.terminate()
        process.wait(30)
        assert process.stderr
        process.stderr.close()
        shutil.rmtree(folder)


def test_dovecot_itself(dovecot: str, tmp_path: Path) -> None:
    assert auth_socket.ask(dovecot, "bob", "hunter2", "imap", "192.0.2.7")
    assert not auth_socket.ask(dovecot, "bob", "hunter3", "submission", "")
    assert not auth_socket.ask(dovecot, "nobody", "hunter2", "imap", "2001:db8::7")
    (tmp_path / "accounts").write_text("bob:\n")
    accounts = Accounts(str(tmp_path / "accounts"), elsewhere=Elsewhere(socket=dovecot))
    assert accounts.authenticate("bob", "hunter2").name == "bob"
    assert accounts.mechanisms() == ("PLAIN", "LOGIN")


# -- tokens ---------------------------------------------------------------------------------------


@pytest.fixture
def tokens(site: Site, tmp_path: Path) -> Site:
    """A site whose program believes one long token of bob's, and cannot tell for carol."""
    program = tmp_path / "token"
    program.write_text(
        "#!/bin/sh\n"
        "tr '\\0' ' ' <&3 >\"${0%/*}/said\"\n"
        'read -r login token time <"${0%/*}/said"\n'
        'echo "$login $SERVICE $TCPREMOTEIP" >>"${0%/*}/told"\n'
        '[ "$login" = carol ] && exit 111\n'
        f'[ "$login $token" = "bob {"t" * 2500}" ]\n'
    )
    program.chmod(0o755)
    for user in ("bob", "carol"):
        site.account(user)
    site.set("token-program", str(program))
    site.set("plaintext-login", "yes")
    return site


def oauthbearer(user: str, token: str) -> str:
    return f"n,a={user},\x01auth=Bearer {token}\x01\x01"


def xoauth2(user: str, token: str) -> str:
    return f"user={user}\x01auth=Bearer {token}\x01\x01"


@pytest.mark.parametrize(("name", "form"), [("OAUTHBEARER", oauthbearer), ("XOAUTH2", xoauth2)])
def test_a_token_logs_in(tokens: Site, tmp_path: Path, name: str, form: object) -> None:
    assert callable(form)
    server = tokens.listen("smtpd-accept", "--submission")
    with smtplib.SMTP(*server.address, timeout=30) as smtp:
        smtp.ehlo()
        assert name in smtp.esmtp_features["auth"].split()
        assert smtp.auth(name, lambda _=None: form("bob", "t" * 2500))[0] == 235
    assert (tmp_path / "told").read_text() == "bob submission 127.0.0.1\n"
    for user, token, code in (("bob", "wrong", 535), ("carol", "x", 454), ("nobody", "x", 535)):
        with smtplib.SMTP(*server.address, timeout=30) as smtp:
            smtp.ehlo()
            said = base64.b64encode(form(user, token).encode()).decode()
            answer, _ = smtp.docmd("AUTH", f"{name} {said}")
            if answer == 334:  # why: to be acknowledged
                answer, _ = smtp.docmd("AQ==")
            assert answer == code, (user, token)
    assert "user=bob" in wait_for_line(server.process, "auth-failed")


def test_a_token_opens_a_mailbox(tokens: Site) -> None:
    server = tokens.listen("imapd")
    with imaplib.IMAP4(*server.address, timeout=30) as imap:
        assert "AUTH=OAUTHBEARER" in imap.capabilities
        said = oauthbearer("bob", "t" * 2500).encode()
        assert imap.authenticate("OAUTHBEARER", lambda _: said)[0] == "OK"


def test_without_a_program_there_are_no_tokens(site: Site) -> None:
    site.account("bob")
    site.set("plaintext-login", "yes")
    server = site.listen("smtpd-accept", "--submission")
    with smtplib.SMTP(*server.address, timeout=30) as smtp:
        smtp.ehlo()
        assert not {"OAUTHBEARER", "XOAUTH2"} & set(smtp.esmtp_features["auth"].split())
        assert smtp.docmd("AUTH", "XOAUTH2 =")[0] == 504
