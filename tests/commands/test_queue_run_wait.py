"""queue-run --wait: it tries what comes and what becomes due, and heeds signals."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from queuehost import HONEST, SLOW, Host, log_lines


@pytest.fixture
def host(site: Any) -> Host:
    return Host(site)


def test_waiting_it_takes_a_message_at_once_and_ends_on_sigterm(host: Host) -> None:
    process = host.start()
    ids = []
    for number in range(3):
        ids.append(host.put(f"bob{number}@example.org"))
        assert f" id={ids[-1]} " in log_lines(process, "delivered ")[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert list(host.queue.all()) == []


def test_waiting_it_tries_again_when_the_minute_has_come(host: Host) -> None:
    id_ = host.put("bob@example.org")
    host.queue.defer(host.queue.open(id_), time.time() - 90)
    process = host.start()
    assert f" id={id_} " in log_lines(process, "delivered ")[0]


def test_what_is_in_hand_for_long_costs_nothing_meanwhile(host: Host) -> None:
    host.agent("local-deliver", SLOW)
    gate = host.agents / "local-deliver.gate"
    os.mkfifo(gate)
    id_ = host.put("bob@example.org")
    host.queue.defer(host.queue.open(id_), time.time() - 90)
    process = host.start()
    log_lines(process, "begun")

    def used() -> int:
        words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])  # clock ticks

    before = used()
    assert subprocess.run(["sleep", "1"], check=True).returncode == 0
    assert used() - before < 20  # of 100: it does not spin
    gate.write_text("")
    log_lines(process, "removed ")


def test_a_second_run_wakes_the_first_and_exits(host: Host) -> None:
    process = host.start()
    first = host.put("slow@example.org")
    log_lines(process, "delayed ")
    assert host.run("--id", first).returncode == 0
    assert f" id={first} " in log_lines(process, "delayed ")[0]
    result = host.run()
    assert (result.returncode, result.stderr) == (0, b"")


def test_what_a_second_run_asks_for_is_tried_though_it_is_held_or_was_silent(host: Host) -> None:
    host.site.set("hold", "to *@held.test")
    process = host.start()
    held = host.put("bob@held.test")
    log_lines(process, "held ")
    host.put("silent@bücher.test")
    log_lines(process, "delayed ")
    left_alone = host.put("bob@bücher.test")
    assert "Not tried" in log_lines(process, "delayed ")[0]
    assert host.run("--id", held, "--id", left_alone).returncode == 0
    log_lines(process, "removed ", 2)
    assert host.tried[1:] in (
        ["relay-send bob@held.test", "relay-send bob@bücher.test"],
        ["relay-send bob@bücher.test", "relay-send bob@held.test"],
    )


def test_sigterm_lets_jobs_in_hand_finish_and_leaves_the_rest(host: Host) -> None:
    host.site.set("local-agents", "1")
    host.agent("local-deliver", SLOW)
    gate = host.agents / "local-deliver.gate"
    os.mkfifo(gate)
    ids = [host.put(f"bob{number}@example.org") for number in range(4)]
    process = host.start()
    log_lines(process, "begun")
    process.send_signal(signal.SIGTERM)
    for _ in range(2):  # what it has in hand: jobs=2
        gate.write_text("")
        log_lines(process, "delivered ")
    assert process.wait(20) == 0
    assert sum(host.queue.find(id_) is not None for id_ in ids) == 2


def test_sighup_rereads_the_control_folder(host: Host) -> None:
    process = host.start()
    host.put("bob@example.net")
    log_lines(process, "removed ")
    host.agent("own", HONEST)
    host.site.set("transports", f"example.net:{host.agents}/own")
    process.send_signal(signal.SIGHUP)
    log_lines(process, "reread")
    host.put("bob@example.net")
    log_lines(process, "removed ")
    assert host.tried == ["relay-send bob@example.net", "own bob@example.net"]


def test_a_broken_control_folder_does_not_stop_a_run_that_is_there(host: Host) -> None:
    process = host.start()
    host.put("bob@example.net")
    log_lines(process, "removed ")
    host.site.set("lifetime", "soon")
    process.send_signal(signal.SIGHUP)
    log_lines(process, "trouble ")
    host.put("carol@example.net")
    log_lines(process, "removed ")
