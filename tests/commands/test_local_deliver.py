"""local-deliver as a program: once from a shell, and as a queue run's agent."""

import os
import subprocess
from pathlib import Path

import pytest

TEXT = b"Subject: hello\n\nhello\n"


def own(site) -> None:
    """Say whose the mailboxes are: root delivers nothing that is nobody's."""
    site.set("mailbox-owner", str(os.getuid()))


@pytest.fixture
def local(site):
    own(site)
    site.account("bob")
    return site


def test_once_from_a_shell(local):
    done = local.run(
        "local-deliver",
        "--from",
        "alice@example.net",
        "bob@example.org",
        "eve@example.org",
        input=TEXT,
    )
    assert done.stdout.decode().split("\n") == [
        "-\tbob@example.org\tdelivered\t2.0.0\tdelivered to bob",
        "-\teve@example.org\tfailed\t5.1.1\tNo such mailbox here",
        "",
    ]
    assert done.returncode == os.EX_NOUSER
    assert local.messages("bob") == [
        b"Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n" + TEXT
    ]


def test_crlf_on_stdin_lies_as_lf_on_disk(local):
    done = local.run("local-deliver", "bob@example.org", input=TEXT.replace(b"\n", b"\r\n"))
    assert done.returncode == 0
    [message] = local.messages("bob")
    assert message.endswith(TEXT)
    assert b"\r" not in message


def test_a_maildir_by_hand_needs_no_settings(site, tmp_path):
    done = site.run(
        "local-deliver",
        "--maildir",
        "Maildir",
        "--etc",
        "/nonexistent",
        "x@example.com",
        input=TEXT,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(list((tmp_path / "Maildir" / "new").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--from", "not an address", "bob@example.org"], os.EX_DATAERR),
        (["bob"], os.EX_DATAERR),
        (["--jobs", "bob@example.org"], os.EX_USAGE),
        (["--what"], os.EX_USAGE),
    ],
)
def test_wrong_usage(local, arguments, code):
    done = local.run("local-deliver", *arguments, input=TEXT)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


def test_a_broken_alias_file_means_later_and_says_where(local):
    local.set("aliases", "fine: bob", "no colon here", "x: /var/mail/x")
    done = local.run("local-deliver", "bob@example.org", input=TEXT)
    assert done.returncode == os.EX_TEMPFAIL
    assert done.stdout.split(b"\t")[2:4] == [b"delayed", b"4.3.5"]
    assert f"{local.etc}/aliases:2: ".encode() in done.stderr
    assert f"{local.etc}/aliases:3: ".encode() in done.stderr


def test_jobs_of_a_queue_run(local):
    (local.queue / "new").mkdir(parents=True)
    entry = local.queue / "new" / "1764000000.M000001P2R3"
    head = "mailtools-queue 1\nreverse-path alice@example.net\nforward-path bob@example.org\n\n"
    entry.write_bytes(head.encode() + TEXT)
    agent = local.start("local-deliver", "--jobs", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert agent.stdout.readline().startswith(b"ready 1 jobs=")
    for number in (b"1", b"2"):  # as if the first report had been lost
        job = [number, os.fsencode(entry), b"alice@example.net", b"bob@example.org"]
        agent.stdin.write(b"\t".join(job) + b"\n")
        agent.stdin.flush()
        line = agent.stdout.readline()
        assert line == number + b"\tbob@example.org\tdelivered\t2.0.0\tdelivered to bob\n"
    agent.stdin.close()
    assert agent.wait(20) == 0
    assert len(local.messages("bob")) == 1


def test_an_entry_that_is_gone_is_delayed(local):
    agent = local.start("local-deliver", "--jobs", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    agent.stdin.write(b"1\t/nonexistent/1764000000.M1P2R3\t\tbob@example.org\n")
    agent.stdin.close()
    lines = agent.stdout.read().split(b"\n")
    assert lines[1].split(b"\t")[:4] == [b"1", b"bob@example.org", b"delayed", b"4.3.0"]
    assert agent.wait(20) == 0


def test_a_forward_is_a_new_entry(local):
    local.set("aliases", "team: bob, x@example.com")
    local.run("queue-run")  # makes the queue's folders
    done = local.run("local-deliver", "--from", "a@example.net", "team@example.org", input=TEXT)
    assert done.stdout.split(b"\t")[2] == b"expanded"
    [entry] = (local.queue / "new").iterdir()
    assert Path(entry).read_bytes() == (
        b"mailtools-queue 1\nreverse-path a@example.net\n"
        b"forward-path x@example.com ORCPT=rfc822;team@example.org\n\n"
        b"Delivered-To: team@example.org\n" + TEXT
    )
    assert len(local.messages("bob")) == 1
