"""sendmail as a process: what is in the queue afterwards, and what the caller is told."""

import os
import pwd
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import wait_for_line

from mailtools.store.queue import Queue

BIN = Path(__file__).parents[2] / "bin"
LETTER = b"Subject: hello\n\nhi\n"


def entries(site):
    queue = Queue(str(site.queue))
    return [queue.open(place) for place in queue.all()]


def one(site):
    (entry,) = entries(site)
    return entry, entry.message().decode()


@pytest.fixture
def as_name(site, tmp_path):
    """Run sendmail under another name, as a symbolic link does it."""

    def run(name, *arguments, **extra):
        link = tmp_path / "links" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(BIN / "sendmail")
        return subprocess.run(
            [sys.executable, str(link), *arguments],
            capture_output=True, env=site.environ, check=False, timeout=60, **extra,
        )  # fmt: skip

    return run


def test_a_message_is_queued_and_nothing_is_said(site):
    done = site.run("sendmail", "carol@example.net", "bob", input=LETTER)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    entry, text = one(site)
    assert [path.address for path in entry.envelope.forward_paths] == [
        "carol@example.net",
        "bob@example.org",
    ]
    assert text.startswith("Received: by mail.example.org (mailtools, from user ")
    assert f"id {entry.id};" in text
    assert f"Message-ID: <{entry.id}@example.org>\n" in text
    assert text.endswith("\n\nhi\n")


def test_cronies_exact_line(site):
    body = (
        b'From: "(Cron Daemon)" <root>\nTo: root\nSubject: Cron <root@host> /bin/false\n'
        b"Content-Type: text/plain; charset=UTF-8\nAuto-Submitted: auto-generated\n"
        b"X-Cron-Env: <SHELL=/bin/sh>\n\nsomething failed\n.\nand went on\n"
    )
    flags = ["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root"]
    assert site.run("sendmail", *flags, input=body).returncode == 0
    entry, text = one(site)
    assert entry.envelope.reverse_path == "root@example.org"
    assert [path.address for path in entry.envelope.forward_paths] == ["root@example.org"]
    assert 'From: "(Cron Daemon)" <root@example.org>\n' in text
    assert text.endswith("something failed\n.\nand went on\n")


def test_debian_crons_exact_line(site):
    body = b"From: root (Cron Daemon)\nTo: bob\nSubject: x\n\n\xc3\xa4\n"
    done = site.run("sendmail", *["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "bob"], input=body)
    assert done.returncode == 0
    entry, text = one(site)
    assert entry.envelope.parameters == {"SUBMITTED": "", "BODY": "8BITMIME"}
    assert "From: root@example.org (Cron Daemon)\n" in text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], os.EX_USAGE),
        (["-Z", "bob"], os.EX_USAGE),
        (["-bd"], os.EX_USAGE),
        (["-t"], os.EX_DATAERR),
        (["a b"], os.EX_DATAERR),
        (["-f", "a b", "bob"], os.EX_DATAERR),
    ],
)
def test_what_cannot_be_sent_is_told_and_leaves_nothing(site, arguments, code):
    done = site.run("sendmail", *arguments, input=LETTER)
    assert done.returncode == code
    assert done.stderr.startswith(b"sendmail: ")
    assert b"Traceback" not in done.stderr
    assert not site.queue.exists() or not entries(site)


def test_a_message_too_large_is_refused_whole(site):
    site.set("message-size", "1000")
    done = site.run("sendmail", "bob", input=LETTER + b"x" * 1000)
    assert done.returncode == os.EX_DATAERR
    assert not site.queue.exists() or not entries(site)


def test_a_broken_control_folder_means_try_later(site):
    site.set("message-size", "huge")
    done = site.run("sendmail", "bob", input=LETTER)
    assert done.returncode == os.EX_TEMPFAIL
    assert b"message-size:1" in done.stderr


def test_other_names_are_other_modes(site, as_name):
    assert as_name("rmail", "bob", input=b"From carol@example.net Mon\n" + LETTER).returncode == 0
    assert entries(site)[0].envelope.reverse_path == "carol@example.net"
    assert as_name("mailq").stdout.splitlines()[-1] == b"-- 1 Kbytes in 1 Request."
    assert as_name("newaliases").returncode == 0
    site.set("aliases", "no colon here")
    told = site.run("sendmail", "-bi")
    assert told.returncode == os.EX_CONFIG
    assert b"aliases:1" in told.stderr


def test_smtp_on_stdin_is_trusted(site):
    dialog = (
        b"EHLO localhost\r\nMAIL FROM:<bob@example.org>\r\nRCPT TO:<carol@example.net>\r\n"
        b"DATA\r\nSubject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n"
    )
    done = site.run("sendmail", "-bs", input=dialog)
    assert done.returncode == 0
    codes = re.findall(rb"^([0-9]{3}) ", done.stdout, re.M)
    assert codes == [b"220", b"250", b"250", b"250", b"354", b"250", b"221"]
    assert entries(site)[0].envelope.forward_paths[0].address == "carol@example.net"


def test_flushing_makes_the_chosen_due(site):
    for sender in ("bob", "carol"):
        site.run("sendmail", "-f", sender, "dave@example.net", input=LETTER)
    queue = Queue(str(site.queue))
    for entry in entries(site):
        queue.defer(entry, 4102444800)
    run_is_there = os.open(site.queue / "trigger", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert site.run("sendmail", "-qScarol").returncode == 0
        assert os.read(run_is_there, 10).strip(b"\0") == b""
    finally:
        os.close(run_is_there)
    (due,) = queue.new()
    assert queue.open(due).envelope.reverse_path == "carol@example.org"


# -- a caller who may not write the queue ---------------------------------------------------------


def readable_by_all(path):
    """Whether another user of the host could run what lies there."""
    return all(folder.stat().st_mode & 0o001 for folder in Path(path).resolve().parents)


needs_a_stranger = pytest.mark.skipif(
    os.geteuid() == 0 and not (readable_by_all(sys.executable) and readable_by_all(BIN)),
    reason="no other user can run this Python",
)


class Stranger:
    """Somebody to whom the queue is closed, and a folder that both may see."""

    def __init__(self, site, folder):
        self.site = site
        self.etc = folder / "etc"
        self.socket = folder / "socket"
        self.etc.mkdir()
        (self.etc / "me").write_text("mail.example.org\n")
        (self.etc / "submit").write_text(f"{self.socket}\n")
        self.who = {"user": 65534, "group": 65534, "extra_groups": []}
        if os.geteuid() != 0:  # then it is ourselves, and the queue is closed to us
            self.who = {}
            (site.spool / "queue").mkdir(mode=0o500)

    def sendmail(self, *arguments, **extra):
        environ = {**self.site.environ, "MAILTOOLS_ETC": str(self.etc)}
        return subprocess.run(
            [sys.executable, str(BIN / "sendmail"), *arguments],
            capture_output=True, env=environ, cwd="/", check=False, timeout=60, **self.who, **extra,
        )  # fmt: skip

    def serve(self, spool):
        """Start the submit service, as sendmail(1) says, on a queue of its own."""
        environ = {**self.site.environ, "RELAYCLIENT": "", "MAILTOOLS_SPOOL": str(spool)}
        process = self.site.start("smtpd-accept", "--listen", str(self.socket), env=environ)
        wait_for_line(process, "listening ")
        self.socket.chmod(0o666)


@pytest.fixture
def stranger(site):
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Stranger(site, Path(name))


@needs_a_stranger
def test_a_stranger_without_a_submit_service_is_told_to_try_later(stranger):
    done = stranger.sendmail("carol@example.net", input=LETTER)
    assert done.returncode == os.EX_TEMPFAIL
    assert str(stranger.socket).encode() in done.stderr


@needs_a_stranger
def test_a_stranger_gives_mail_to_the_submit_service(site, stranger):
    stranger.serve(site.root / "other")
    done = stranger.sendmail("-Nnever", "-Vabc", "carol@example.net", input=LETTER)
    assert (done.returncode, done.stderr) == (0, b"")
    queue = Queue(str(site.root / "other" / "queue"))
    (entry,) = (queue.open(place) for place in queue.all())
    assert entry.envelope.reverse_path.endswith("@mail.example.org")
    assert entry.envelope.parameters["ENVID"] == "abc"
    (path,) = entry.envelope.forward_paths
    assert path.address == "carol@example.net"
    assert path.parameters["NOTIFY"] == "NEVER"
    # The kernel says who it was, whatever he says of himself.
    who = pwd.getpwuid(stranger.who.get("user", os.geteuid())).pw_name
    assert entry.envelope.client == f"local {who}"
    assert f"(local, from user {who})".encode() in entry.message()
    assert b"\nSubject: hello\n" in entry.message()


@needs_a_stranger
def test_a_stranger_hears_who_was_refused_and_the_others_get_it(site, stranger):
    site.account("bob")
    stranger.serve(site.root / "other")
    done = stranger.sendmail("nobody@example.org", "bob@example.org", input=LETTER)
    assert done.returncode == os.EX_NOUSER
    assert b"nobody@example.org: 5.1.1" in done.stderr
    queue = Queue(str(site.root / "other" / "queue"))
    (entry,) = (queue.open(place) for place in queue.all())
    assert [path.address for path in entry.envelope.forward_paths] == ["bob@example.org"]


@needs_a_stranger
@pytest.mark.parametrize("as_file", [False, True])
def test_a_stranger_speaks_smtp_through_it(site, stranger, tmp_path, as_file):
    stranger.serve(site.root / "other")
    dialog = b"EHLO localhost\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<carol@example.net>\r\nQUIT\r\n"
    if as_file:
        (tmp_path / "dialog").write_bytes(dialog)
        with (tmp_path / "dialog").open("rb") as file:
            done = stranger.sendmail("-bs", stdin=file)
    else:
        done = stranger.sendmail("-bs", input=dialog)
    codes = re.findall(rb"^([0-9]{3}) ", done.stdout, re.M)
    assert codes == [b"220", b"250", b"250", b"250", b"221"]


@needs_a_stranger
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_writes_as_the_owner_of_the_queue(site):
    Queue(str(site.queue)).create()
    for path in (site.root, *site.root.parents):
        if path.stat().st_mode & 0o005 != 0o005 and path.is_relative_to(tempfile.gettempdir()):
            path.chmod(path.stat().st_mode | 0o055)
    for path in (site.queue, *site.queue.rglob("*")):
        os.chown(path, 65534, 65534)
    assert site.run("sendmail", "bob", input=LETTER).returncode == 0
    (entry,) = (site.queue / "new").iterdir()
    assert entry.stat().st_uid == 65534


def test_a_quote_that_does_not_end_takes_no_other_field(site):
    site.run("sendmail", "bob@example.net", input=b'To: "Bob <bob>\nSubject: hello\n\nx\n')
    (path,) = (site.queue / "new").iterdir()
    assert b"\nSubject: hello\n" in path.read_bytes()
