"""A broken control folder: every fault in one message with file and line, and nobody is lost."""

import os
import socket
import subprocess
import sys

import pytest
from conftest import BIN, Site

SERVERS = {
    "smtpd-accept": b"421 4.3.5 ",
    "pop3d": b"-ERR [SYS/",
    "imapd": b"* BYE ",
}


def break_it(site: Site) -> None:
    site.set("me", "one.example.org", "two.example.org")
    site.set("locals", "example.org")
    site.set("plaintext-login", "perhaps")
    site.set("message-size", "", "# a comment", "plenty")
    site.set("lifetime", "for ever")
    site.set("retry-most", "late")


@pytest.mark.parametrize("command", SERVERS)
def test_by_hand_all_faults_are_said(site: Site, command: str) -> None:
    break_it(site)
    result = site.run(command)
    assert result.returncode == os.EX_CONFIG
    errors = result.stderr.decode()
    assert f"{site.etc}/me:2: " in errors
    assert f"{site.etc}/plaintext-login:1: " in errors
    if command != "pop3d":
        assert f"{site.etc}/message-size:3: " in errors
    assert "Traceback" not in errors


def test_a_folder_that_is_not_there_refuses_nobody_for_good(site: Site) -> None:
    missing = f"{site.root}/not-mounted"
    result = site.run("smtpd-accept", "--etc", missing)
    assert result.stdout.startswith(b"421 4.3.5 ")
    assert result.returncode == os.EX_CONFIG
    assert f"{missing}: there is no such control folder" in result.stderr.decode()
    for readers in ("pop3d", "imapd"):  # who logs in hears of our trouble, not of a wrong password
        result = site.run(readers, "--etc", missing)
        assert result.stdout.startswith(SERVERS[readers])
        assert result.returncode == os.EX_CONFIG
    result = site.run("local-deliver", "--etc", missing, "bob@example.org", input=b"\n")
    assert result.returncode == os.EX_TEMPFAIL


@pytest.mark.parametrize(("command", "refusal"), SERVERS.items())
def test_a_peer_is_asked_to_come_back(site: Site, command: str, refusal: bytes) -> None:
    break_it(site)
    client, connection = socket.socketpair()
    with client, connection:
        process = subprocess.Popen(
            [sys.executable, str(BIN / command)],
            stdin=connection,
            stdout=connection,
            stderr=connection,  # as inetd does it: no log line may reach the peer
            env=site.environ,
        )
        connection.close()
        client.settimeout(60)
        said = client.makefile("rb").read()
        assert process.wait() == os.EX_CONFIG
    assert said.startswith(refusal)
    assert said.count(b"\r\n") == 1
    assert str(site.etc).encode() not in said


def test_a_listener_does_not_start(site: Site) -> None:
    break_it(site)
    result = site.run("imapd", "--listen", "127.0.0.1:0")
    assert result.returncode == os.EX_CONFIG
    assert b"listening" not in result.stderr


def test_a_queue_run_names_them_all_and_touches_nothing(site: Site) -> None:
    site.account("bob")
    site.run("sendmail", "bob@example.org", input=b"Subject: x\n\ny\n")
    before = sorted(path.name for path in site.queue.rglob("*"))
    break_it(site)
    result = site.run("queue-run")
    assert result.returncode == os.EX_CONFIG
    errors = result.stderr.decode()
    for place in ("me:2", "lifetime:1", "retry-most:1"):
        assert f"{site.etc}/{place}: " in errors
    assert sorted(path.name for path in site.queue.rglob("*")) == before


@pytest.mark.parametrize("command", ["sendmail", "local-deliver", "relay-send"])
def test_what_mailers_call_says_try_again(site: Site, command: str) -> None:
    break_it(site)
    result = site.run(command, "bob@example.org", input=b"Subject: x\n\ny\n")
    assert result.returncode == os.EX_TEMPFAIL
    assert f"{site.etc}/me:2: " in result.stderr.decode()


def test_faults_of_accounts_and_aliases(site: Site) -> None:
    site.account("bob")
    site.set("aliases", "a: b", "b: a", "nobody: who", "no colon here")
    result = site.run("newaliases")
    assert result.returncode == os.EX_CONFIG
    errors = result.stderr.decode()
    for line in (3, 4):
        assert f"{site.etc}/aliases:{line}: " in errors
    assert "loop" in errors

    said = site.run("smtpd-accept", input=b"EHLO x\r\n", env=site.environ).stdout
    assert said.startswith(b"220 ")  # one broken file does not close the door
    with (site.etc / "accounts").open("a") as file:
        file.write("carol:{ROT13}frperg\nbob:{PLAIN}again\n")
    site.set("aliases")
    refused = site.run("local-deliver", "bob@example.org", input=b"Subject: x\n\ny\n")
    assert refused.returncode == os.EX_TEMPFAIL
    for line in (2, 3):
        assert f"{site.etc}/accounts:{line}: " in refused.stderr.decode()


@pytest.mark.parametrize("words", ["mail-account add bob", "mail-dkim new example.org"])
def test_a_slip_in_the_folder_s_name_makes_no_second_one(site: Site, words: str) -> None:
    missing = site.root / "mailtool"
    result = site.run(*words.split(), "--etc", str(missing), input=b"secret\n")
    assert result.returncode == os.EX_CONFIG
    assert result.stderr.decode().endswith(
        f"{missing}: there is no such control folder: make it, or name another with --etc\n"
    )
    assert not missing.exists()


@pytest.mark.parametrize(
    ("command", "code"), [("queue-run", os.EX_CONFIG), ("relay-send", os.EX_TEMPFAIL)]
)
def test_no_defaults_instead_of_a_folder(site: Site, command: str, code: int) -> None:
    missing = site.root / "not-mounted"
    arguments = ["bob@example.net"] if command == "relay-send" else []
    result = site.run(command, "--etc", str(missing), *arguments, input=b"Subject: x\n\ny\n")
    assert result.returncode == code
    assert f"{missing}: there is no such control folder" in result.stderr.decode()


def test_a_port_in_use_says_how_to_see_whose_it_is(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        result = site.run("smtpd-accept", "--listen", where)
    assert result.returncode == os.EX_TEMPFAIL
    said = f"smtpd-accept: cannot listen on {where}: Address already in use; `ss -ltnp` shows who "
    assert result.stderr.decode().startswith(said)


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        ("relay-send bob", "relay-send: 'bob': An address needs ", os.EX_DATAERR),
        ("local-deliver bob", "local-deliver: 'bob': An address needs ", os.EX_DATAERR),
        ("relay-send --via nohost:x b@c.test", "relay-send: --via 'nohost:x' is ", os.EX_USAGE),
        ("queue-run --domain a_b", "queue-run: --domain 'a_b': ", os.EX_DATAERR),
    ],
)
def test_a_slip_on_the_line_is_quoted(site: Site, words: str, said: str, code: int) -> None:
    result = site.run(*words.split(), input=b"Subject: x\n\ny\n")
    assert result.stderr.decode().startswith(said)
    assert result.returncode == code
