"""Programs that call sendmail, as they are: git, mutt, neomutt, cron's way, and a shell's."""

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import BIN

from mailtools.commands.sendmail_flags import parse
from mailtools.store.queue import Queue


def need(program):
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")


@pytest.fixture
def sendmail(site, tmp_path):
    """A program to call as sendmail, that is ours by this interpreter."""
    path = tmp_path / "sendmail"
    path.write_text(f'#!/bin/sh\nexec python3 {BIN}/sendmail "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def run(site, tmp_path):
    home = tmp_path / "home"
    home.mkdir()

    def run(*command, **extra):
        environ = {
            **site.environ,
            "HOME": str(home),
            "GIT_CONFIG_NOSYSTEM": "1",
            "LC_ALL": "C.UTF-8",
        }
        environ.update(extra.pop("env", {}))
        done = subprocess.run(
            command, env=environ, capture_output=True, check=False, timeout=120,
            cwd=extra.pop("cwd", home), **extra,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def queued(site):
    def queued():
        queue = Queue(str(site.queue))
        return [queue.open(place) for place in queue.new()]

    return queued


def paths(entry):
    return [path.address for path in entry.envelope.forward_paths]


def test_git_send_email(run, queued, sendmail, tmp_path):
    if not os.path.exists("/usr/lib/git-core/git-send-email"):
        pytest.skip("git send-email is not installed")
    repository = tmp_path / "repository"
    who = ("-c", "user.name=Bob Builder", "-c", "user.email=bob@example.org")
    run("git", "init", "-q", str(repository))
    (repository / "file").write_text("äöü\n.\n..\n")
    run("git", "add", "file", cwd=repository)
    run("git", *who, "commit", "-q", "-m", "Add a file", cwd=repository)
    run(
        "git", *who, "-c", f"sendemail.sendmailCmd={sendmail} -i", "-c", "sendemail.confirm=never",
        "send-email", "--quiet", "--to=carol@example.net", "--cc=dave@example.net",
        "--envelope-sender=bounces@example.org", "--8bit-encoding=UTF-8", "--root", "HEAD",
        cwd=repository,
    )  # fmt: skip
    (entry,) = queued()
    assert entry.envelope.reverse_path == "bounces@example.org"
    assert {"carol@example.net", "dave@example.net"} <= set(paths(entry))
    text = entry.message().decode()
    assert "Subject: [PATCH] Add a file\n" in text
    assert "+äöü\n+.\n+..\n" in text


@pytest.mark.parametrize("program", ["mutt", "neomutt"])
def test_mutt(run, queued, sendmail, tmp_path, program):
    need(program)
    (tmp_path / "home" / ".muttrc").write_text(
        f'set sendmail="{sendmail} -oem -oi"\n'
        'set use_envelope_from=yes\nset from="bob@example.org"\nset realname="Bob Builder"\n'
        "set copy=no\nset dsn_notify='failure,delay'\nset dsn_return=hdrs\n"
    )
    run(
        program, "-F", str(tmp_path / "home" / ".muttrc"), "-s", "hello", "-b", "erin@example.net",
        "-c", "dave@example.net", "--", "carol@example.net", input=b"hi\n.\nthere\n",
    )  # fmt: skip
    (entry,) = queued()
    assert entry.envelope.reverse_path == "bob@example.org"
    assert set(paths(entry)) == {"carol@example.net", "dave@example.net", "erin@example.net"}
    assert entry.envelope.parameters["RET"] == "HDRS"
    assert entry.envelope.forward_paths[0].parameters["NOTIFY"] == "FAILURE,DELAY"
    text = entry.message().decode()
    assert "erin" not in text
    assert "hi\n.\nthere\n" in text


def test_a_shell_that_knows_no_mail(site, run, queued, sendmail):
    run("sh", "-c", f"df / | {sendmail} root")
    (entry,) = queued()
    assert paths(entry) == ["root@example.org"]
    assert b"\n\nFilesystem" in entry.message()


def test_every_flag_of_postfix_is_taken():
    page = Path("/usr/share/man/man1/sendmail.1.gz")
    if not page.exists():
        pytest.skip("Postfix' manual page is not installed")
    text = gzip.decompress(page.read_bytes()).decode()
    flags = set(re.findall(r'^\.IP "?\\fB\\?-([A-Za-z])', text, re.M))
    assert len(flags) > 15
    values = {"B": "8BITMIME", "N": "never", "R": "full", "b": "m", "q": ""}
    for flag in flags:
        parse("sendmail", [f"-{flag}{values.get(flag, 'x')}"])
