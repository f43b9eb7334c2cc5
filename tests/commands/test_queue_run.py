"""One pass of queue-run, with small agents of every kind: honest, lying, dying, deaf."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import BIN
from queuehost import HONEST, SLOW, Host, log_lines

from mailtools.store.destinations import Destinations
from mailtools.store.entry import State


@pytest.fixture
def host(site: Any) -> Host:
    return Host(site)


def test_one_pass_settles_puts_off_and_bounces(host: Host) -> None:
    first = host.put("bob@example.org", "carol@example.net")
    second = host.put("slow@example.org", "bad@example.net")
    result = host.run()
    assert result.returncode == 0, result.stderr
    assert host.queue.find(first) is None
    place = host.queue.find(second)
    assert place
    assert place.state is State.WAIT
    assert place.due > time.time() + 200
    log = result.stderr.decode()
    assert f"delivered id={first} to=bob@example.org status=2.0.0 " in log
    assert f"delayed id={second} to=slow@example.org status=4.2.2 " in log
    assert f"failed id={second} to=bad@example.net status=5.1.1 " in log
    assert f"notified id={second} of=failed to=alice@example.com " in log
    # The DSN was delivered in the same pass.
    assert "relay-send alice@example.com" in host.tried
    assert list(host.queue.new()) == []


def test_a_second_pass_tries_only_what_is_due(host: Host) -> None:
    host.put("slow@example.org")
    host.run()
    host.put("bob@example.org")
    host.run()
    assert host.tried == ["local-deliver slow@example.org", "local-deliver bob@example.org"]


def test_an_empty_queue_is_made_and_needs_no_agent(host: Host) -> None:
    result = host.run()
    assert (result.returncode, result.stderr, host.tried) == (0, b"", [])


def test_dry_run_only_tells(host: Host) -> None:
    id_ = host.put("bob@example.org", "carol@example.net")
    result = host.run("--dry-run")
    agents = host.agents
    assert result.stdout.decode() == (
        f"{id_}\t{agents}/local-deliver\tlocal-deliver\tbob@example.org\n"
        f"{id_}\t{agents}/relay-send\texample.net\tcarol@example.net\n"
    ).replace("\tlocal-deliver\tbob", "\texample.org\tbob")
    assert host.tried == []
    assert host.queue.find(id_)


def test_id_is_tried_due_or_not_and_alone(host: Host) -> None:
    first = host.put("slow@example.org")
    host.run()
    host.put("bob@example.org")
    result = host.run("--id", first)
    assert result.returncode == 0
    assert host.tried == ["local-deliver slow@example.org"] * 2
    assert len(list(host.queue.new())) == 1


def test_an_unknown_id_is_said(host: Host) -> None:
    result = host.run("--id", "1.M2P3R4")
    assert result.returncode == os.EX_NOINPUT
    assert result.stderr == b"queue-run: No such entry in the queue: 1.M2P3R4\n"


def test_domain_is_tried_though_it_was_silent(host: Host) -> None:
    host.put("silent@example.net", "slow@example.com")
    host.run()
    assert Destinations(f"{host.queue.path}/dest").failures("example.net") == 1
    host.tried_file.unlink()
    assert host.run("--domain", "EXAMPLE.net").returncode == 0
    assert host.tried == ["relay-send silent@example.net"]


def test_a_dot_before_a_domain_is_its_subdomains(host: Host) -> None:
    paths = (
        "slow@example.net",
        "slow@a.example.net",
        "slow@badexample.net",
        "slow@a.b\u00fccher.test",
    )
    host.put(*paths)
    host.run()
    host.tried_file.unlink()
    assert host.run("--domain", ".example.net").returncode == 0
    assert host.tried == ["relay-send slow@a.example.net"]
    assert host.run("--domain", ".B\u00dcCHER.test").returncode == 0
    assert host.tried[1:] == ["relay-send slow@a.b\u00fccher.test"]


def test_wait_goes_with_nothing_else(host: Host) -> None:
    assert host.run("--wait", "--id", "1.M2P3R4").returncode == os.EX_USAGE


def test_every_fault_of_the_control_folder_is_said(host: Host) -> None:
    host.site.set("lifetime", "soon")
    host.site.set("retry-first", "later")
    result = host.run()
    assert result.returncode == os.EX_CONFIG
    assert b"lifetime" in result.stderr
    assert b"retry-first" in result.stderr


def test_a_silent_destination_is_left_alone(host: Host) -> None:
    host.put("silent@example.net")
    host.run()
    second = host.put("bob@example.net")
    result = host.run()
    assert host.tried == ["relay-send silent@example.net"]
    assert f"delayed id={second} to=bob@example.net status=4.4.1 ".encode() in result.stderr
    assert b"Not tried" in result.stderr
    third = host.put("bob@example.com")  # others are tried
    host.run()
    assert host.queue.find(third) is None


DIES = """
import os, sys
print("ready 1 jobs=5", flush=True)
for line in sys.stdin.buffer:
    job, path, sender, *paths = line.rstrip(b"\\n").decode().split("\\t")
    for path in paths:
        if path.startswith("kill"):
            os._exit(7)
        print(job, path, "delivered", "2.0.0", "ok", sep="\\t", flush=True)
"""


def test_one_message_alone_finds_out_whether_a_host_is_back(host: Host) -> None:
    """Also where cron starts each run, and nothing is remembered but what is on disk."""
    for number in range(10):
        host.put(f"silent{number}@example.net" if number else "silent@example.net")
    host.agent("relay-send", HONEST.replace('word = path.partition("@")[0]', 'word = "silent"'))
    known = Destinations(f"{host.queue.path}/dest")
    known.failed("example.net", time.time() - 1, "4.4.1", "nobody there")
    result = host.run()
    assert len(host.tried) == 1
    assert result.stderr.count(b'text="Not tried, since example.net did not answer') == 9


def test_an_agent_that_dies_delays_what_it_did_not_report_and_is_started_again(host: Host) -> None:
    host.agent("local-deliver", DIES)
    process = host.start()
    deadly = host.put("bob@example.org", "kill@example.org", "carol@example.org")
    lines = log_lines(process, "delayed ", 2)
    assert all(f" id={deadly} " in line and " status=4.3.0 " in line for line in lines)
    good = host.put("dave@example.org")
    assert f" id={good} " in log_lines(process, "delivered ")[0]
    entry = host.queue.open(deadly)
    assert [path.address for path in entry.pending] == ["kill@example.org", "carol@example.org"]
    assert entry.journal.last["bob@example.org"].action == "delivered"


LIES = """
import sys
print("ready 1 jobs=1", flush=True)
for line in sys.stdin.buffer:
    job, path, sender, *paths = line.rstrip(b"\\n").decode().split("\\t")
    say = lambda *words: print(*words, sep="\\t", flush=True)
    say("99", paths[0], "delivered", "2.0.0", "of no job")
    say(job, "eve@example.org", "delivered", "2.0.0", "not asked for")
    say("nonsense")
    say(job, paths[0], "eaten", "2.0.0", "no such action")
    sys.stdout.buffer.write(b"\\xff\\xfe\\t\\t\\n")
    say(job, paths[0], "delayed", "4.2.0", "the truth")
    say(job, paths[0], "delivered", "2.0.0", "too late")
"""


def test_a_lying_agent_is_not_believed(host: Host) -> None:
    host.agent("local-deliver", LIES)
    id_ = host.put("bob@example.org")
    result = host.run()
    assert result.returncode == 0
    assert result.stderr.count(b"misheard ") == 6
    assert host.queue.open(id_).journal.last["bob@example.org"].text == "the truth"


FORGETS = """
import sys
print("ready 1 jobs=5", flush=True)
for line in sys.stdin.buffer:
    job, path, sender, first, *paths = line.rstrip(b"\\n").decode().split("\\t")
    print(job, first, "delivered", "2.0.0", "ok", sep="\\t", flush=True)
    break
"""


def test_a_missing_report_is_a_delay(host: Host) -> None:
    host.agent("local-deliver", FORGETS)
    id_ = host.put("bob@example.org", "carol@example.org")
    assert host.run().returncode == 0
    entry = host.queue.open(id_)
    assert [path.address for path in entry.pending] == ["carol@example.org"]
    assert entry.journal.last["carol@example.org"].status == "4.3.0"


@pytest.mark.parametrize(
    "text",
    ["import sys; sys.exit(3)", "print('hello', flush=True); input()", "print('ready 2')", None],
    ids=["dies at once", "another language", "another version", "is not there"],
)
def test_an_agent_that_cannot_be_used_delays_its_mail_only(host: Host, text: str | None) -> None:
    if text is None:
        (host.agents / "local-deliver").unlink()
    else:
        host.agent("local-deliver", text)
    first = host.put("bob@example.org")
    second = host.put("carol@example.net")
    result = host.run()
    assert result.returncode == 0, result.stderr
    assert host.queue.open(first).journal.last["bob@example.org"].status == "4.3.0"
    assert host.queue.find(second) is None
    assert b"Traceback" not in result.stderr


def test_a_shell_script_can_be_an_agent(host: Host) -> None:
    own = host.agents / "own"
    own.write_text(
        "#!/bin/sh\n"
        "echo 'ready 1'\n"
        "tab=$(printf '\\t')\n"
        'while IFS="$tab" read -r job path sender forward; do\n'
        '  printf "%s\\t%s\\trelayed\\t2.0.0\\t%s\\n" "$job" "$forward" "by hand"\n'
        "done\n"
    )
    own.chmod(0o755)
    id_ = host.put("bob@own.test")
    result = host.run()
    assert f"relayed id={id_} to=bob@own.test status=2.0.0 ".encode() in result.stderr
    assert host.queue.find(id_) is None


def test_many_messages_to_many_places(host: Host) -> None:
    ids = [
        host.put(f"u{n}@example.org", f"v{n}@d{n % 7}.example.net", sender=f"s{n % 3}@example.com")
        for n in range(150)
    ]
    result = host.run()
    assert result.returncode == 0
    assert list(host.queue.all()) == []
    assert result.stderr.count(b"removed id=") == len(ids)
    assert list(Path(host.queue.path, "log").iterdir()) == []


def test_what_the_disk_refuses_stays_and_is_said(host: Host) -> None:
    id_ = host.put("bad@example.org")
    Path(host.queue.path, "log", id_).symlink_to("/nowhere/at/all")  # no journal can be written
    result = host.run()
    assert result.returncode == os.EX_TEMPFAIL
    assert f"trouble id={id_} ".encode() in result.stderr
    assert [place.id for place in host.queue.all()] == [id_]  # and no DSN before its journal


def test_a_journal_that_cannot_be_read_keeps_its_entry_untried(host: Host) -> None:
    id_ = host.put("bob@example.org")
    Path(host.queue.path, "log", id_).mkdir()
    other = host.put("carol@example.org")
    result = host.run()
    assert f"trouble id={id_} ".encode() in result.stderr
    assert b"Traceback" not in result.stderr
    assert host.queue.find(id_)
    assert host.queue.find(other) is None
    assert host.tried == ["local-deliver carol@example.org"]


def test_what_goes_to_a_silent_destination_waits_for_all_else_and_is_then_put_off(
    host: Host,
) -> None:
    """One look finds both; to put thousands off is not what others wait for."""
    until = time.time() + 3600
    silent = [host.put(f"u{number}@example.net") for number in range(30)]
    Destinations(f"{host.queue.path}/dest").failed("example.net", until, "4.4.1", "nobody there")
    host.agent("local-deliver", SLOW)
    os.mkfifo(host.agents / "local-deliver.gate")
    host.site.set("local-agents", "1")
    ours = [host.put(f"u{number}@example.org") for number in range(3)]
    process = subprocess.Popen(
        [sys.executable, str(BIN / "queue-run")], env=host.environ, stderr=subprocess.PIPE
    )
    host.site.running.append(process)
    log_lines(process, "begun")
    for _ in ours:
        (host.agents / "local-deliver.gate").write_text("")
        log_lines(process, "delivered ")
    assert process.wait(60) == 0
    places = [host.queue.find(id_) for id_ in silent]
    assert [place and place.state for place in places] == [State.WAIT] * 30


def test_what_an_operator_sent_another_way_does_not_wait_with_the_others(host: Host) -> None:
    silent = [host.put(f"u{number}@example.net") for number in range(30)]
    host.queue.reroute(silent[-1], "127.0.0.1:1")
    until = time.time() + 3600
    Destinations(f"{host.queue.path}/dest").failed("example.net", until, "4.4.1", "nobody there")
    host.agent("local-deliver", SLOW)
    os.mkfifo(host.agents / "local-deliver.gate")
    host.site.set("local-agents", "1")
    host.put("bob@example.org")
    process = subprocess.Popen(
        [sys.executable, str(BIN / "queue-run")], env=host.environ, stderr=subprocess.PIPE
    )
    host.site.running.append(process)
    log_lines(process, f"attempted id={silent[-1]}")  # while what is ours is still in hand
    (host.agents / "local-deliver.gate").write_text("")
    assert process.wait(60) == 0


def test_a_rate_of_a_destination_makes_the_pass_wait_for_it(host: Host) -> None:
    host.site.set("destination-limits", "example.net:1/1200")
    for _ in range(3):
        host.put("carol@example.net", sender="")
    assert host.run().returncode == 0
    assert host.tried == ["relay-send carol@example.net"] * 3
    host.site.set("destination-limits", "example.net:none")
    result = host.run()
    assert result.returncode == os.EX_CONFIG
    assert b"example.net: 'none' is no limit" in result.stderr


SENDERS = HONEST.replace("{name} {','.join(paths)}", "{sender} {','.join(paths)}")


@pytest.mark.parametrize(
    "flags", [("-XV", "-f", "l@example.org"), ("-XV-=", "-f", "l@example.org"),
              ("-f", "l-@example.org-@[]")]
)  # fmt: skip
def test_verp_gives_each_recipient_its_reverse_path(host: Host, flags: tuple[str, ...]) -> None:
    host.agent("local-deliver", SENDERS)
    host.agent("relay-send", SENDERS)
    words = ("bob@example.net", "bad@example.net", "carol@example.org")
    done = host.site.run("sendmail", *flags, *words, input=b"Subject: x\n\nbody\n")
    assert done.returncode == 0, done.stderr
    result = host.run()
    mark = "+" if "-XV" in flags else "-"
    assert sorted(host.tried) == sorted(
        [f"l{mark}{word.replace('@', '=')}@example.org {word}" for word in words]
        + [f" l{mark}bad=example.net@example.org"]  # the notification
    )
    assert f"of=failed to=l{mark}bad=example.net@example.org" in result.stderr.decode()
    assert list(host.queue.all()) == []
