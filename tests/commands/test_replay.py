"""What is over and kept, and sent again: to all, to whom it failed for, or to somebody else."""

import os
import time
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from queuehost import Host

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.store.entry import Entry
from mailtools.store.kept import Kept

DAY = 86400


@pytest.fixture
def host(site: Any) -> Host:
    return Host(site)


def finished(host: Host, *paths: str, sender: str = "alice@example.com") -> str:
    id_ = host.put(*paths, sender=sender)
    assert host.run().returncode == 0
    assert host.queue.find(id_) is None
    return id_


def replay(host: Host, *words: str, input: bytes = b"") -> list[Entry]:
    done = host.site.run("queue-edit", "replay", *words, input=input)
    assert done.returncode == 0, done.stderr
    return [host.queue.open(id_) for id_ in done.stdout.decode().split()]


def kept(host: Host) -> set[str]:
    return {place.id for place in Kept(host.queue).all()}


def test_a_failed_message_is_sent_again_to_whom_it_failed_for(host: Host) -> None:
    old = finished(host, "bob@example.net", "bad@example.net", "bad@example.org")
    (copy,) = replay(host, "--failed", old)
    assert [path.address for path in copy.pending] == ["bad@example.net", "bad@example.org"]
    assert copy.envelope.reverse_path == "alice@example.com"
    mark, *others = message_from_bytes(copy.message()).get_all("Received") or []
    assert f"replay of {old})" in mark
    assert f"id {copy.id};" in mark
    assert others == []
    assert copy.message().endswith(b"Subject: x\n\nbody\n")
    assert replay(host, old)[0].envelope.forward_paths == tuple(
        map(ForwardPath, ("bob@example.net", "bad@example.net", "bad@example.org"))
    )
    (to_another,) = replay(host, "--to", "carol@example.com", "--to", "dora@example.com", old)
    assert [path.address for path in to_another.pending] == [
        "carol@example.com",
        "dora@example.com",
    ]
    assert kept(host) == {old}


def test_what_was_refused_by_a_provider_is_listed_and_sent_again(host: Host) -> None:
    olds = {finished(host, "bad@example.net", f"bob{number}@example.com") for number in range(3)}
    finished(host, "bad@example.org")
    listed = host.site.run("queue-list", "--state", "done", "--to", "*@example.net").stdout
    assert {line.split("\t")[0] for line in listed.decode().splitlines()} == olds
    assert b"\tmx said 550 5.1.1 nobody\n" in listed
    assert host.site.run("queue-list").stdout == b""
    copies = replay(host, "--failed", input=listed)
    assert [path.address for copy in copies for path in copy.pending] == ["bad@example.net"] * 3


def test_a_copy_goes_out_though_a_rule_holds_such_mail_and_is_told_of(host: Host) -> None:
    old = finished(host, "bad@example.net")
    why = host.site.run("mail-why", old).stdout.decode()
    assert f"do        queue-edit replay --failed {old}\n" in why
    host.site.set("hold", "to *")
    host.agent("relay-send", (host.agents / "relay-send").read_text().replace('"bad"', '"worse"'))
    (copy,) = replay(host, "--failed", old)
    assert host.run().returncode == 0
    assert host.queue.find(copy.id) is None
    why = host.site.run("mail-why", old).stdout.decode()
    assert f" by the operator, as {copy.id}\n" in why
    assert f"\n{copy.id}  relayed " in why.replace("  delivered ", "  relayed ")
    assert "replay --failed" not in why
    why = host.site.run("mail-why", "bad@example.net").stdout.decode()
    assert f"came of   {old} (a copy)" in why
    assert f"by the operator, as a copy of {old}" in why
    assert "replay --failed" not in why  # it was done


def test_a_copy_does_not_wait_as_its_sender_once_wanted(host: Host) -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2 * DAY))
    parameters = {"HOLDUNTIL": soon, "ENVID": "7"}
    writer = host.queue.begin(
        Envelope("alice@example.com", (ForwardPath("bob@example.net"),), parameters)
    )
    writer.write(b"Subject: x\n\nbody\n")
    (copy,) = replay(host, writer.commit())
    assert dict(copy.envelope.parameters) == {"ENVID": "7"}


def test_who_got_it_all_is_nobody_to_send_it_to_again(host: Host) -> None:
    host.site.set("keep-delivered", "1d")
    old = finished(host, "bob@example.net")
    assert kept(host) == {old}
    done = host.site.run("queue-edit", "replay", "--failed", old)
    assert (done.returncode, b"failed for nobody" in done.stderr) == (os.EX_DATAERR, True)
    assert replay(host, old)[0].envelope.forward_paths == (ForwardPath("bob@example.net"),)


@pytest.mark.parametrize(
    ("setting", "path", "sender"),
    [
        ("keep-failed", "bad@example.net", "alice@example.com"),
        ("", "bob@example.net", "alice@example.com"),
        ("", "bad@example.net", ""),
    ],
)
def test_what_nobody_asked_to_keep_is_gone(
    host: Host, setting: str, path: str, sender: str
) -> None:
    if setting:
        host.site.set(setting, "0")
    finished(host, path, sender=sender)
    assert kept(host) == set()
    assert os.listdir(f"{host.queue.path}/log") == []


def test_what_is_over_can_be_shown_and_removed_but_no_longer_moved(host: Host) -> None:
    old = finished(host, "bad@example.net")
    for verb in ("hold", "release", "retry", "expire"):
        done = host.site.run("queue-edit", verb, old)
        assert (done.returncode, b"is over" in done.stderr) == (os.EX_NOINPUT, True)
    shown = host.site.run("queue-edit", "show", old).stdout
    assert b"\nSubject: x\n" in shown
    assert b"\tbad@example.net\tfailed\t5.1.1\t" in shown
    assert host.site.run("queue-edit", "remove", old).returncode == 0
    assert kept(host) == set()
    assert os.listdir(f"{host.queue.path}/log") == []


def test_what_was_kept_long_enough_goes_with_its_journal(host: Host) -> None:
    old = finished(host, "bad@example.net")
    Kept(host.queue).sweep(time.time() + 2 * DAY)
    assert kept(host) == {old}
    Kept(host.queue).sweep(time.time() + 5 * DAY)
    assert os.listdir(f"{host.queue.path}/done") == []
    assert os.listdir(f"{host.queue.path}/log") == []


def test_an_entry_that_was_put_back_keeps_its_journal(host: Host) -> None:
    old = finished(host, "bad@example.net")
    (place,) = Kept(host.queue).all()
    Path(host.queue.path, "hold", old).write_bytes(Path(place.path).read_bytes())
    Kept(host.queue).sweep(time.time() + 5 * DAY)
    assert host.queue.open(old).pending == []


def test_nothing_is_kept_where_the_disk_is_nearly_full(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(host, "bad@example.net")
    entry = host.queue.open(host.put("bad@example.net"))
    real = os.statvfs(host.queue.path)
    few = os.statvfs_result((*real[:4], real.f_blocks // 50, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: few)
    assert not Kept(host.queue).put(entry, time.time())
    assert host.queue.find(entry.id)
    assert kept(host) == set()  # what was kept makes room


@pytest.mark.parametrize(
    "words",
    [("hold", "--failed"), ("replay", "--failed", "--to", "a@b.test"), ("show", "--to", "a@b")],
)
def test_options_that_go_with_replay_alone(host: Host, words: tuple[str, ...]) -> None:
    assert host.site.run("queue-edit", *words, "1.M1P1R1").returncode == os.EX_USAGE
