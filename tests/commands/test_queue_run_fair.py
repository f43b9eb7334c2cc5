"""What one destination or one sender with very many messages leaves to others."""

import os
import subprocess
import sys
from typing import Any

import pytest
from queuehost import HONEST, SLOW, Host, log_lines

from mailtools.mail.envelope import Envelope, ForwardPath


@pytest.fixture
def host(site: Any) -> Host:
    made = Host(site)
    made.agent("relay-send", SLOW)
    os.mkfifo(made.agents / "relay-send.gate")  # each job waits until it is told
    made.site.set("relay-agents", "1")
    return made


def start(host: Host) -> subprocess.Popen[bytes]:
    """Start a queue run whose limits are small: it is run in a module that changes them first."""
    small = host.site.root / "small"
    small.write_text(
        "import sys\n"
        "sys.argv[0] = 'queue-run'\n"
        "from mailtools.services.queue import lookout, parking\n"
        "lookout.WINDOW, parking.CROWD, parking.FEW = 20, 5, 2\n"
        "from mailtools.commands.queue_run import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(small), "--wait"], env=host.environ, stderr=subprocess.PIPE
    )
    host.site.running.append(process)
    log_lines(process, "begun")
    return process


def next_one(host: Host, process: subprocess.Popen[bytes]) -> str:
    """Let the agent do a job, and give the ID of its entry."""
    (host.agents / "relay-send.gate").write_text("")
    return log_lines(process, "delivered ")[0].split()[1].removeprefix("id=")


def test_a_crowd_for_one_destination_keeps_nobody_else_out(host: Host) -> None:
    crowd = {host.put(f"u{number}@example.net") for number in range(24)}
    process = start(host)
    id_ = host.put("bob@example.org")
    assert f" id={id_} " in log_lines(process, "delivered ")[0]
    assert {next_one(host, process) for _ in crowd} == crowd


def test_a_sender_with_many_for_a_destination_lets_another_one_through(host: Host) -> None:
    crowd = {host.put(f"u{number}@example.net") for number in range(24)}
    process = start(host)
    other = host.put("bob@example.net", sender="carol@example.com")
    order = [next_one(host, process) for _ in range(25)]
    assert set(order) == {*crowd, other}
    assert order.index(other) <= 8  # what was in hand, and what a look takes meanwhile


def test_what_is_urgent_does_not_wait_with_the_rest_of_its_sender(host: Host) -> None:
    crowd = {host.put(f"u{number}@example.net") for number in range(24)}
    process = start(host)
    path = ForwardPath("bob@example.net")
    writer = host.queue.begin(Envelope("alice@example.com", (path,), {"MT-PRIORITY": "4"}))
    writer.write(b"Subject: x\n\nbody\n")
    urgent = writer.commit()
    order = [next_one(host, process) for _ in range(25)]
    assert set(order) == {*crowd, urgent}
    assert order.index(urgent) <= 8


def test_a_sender_with_many_for_many_destinations_lets_another_one_through(host: Host) -> None:
    crowd = {host.put(f"u{number}@d{number}.test") for number in range(40)}
    process = start(host)
    other = host.put("bob@other.test", sender="carol@example.com")
    order = [next_one(host, process) for _ in range(41)]
    assert set(order) == {*crowd, other}
    assert order.index(other) <= 20  # not when all of the others are done


def test_what_is_asked_for_is_all_tried_a_window_at_a_time(host: Host) -> None:
    host.agent("relay-send", HONEST)
    for number in range(50):
        host.put(f"u{number}@example.net", f"slow@d{number}.test")
    host.put("other@example.com")
    small = host.site.root / "small"
    small.write_text(
        "import sys\n"
        "sys.argv[:] = ['queue-run', '--domain', 'example.net']\n"
        "from mailtools.services.queue import lookout\n"
        "lookout.WINDOW = 7\n"
        "from mailtools.commands.queue_run import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, str(small)], env=host.environ, check=False)
    assert done.returncode == 0
    assert sorted(host.tried) == sorted(f"relay-send u{n}@example.net" for n in range(50))
