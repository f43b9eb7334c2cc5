"""The checkpassword interface: our accounts for others, and others' programs for our accounts."""

import os
import poplib
import subprocess
import sys

import pytest

from mailtools.errors import AuthTrouble, BadCredentials
from mailtools.services.access.accounts import Accounts
from mailtools.services.access.checkpassword import ask
from mailtools.services.access.elsewhere import Elsewhere

OURS = os.path.join(os.path.dirname(__file__), "..", "..", "bin", "mail-checkpassword")


@pytest.fixture
def check(site, tmp_path):
    """Run mail-checkpassword with something on descriptor 3."""

    def run(said, *program, options=()):
        (tmp_path / "said").write_bytes(said)
        return subprocess.run(
            ["sh", "-c", 'exec "$0" "$@" 3<"$SAID"', sys.executable, OURS, *options, *program],
            env={**site.environ, "SAID": str(tmp_path / "said")},
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip

    return run


@pytest.fixture
def bob(site):
    home = site.homes / "bob"
    home.mkdir()
    owner = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(home, *owner)
    line = f"bob:{{PLAIN}}secret:{owner[0]}:{owner[1]}::{home}::services=imap\n"
    (site.etc / "accounts").write_text(line)
    return home


SHOW = ("sh", "-c", 'echo "$USER $HOME $MAILDIR $(id -u)"')


def test_the_right_password_becomes_the_user_and_runs_the_program(site, bob, check):
    if os.geteuid() == 0:
        for path in (site.root, *site.root.parents[:-2]):  # all below the temporary folder
            path.chmod(path.stat().st_mode | 0o011)
        site.homes.chmod(0o755)
    done = check(b"bob\0secret\0001\0", *SHOW)
    uid = 65534 if os.geteuid() == 0 else os.geteuid()
    maildir = f"{site.homes}/bob/Maildir"
    assert done.stdout.decode().split() == ["bob", str(bob), maildir, str(uid)], done.stderr


def test_dovecot_is_told_the_user_instead(site, bob, check, monkeypatch):
    show = ("sh", "-c", 'echo "$EXTRA:$userdb_uid:$userdb_gid:$userdb_mail:$(id -u)"')
    monkeypatch.setenv("ORIG_UID", str(os.geteuid()))
    done = check(b"bob\0secret\0001\0", *show)
    owner = bob.stat()
    mail = f"maildir:{site.homes}/bob/Maildir"
    words = ["userdb_uid userdb_gid userdb_mail", owner.st_uid, owner.st_gid, mail, os.geteuid()]
    assert done.stdout.decode().strip() == ":".join(map(str, words)), done.stderr


@pytest.mark.parametrize(
    ("said", "options", "code"),
    [
        (b"bob\0wrong\0001\0", (), 1),
        (b"nobody\0secret\0001\0", (), 1),
        (b"bob\0secret\0001\0", ("--service", "pop3"), 1),
        (b"", (), 2),
        (b"bob", (), 2),
        (b"\0secret\0001\0", (), 2),
        (b"bob\0" + b"x" * 600 + b"\0001\0", (), 2),
    ],
)
def test_exit_codes_are_those_of_the_interface(bob, check, said, options, code):
    done = check(said, *SHOW, options=options)
    assert (done.returncode, done.stdout) == (code, b"")
    assert b"Traceback" not in done.stderr


def test_misuse_and_trouble(site, bob, check):
    assert check(b"bob\0secret\0001\0").returncode == 2
    closed = subprocess.run(
        [sys.executable, OURS, "true"], env=site.environ, capture_output=True, check=False
    )
    assert closed.returncode == 2
    assert check(b"bob\0secret\0001\0", "/no/such/program").returncode == 111
    (site.etc / "accounts").write_text("bob:{ROT13}x\n")
    assert check(b"bob\0secret\0001\0", *SHOW).returncode == 111


@pytest.fixture
def program(tmp_path):
    """A program that knows bob's password, and what it was told."""
    path = tmp_path / "knows"
    path.write_text(
        "#!/bin/sh\n"
        "said=$(tr '\\000' ' ' <&3)\n"
        f'echo "$said$SERVICE $TCPREMOTEIP $*" >>{tmp_path}/told\n'
        'case "$said" in\n'
        '"bob hunter2 "*) exec "$@" ;;\n'
        '"carol "*) exit 111 ;;\n'
        "esac\n"
        "exit 1\n"
    )
    path.chmod(0o755)
    return path


def test_a_program_is_asked_and_told_who_and_where(program, tmp_path):
    assert ask(str(program), "bob", "hunter2", "imap", "192.0.2.7")
    assert not ask(str(program), "bob", "hunter3", "imap", "192.0.2.7")
    words = (tmp_path / "told").read_text().split("\n")[0].split()
    assert words[:2] == ["bob", "hunter2"]
    assert words[2].isdigit()
    assert words[3:] == ["imap", "192.0.2.7", "/bin/true"]


def test_a_program_that_cannot_tell_is_trouble(program, tmp_path):
    for name, login in (
        (program, "carol"),
        ("/no/such/program", "bob"),
        ("sh -c 'kill $$'", "bob"),
    ):
        with pytest.raises(AuthTrouble):
            ask(str(name), login, "x", "imap", "")


def test_what_does_not_fit_the_interface_is_wrong_without_asking(program, tmp_path):
    assert not ask(str(program), "bob", "hunter2\0", "imap", "")
    assert not ask(str(program), "bob", "x" * 600, "imap", "")
    assert not (tmp_path / "told").exists()


def test_it_is_asked_only_for_users_whose_password_is_elsewhere(program, tmp_path):
    (tmp_path / "accounts").write_text("bob:x\ndave:\nerin:!\nfrank:{PLAIN}here\n")
    accounts = Accounts(str(tmp_path / "accounts"), elsewhere=Elsewhere(str(program)))
    assert accounts.authenticate("bob", "hunter2").name == "bob"
    assert accounts.authenticate("frank", "here").name == "frank"
    for login in ("bob", "dave", "erin", "frank", "nobody"):
        with pytest.raises(BadCredentials):
            accounts.authenticate(login, "wrong")
    asked = [line.split()[0] for line in (tmp_path / "told").read_text().splitlines()]
    assert asked == ["bob", "bob", "dave", "nobody"]
    assert Accounts(str(tmp_path / "accounts")).find("bob")
    with pytest.raises(BadCredentials):
        Accounts(str(tmp_path / "accounts")).authenticate("bob", "hunter2")


def test_the_control_file_is_read_by_the_servers(site, program):
    (site.etc / "accounts").write_text("bob:x\n")
    site.set("mailbox-owner", str(os.getuid() or 65534))
    site.set("auth-program", str(program))
    site.set("plaintext-login", "yes")
    server = site.listen("pop3d")
    client = poplib.POP3(*server.address, timeout=30)
    try:
        client.user("bob")
        with pytest.raises(poplib.error_proto):
            client.pass_("wrong")
    finally:
        client.close()
    assert "auth-failed user=bob" in server.log_line("auth-failed")
