"""Local delivery: what lands in Maildirs, what programs are told, what is sent on."""

import os
import re
import resource
import select
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from mailtools.errors import SystemTrouble
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, DELIVERED, EXPANDED, FAILED
from mailtools.services.access.accounts import Accounts
from mailtools.services.agent import Job
from mailtools.services.local import mailbox
from mailtools.services.local.child import Deputies, Outcome
from mailtools.services.local.delivery import Local
from mailtools.services.local.directory import Directory
from mailtools.store import disk
from mailtools.store.maildir import Maildir
from mailtools.store.queue import Queue

TEXT = b"From: alice@example.net\nSubject: hello\n\nhello\n"
TOP = b"Return-Path: <alice@example.net>\nDelivered-To: bob@example.org\n"


class Host:
    """A site in a folder, and an agent on it; everything runs as the user of the tests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = Queue(f"{root}/queue")
        self.queue.create()
        for name in ("bob", "carol"):
            (root / name).mkdir()
        self.write(
            "accounts", *(f"{name}:{{PLAIN}}x::::{root}/{name}" for name in ("bob", "carol"))
        )
        accounts = Accounts(f"{root}/accounts", local_domains=["example.org"])
        self.directory = Directory(
            "mail.example.org",
            ["example.org"],
            accounts,
            aliases=f"{root}/aliases",
            virtual=f"{root}/virtual",
        )
        self.local = Local(self.directory, self.queue, program_limit=20)

    def write(self, name: str, *lines: str) -> Path:
        path = self.root / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def entry(self, *paths: str, sender: str = "alice@example.net", text: bytes = TEXT, **more):
        told = more.pop("told", {})
        envelope = Envelope(
            sender, tuple(ForwardPath(path, told) for path in paths), more.pop("parameters", {})
        )
        writer = self.queue.begin(envelope)
        writer.write(text)
        return f"{self.queue.path}/new/{writer.commit()}"

    def deliver(self, *paths: str, entry: str = "", **more):
        sender = more.get("sender", "alice@example.net")
        entry = entry or self.entry(*paths, **more)
        return list(self.local.deliver(Job("7", entry, sender, paths)))

    def mail(self, name: str) -> list[bytes]:
        maildir = Maildir(f"{self.root}/{name}/Maildir")
        return [Path(message.path).read_bytes() for message in maildir.messages()]

    def sent_on(self, known: int = 1) -> list[tuple[Envelope, bytes]]:
        entries = [self.queue.open(place) for place in sorted(self.queue.new(), key=lambda p: p.id)]
        return [(entry.envelope, entry.message()) for entry in entries[known:]]


@pytest.fixture
def host(tmp_path: Path, monkeypatch) -> Host:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() or 1000)
    return Host(tmp_path)


def test_a_message_lands_with_its_trace_fields_on_top(host):
    [report] = host.deliver("bob@example.org")
    assert (report.action, report.status) == (DELIVERED, "2.0.0")
    assert host.mail("bob") == [TOP + TEXT]


def test_the_null_reverse_path_and_a_return_path_that_was_there(host):
    text = b"Return-Path: <old@example.com>\n (folded)\nReturn-path: <x@example.com>\n" + TEXT
    host.deliver("bob@example.org", sender="", text=text)
    assert host.mail("bob") == [b"Return-Path: <>\nDelivered-To: bob@example.org\n" + TEXT]


def test_one_report_each_and_unknown_users_fail(host):
    reports = host.deliver("bob@example.org", "eve@example.org", "carol@example.org")
    assert [(r.forward_path, r.action, r.status) for r in reports] == [
        ("bob@example.org", DELIVERED, "2.0.0"),
        ("eve@example.org", FAILED, "5.1.1"),
        ("carol@example.org", DELIVERED, "2.0.0"),
    ]
    assert len(host.mail("carol")) == 1


def test_a_repeated_attempt_delivers_once(host):
    entry = host.entry("bob@example.org")
    for _ in range(2):
        host.local = Local(host.directory, host.queue)  # the agent died, and another is there
        assert host.deliver("bob@example.org", entry=entry)[0].action == DELIVERED
    maildir = Maildir(f"{host.root}/bob/Maildir")
    maildir.change_flags(maildir.messages()[0], add="S")
    host.deliver("bob@example.org", entry=entry)
    assert len(host.mail("bob")) == 1


def test_a_second_attempt_on_record_is_looked_for_by_the_same_agent(host):
    entry = host.entry("bob@example.org")
    host.deliver("bob@example.org", entry=entry)
    disk.append(f"{host.queue.path}/log/{os.path.basename(entry)}", b"x\n")
    host.deliver("bob@example.org", entry=entry)
    assert len(host.mail("bob")) == 1


def test_a_message_that_was_here_already_fails(host):
    text = b"Received: x\nDelivered-To: BOB@example.org\n" + TEXT
    [report] = host.deliver("bob@example.org", text=text)
    assert (report.action, report.status) == (FAILED, "5.4.6")
    [report] = host.deliver("carol@example.org", text=text)
    assert report.action == DELIVERED
    [report] = host.deliver("bob@example.org", text=TEXT + b"Delivered-To: bob@example.org\n")
    assert report.action == DELIVERED  # in the body, where it says nothing


def test_an_alias_of_mailboxes_and_addresses(host):
    host.write("aliases", "team: bob, carol, x@example.com, y@example.com")
    [report] = host.deliver("team@example.org", told={"NOTIFY": "FAILURE"})
    assert report.action == EXPANDED
    assert report.text.startswith(
        "delivered to bob, delivered to carol, sent on to x@example.com, y@example.com as "
    )
    assert len(host.mail("bob")) == len(host.mail("carol")) == 1
    [(envelope, message)] = host.sent_on()
    assert envelope.reverse_path == "alice@example.net"
    assert [path.address for path in envelope.forward_paths] == ["x@example.com", "y@example.com"]
    assert {path.parameters["NOTIFY"] for path in envelope.forward_paths} == {"FAILURE"}
    assert message == b"Delivered-To: team@example.org\n" + TEXT


@pytest.mark.parametrize(
    ("alias", "asked", "status", "passed_on"),
    [
        # RFC 3461 5.2.7.2: an alias of one is told of where it leads ...
        ("x@example.com", "SUCCESS,FAILURE", "2.1.5", "SUCCESS,FAILURE"),
        # ... 5.2.7.3 (c): one of several answers for its success itself.
        ("x@example.com, y@example.com", "SUCCESS,FAILURE", "2.0.0", "FAILURE"),
        ("bob, x@example.com", "success", "2.0.0", "NEVER"),
    ],
)
def test_an_alias_answers_or_has_its_end_answer(host, alias, asked, status, passed_on):
    host.write("aliases", f"team: {alias}")
    [report] = host.deliver("team@example.org", told={"NOTIFY": asked})
    assert (report.action, report.status) == (EXPANDED, status)
    [(envelope, _)] = host.sent_on()
    for path in envelope.forward_paths:
        assert path.parameters == {"NOTIFY": passed_on, "ORCPT": "rfc822;team@example.org"}


def test_what_the_sender_called_the_recipient_is_kept(host):
    host.write("aliases", "team: other", "other: x@example.com")
    host.deliver("team@example.org", told={"ORCPT": "rfc822;first@example.net"})
    [(envelope, _)] = host.sent_on()
    assert envelope.forward_paths[0].parameters == {"ORCPT": "rfc822;first@example.net"}


def test_a_list_with_an_owner_answers_for_its_members(host):
    host.write("aliases", "team: x@example.com", "owner-team: bob")
    host.deliver("team@example.org", told={"NOTIFY": "SUCCESS"}, parameters={"ENVID": "q"})
    host.deliver("team@example.org", sender="")
    listed, bounce = [envelope for envelope, _ in host.sent_on(0) if "x@" in str(envelope)]
    assert listed.reverse_path == "owner-team@example.org"
    assert (listed.parameters, listed.forward_paths[0].parameters) == ({}, {})
    assert bounce.reverse_path == ""


def test_forwarding_in_a_circle_ends(host):
    host.write("aliases", "team: there@example.com")
    host.deliver("team@example.org")
    [(_, message)] = host.sent_on()
    [report] = host.deliver("team@example.org", text=message)
    assert (report.action, report.status) == (FAILED, "5.4.6")


def test_what_must_wait_has_sent_nothing_on(host):
    host.write("accounts", f"bob:{{PLAIN}}x::::{host.root}/bob::quota=10")
    host.write("aliases", f'team: bob, x@example.com, "|touch {host.root}/ran"')
    [report] = host.deliver("team@example.org")
    assert (report.action, report.status) == (DELAYED, "4.2.2")
    assert host.sent_on() == []
    assert not (host.root / "ran").exists()


def test_a_program_of_an_alias(host):
    out = host.root / "out"
    host.write("aliases", f'run: "|(env; cat) > {out}; exit 0"')
    [report] = host.deliver("run+ext-a@example.org")
    assert report.action == DELIVERED
    said = out.read_bytes()
    for line in (
        b"SENDER=alice@example.net",
        b"RECIPIENT=run+ext-a@example.org",
        b"LOCAL=run+ext-a",
        b"HOST=example.org",
        b"HOST2=example",
        b"DTLINE=Delivered-To: run+ext-a@example.org",
    ):
        assert line + b"\n" in said
    assert said.endswith(b"Delivered-To: run+ext-a@example.org\n" + TEXT)
    assert b"MAILTOOLS" not in said  # nothing of our own environment


@pytest.mark.parametrize(
    ("code", "action", "status"),
    [
        (0, DELIVERED, "2.0.0"),
        (99, DELIVERED, "2.0.0"),
        (75, DELAYED, "4.3.0"),
        (111, DELAYED, "4.3.0"),
        (71, DELAYED, "4.3.0"),
        (78, DELAYED, "4.3.0"),
        (1, DELAYED, "4.3.0"),
        (127, DELAYED, "4.3.0"),
        (100, FAILED, "5.0.0"),
        (64, FAILED, "5.5.4"),
        (67, FAILED, "5.1.1"),
        (77, FAILED, "5.7.0"),
    ],
)
def test_exit_codes(host, code, action, status):
    host.write("aliases", f'run: "|echo first; echo no good >&2; exit {code}"')
    [report] = host.deliver("run@example.org")
    assert (report.action, report.status) == (action, status)
    if action != DELIVERED:
        assert report.text == f"The program ended with exit code {code}: no good"


def ended(pid: int) -> bool:
    """Wait until a process that was killed is gone, whoever takes note of its end."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ready, _, _ = select.select([process], [], [], 20)
    finally:
        os.close(process)
    return bool(ready)


def test_a_program_that_does_not_end_is_killed_with_its_children(host):
    pids = host.root / "pids"
    host.write("aliases", f'run: "|sleep 1000 & echo $! > {pids}; wait"')
    limit = 0.3
    while not pids.exists() or not pids.read_text():  # a busy machine begins it late
        host.local = Local(host.directory, host.queue, program_limit=limit)
        [report] = host.deliver("run@example.org")
        assert report.action == DELAYED
        assert "longer than" in report.text
        limit *= 2
    assert ended(int(pids.read_text()))


def test_a_program_that_reads_nothing_and_one_that_is_killed(host):
    host.write("aliases", "deaf: |true", 'dead: "|kill -9 $$"')
    assert host.deliver("deaf@example.org", text=TEXT + b"x" * 10**6)[0].action == DELIVERED
    [report] = host.deliver("dead@example.org")
    assert (report.action, report.text) == (DELAYED, "The program was ended by SIGKILL")


def test_a_maildir_of_an_alias_and_nothing(host):
    host.write("aliases", f"archive: {host.root}/carol/Maildir/", "null: /dev/null")
    assert host.deliver("archive@example.org")[0].action == DELIVERED
    assert host.deliver("null@example.org")[0].action == DELIVERED
    assert len(host.mail("carol")) == 1


# -- .forward and .qmail --------------------------------------------------------------------------


def test_forward_with_a_copy_kept(host):
    host.write("bob/.forward", r"\bob, bob@example.com", "# and", '"|cat >> $HOME/log"')
    [report] = host.deliver("bob@example.org")
    assert report.action == EXPANDED
    assert report.text.startswith("delivered to bob, program cat, sent on to bob@example.com as ")
    assert host.mail("bob") == [TOP + TEXT]
    assert (host.root / "bob" / "log").read_bytes() == TOP + TEXT
    [(envelope, _)] = host.sent_on()
    assert [path.address for path in envelope.forward_paths] == ["bob@example.com"]


def test_forward_to_oneself_is_the_mailbox(host):
    host.write("bob/.forward", "bob@example.org", "bob", "carol")
    host.deliver("bob@example.org")
    assert len(host.mail("bob")) == 1
    [(envelope, _)] = host.sent_on()
    assert [path.address for path in envelope.forward_paths] == ["carol@example.org"]


def test_an_empty_forward_is_none_and_a_broken_one_waits(host):
    path = host.write("bob/.forward", "", "# nothing")
    assert host.deliver("bob@example.org")[0].action == DELIVERED
    path.write_text("/var/mail/bob\n")
    [report] = host.deliver("bob@example.org")
    assert (report.action, report.status) == (DELAYED, "4.3.5")
    path.write_text("x@example.com\n")
    path.chmod(0o666)
    assert host.deliver("bob@example.org")[0].status == "4.3.5"
    path.unlink()
    path.mkdir()  # a folder of that name in a Maildir that is a home
    assert host.deliver("bob@example.org")[0].action == DELIVERED


def test_forward_of_an_extension(host):
    host.write("bob/.forward", "x@example.com")
    host.write("bob/.forward+lists", "y@example.com")
    host.deliver("bob+lists@example.org")
    host.deliver("bob+other@example.org")
    sent = [envelope.forward_paths[0].address for envelope, _ in host.sent_on(0)]
    assert [address for address in sent if "example.com" in address] == [
        "y@example.com",
        "x@example.com",
    ]


def test_dot_qmail(host):
    host.write(
        "bob/.qmail",
        "# comment",
        "|cat > $HOME/one",
        "&x@example.com",
        "y@example.com",
        "./Maildir/",
        "|exit 99",
        "|touch $HOME/two",
        "z@example.com",
    )
    [report] = host.deliver("bob@example.org")
    assert report.action == EXPANDED
    assert (host.root / "bob" / "one").read_bytes() == TEXT  # preline(1) adds what is on top
    assert not (host.root / "bob" / "two").exists()
    assert len(host.mail("bob")) == 1
    [(envelope, _)] = host.sent_on()
    assert [path.address for path in envelope.forward_paths] == ["x@example.com", "y@example.com"]


def test_dot_qmail_of_extensions(host):
    host.write("bob/.qmail-my:list", "a@example.com")
    host.write("bob/.qmail-x-default", "b@example.com")
    host.write("bob/.qmail-default", "c@example.com")
    for extension in ("My.List", "x-y-z", "other"):
        host.deliver(f"bob+{extension}@example.org")
    sent = [envelope.forward_paths[0].address for envelope, _ in host.sent_on(0)]
    assert [address for address in sent if address.endswith(".com")] == [
        "a@example.com",
        "b@example.com",
        "c@example.com",
    ]


# -- trouble --------------------------------------------------------------------------------------


def test_a_full_disk_delays_and_leaves_nothing(host, monkeypatch):
    host.deliver("bob@example.org")
    entry = host.entry("bob@example.org")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    [report] = host.deliver("bob@example.org", entry=entry)
    monkeypatch.undo()
    assert (report.action, report.status) == (DELAYED, "4.3.1")
    assert os.listdir(host.root / "bob" / "Maildir" / "tmp") == []
    assert len(host.mail("bob")) == 1


def test_names_sizes_and_quota_are_what_readers_expect(host):
    host.write("accounts", f"bob:{{PLAIN}}x::::{host.root}/bob::quota=1M")
    host.deliver("bob@example.org")
    [name] = os.listdir(host.root / "bob" / "Maildir" / "new")
    size = len(TOP + TEXT)
    assert re.fullmatch(
        rf"[0-9]+\.M[0-9]+P[0-9]+R\w+Q[0-9a-f]{{8}}\.[^,]+,S={size},W={size + 6}", name
    )
    lines = (host.root / "bob" / "Maildir" / "maildirsize").read_text().split("\n")
    assert lines[0] == "1048576S,0C"
    assert sum(int(line.split()[0]) for line in lines[1:] if line) == size


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody")
def test_root_becomes_the_owner_and_never_delivers_as_root(tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o011)
    host = Host(tmp_path)
    os.chown(host.root / "bob", 12345, 12346)
    host.write(
        "accounts",
        f"bob:{{PLAIN}}x:12345:12346::{host.root}/bob",
        f"carol:{{PLAIN}}x::::{host.root}/carol",
    )
    forward = host.write("bob/.forward", r"\bob, x@example.com", '"|id -u > $HOME/who"')
    os.chown(forward, 12345, -1)
    os.chown(f"{host.queue.path}", 23456, 23456)
    for folder in ("tmp", "new"):
        os.chown(f"{host.queue.path}/{folder}", 23456, 23456)
    host.write("aliases", f'run: "|id -u > {tmp_path}/open/who"', f"md: {tmp_path}/carol/Maildir/")
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    reports = host.deliver(*(f"{name}@example.org" for name in ("bob", "carol", "run", "md")))
    assert [report.action for report in reports] == [EXPANDED, DELAYED, DELIVERED, DELAYED]
    [message] = Maildir(f"{host.root}/bob/Maildir").messages()
    assert os.stat(message.path).st_uid == 12345
    assert (host.root / "bob" / "who").read_text() == "12345\n"
    assert (tmp_path / "open" / "who").read_text() == "65534\n"
    assert sorted(os.stat(place.path).st_uid for place in host.queue.new()) == [0, 23456]
    # The owner's process stays for the next message, and another takes its place when it dies.
    forward.unlink()
    [deputy] = [d for owner, d in host.local._deputies._deputies.items() if owner[0] == 12345]
    assert Path(f"/proc/{deputy.pid}/status").read_text().count("12345\t12345\t12345\t12345") == 1
    assert host.deliver("bob@example.org")[0].action == DELIVERED
    os.kill(deputy.pid, 9)
    actions = [host.deliver("bob@example.org")[0].action for _ in range(2)]
    assert actions == [DELAYED, DELIVERED]
    host.local.close()
    assert len(os.listdir(host.root / "bob" / "Maildir" / "new")) == 3
    assert os.geteuid() == 0


def test_what_a_program_says_without_end_fills_nobodys_memory(host):
    host.write("aliases", 'run: "|head -c 300000000 /dev/zero; echo; echo the end; exit 100"')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    [report] = host.deliver("run@example.org")
    assert report.text == "The program ended with exit code 100: the end"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 50_000  # KiB


def test_who_holds_a_programs_output_open_is_not_waited_for(host):
    host.write("aliases", 'run: "|sleep 1000 & echo $!; exit 100"')
    [report] = host.deliver("run@example.org")
    assert report.action == FAILED
    os.kill(int(report.text.rpartition(" ")[2]), 9)


def test_programs_of_one_mailbox_share_their_time(host, monkeypatch):
    host.write("bob/.qmail", f"|echo x >>{host.root}/ran", f"|echo x >>{host.root}/ran")
    host.local = Local(host.directory, host.queue, program_limit=150)
    ticks = iter(range(0, 1000, 100))
    monkeypatch.setattr(mailbox, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    [report] = host.deliver("bob@example.org")
    assert (report.action, "too long" in report.text) == (DELAYED, True)
    assert (host.root / "ran").read_text() == "x\n"


@pytest.mark.parametrize("name", ["maildirsize", "new/1", "cur/1:2,S"])
def test_a_fifo_in_a_maildir_is_not_waited_for(host, name):
    maildir = Maildir(f"{host.root}/bob/Maildir")
    maildir.create()
    os.mkfifo(f"{maildir.path}/{name}")
    host.write("accounts", f"bob:{{PLAIN}}x::::{host.root}/bob::quota=1G")
    assert host.deliver("bob@example.org")[0].action == DELAYED
    host.write("accounts", f"bob:{{PLAIN}}x::::{host.root}/bob::")
    # Without a quota nobody asks what the others weigh.
    assert host.deliver("bob@example.org")[0].action in (DELIVERED, DELAYED)


@pytest.mark.skipif(os.getuid() != 0, reason="only root has deputies")
def test_a_deputy_that_is_stopped_keeps_nobody_waiting(tmp_path):
    deputies = Deputies(lambda order, message: Outcome(order["text"]), 1.0)
    owner = (12345, 12345, "")
    assert deputies.do(owner, {"text": "once"}, b"x" * 10**6).text == "once"
    [deputy] = deputies._deputies.values()
    os.kill(deputy.pid, signal.SIGSTOP)
    with pytest.raises(SystemTrouble) as raised:
        deputies.do(owner, {"text": "x"}, b"x" * 10**6)
    assert "fell silent" in raised.value.detail
    assert deputies.do(owner, {"text": "again"}, b"").text == "again"
    deputies.close()
