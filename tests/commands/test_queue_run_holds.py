"""What queue-run leaves alone: what rules hold, suppressed addresses, another host's queue."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from queuehost import Host, log_lines

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.store.entry import State


@pytest.fixture
def host(site: Any) -> Host:
    return Host(site)


def test_rules_hold_new_messages_until_they_are_released(host: Host) -> None:
    host.site.set("hold", "from <>", "to *@EXAMPLE.org", "client 192.0.2.0/24")
    null = host.put("carol@example.net", sender="")
    to = host.put("dora@example.net", "bob@example.org")
    envelope = Envelope("x@example.com", (ForwardPath("c@example.net"),), {}, "192.0.2.7 mail.test")
    writer = host.queue.begin(envelope)
    client = writer.commit()
    free = host.put("erin@example.net")
    preview = host.run("--dry-run").stdout.decode()
    assert f"{to}\thold\t\tto *@EXAMPLE.org" in preview
    result = host.run()
    held = {line for line in result.stderr.decode().splitlines() if line.startswith("held")}
    assert held == {
        f'held id={null} rule="from <>"',
        f'held id={to} rule="to *@EXAMPLE.org"',
        f'held id={client} rule="client 192.0.2.0/24"',
    }
    assert {place.id for place in host.queue.held()} == {null, to, client}
    assert host.tried == ["relay-send erin@example.net"]
    assert host.queue.find(free) is None
    # Released is released: rules do not catch it again, nor when it waits and is tried anew.
    assert host.site.run("queue-edit", "release", to).returncode == 0
    assert host.run("--id", null).returncode == 0
    assert host.run().returncode == 0
    assert {place.id for place in host.queue.all()} == {client}
    assert "local-deliver bob@example.org" in host.tried


def test_rules_leave_alone_what_was_tried_before_they_came(host: Host) -> None:
    old = host.put("slow@example.net")
    host.run()
    host.site.set("hold", "to *")
    assert host.site.run("queue-edit", "retry", old).returncode == 0
    assert b"delayed" in host.run().stderr
    place = host.queue.find(old)
    assert place
    assert place.state is State.WAIT


def test_what_is_no_rule_is_said_with_its_line(host: Host) -> None:
    host.site.set("hold", "to *@example.net", "sender x", "client host.test")
    result = host.run()
    assert result.returncode == os.EX_CONFIG
    assert b"hold:2: 'sender x' is no rule" in result.stderr
    assert b"hold:3: 'host.test' is neither an IP address nor a network" in result.stderr


def test_an_address_refused_as_unknown_is_not_tried_again_until_it_is_lifted(host: Host) -> None:
    host.site.set("suppress", "30d")
    first = host.put("bad@example.net", "bob@example.net")
    log = host.run().stderr.decode()
    assert f"suppressed id={first} to=bad@example.net status=5.1.1" in log
    tried = host.tried
    assert "relay-send bad@example.net,bob@example.net" in tried
    # Local addresses are ours to know: they are looked up each time.
    host.put("bad@example.org")
    host.run()
    second = host.put("BAD@example.net", "carol@example.net", sender="dora@example.com")
    log = host.run().stderr.decode()
    (line,) = [line for line in log.splitlines() if line.startswith(f"failed id={second} ")]
    assert "to=BAD@example.net status=5.1.1" in line
    assert "refused as unknown on 20" in line
    assert "mx said 550 5.1.1 nobody" in line
    assert "queue-edit" not in line  # the sender reads this
    why = host.site.run("mail-why", second).stdout.decode()
    assert "do: queue-edit unsuppress BAD@example.net" in why
    assert f"notified id={second} of=failed to=dora@example.com" in log
    assert "relay-send carol@example.net" in host.tried[len(tried) :]
    shown = host.site.run("queue-list", "--suppressed").stdout.decode().splitlines()
    assert [line.split("\t")[0] for line in shown] == ["bad@example.net"]
    assert host.site.run("queue-edit", "unsuppress", "Bad@example.net").returncode == 0
    assert host.site.run("queue-edit", "unsuppress", "Bad@example.net").returncode == os.EX_NOINPUT
    host.put("bad@example.net")
    host.run()
    assert "relay-send bad@example.net" in host.tried


def test_unknown_addresses_are_tried_where_nobody_asked_for_suppression(host: Host) -> None:
    for _ in range(2):
        host.put("bad@example.net", sender="")
        host.run()
    assert host.tried == ["relay-send bad@example.net"] * 2
    assert list((host.site.queue / "suppress").iterdir()) == []


def test_a_shared_queue_is_worked_on_by_who_has_the_lease(host: Host) -> None:
    host.site.set("lease", "60s")
    folder = host.site.queue / "owner"
    folder.mkdir()
    (folder / "000007").write_text("far.example.org 12 another-boot\n")
    host.put("carol@example.net")
    result = host.run()
    assert result.returncode == 0
    assert b'stood-by owner="far.example.org 12 another-boot"' in result.stderr
    assert host.tried == []
    os.utime(folder / "000007", (0, time.time() - 100))
    result = host.run()
    assert b'leased after="far.example.org 12 another-boot"' in result.stderr
    assert host.tried == ["relay-send carol@example.net"]
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("000008", "free\n")]


def test_a_queue_run_whose_lease_was_taken_over_stops(host: Host) -> None:
    host.site.set("lease", "3s")
    process = host.start()
    log_lines(process, "leased")
    (host.site.queue / "owner" / "000009").write_text("far.example.org 12 another-boot\n")
    log_lines(process, "lease-lost")
    assert process.wait(20) == 0
    assert (host.site.queue / "owner" / "000009").read_text().startswith("far.")


AS_ANOTHER_HOST = """
import sys
from mailtools.commands import queue_run
from mailtools.store import lock
name, hold, myself = sys.argv[1], lock.hold, queue_run.myself
lock.hold = lambda path, wait=0: hold(f"{path}.{name}", wait)  # no lock reaches another host
queue_run.myself = lambda me: myself(f"{name}.example.org")._replace(boot=f"boot-{name}")
sys.argv = ["queue-run", "--wait"]
queue_run.main()
"""


def start_as(host: Host, name: str) -> "subprocess.Popen[bytes]":
    """Start a queue run that has nothing in common with another one but the storage."""
    script = host.site.root / "another-host"
    script.write_text(AS_ANOTHER_HOST)
    process = subprocess.Popen(
        [sys.executable, str(script), name], env=host.environ, stderr=subprocess.PIPE
    )
    host.site.running.append(process)
    return process


def test_another_host_takes_over_from_one_that_was_killed(host: Host) -> None:
    host.site.set("lease", "2s")
    one = start_as(host, "one")
    log_lines(one, "leased")
    first = host.put("bob@example.net")
    assert f" id={first} " in log_lines(one, "delivered ")[0]
    two = start_as(host, "two")
    assert 'owner="one.example.org ' in log_lines(two, "stood-by")[0]
    one.kill()
    one.wait()
    second = host.put("carol@example.net")
    assert 'after="one.example.org ' in log_lines(two, "leased")[0]
    assert f" id={second} " in log_lines(two, "delivered ")[0]
    assert host.tried == ["relay-send bob@example.net", "relay-send carol@example.net"]
    two.terminate()
    assert two.wait(20) == 0
    three = start_as(host, "three")  # given back: no waiting
    log_lines(three, "leased")


def test_a_host_that_slept_sees_that_another_took_over(host: Host) -> None:
    host.site.set("lease", "2s")
    one = start_as(host, "one")
    log_lines(one, "leased")
    one.send_signal(signal.SIGSTOP)
    two = start_as(host, "two")
    log_lines(two, "leased")
    one.send_signal(signal.SIGCONT)
    log_lines(one, "lease-lost")
    assert one.wait(20) == 0
    id_ = host.put("bob@example.net")
    assert f" id={id_} " in log_lines(two, "delivered ")[0]
