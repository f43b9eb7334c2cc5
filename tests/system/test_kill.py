"""kill -9 on a busy site, again and again: every message that was accepted is accounted for.

Where the crash tests stop one process before each of its disk calls, here whole processes die at
moments that nobody chose: servers in mid-session, the queue run, its agents, together and alone.
"""

import itertools
import os
import re
import signal
import smtplib
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Site

LOCAL = ("bob", "carol")
ROUNDS = 10
STEP = 12  # deliveries between two kills
DEADLINE = 120.0  # seconds; a site that makes no headway has failed
END = "the very last line"


class Senders:
    """Clients that send numbered messages, and remember which were acknowledged."""

    def __init__(self, port: int, count: int = 3) -> None:
        self.acknowledged: set[int] = set()
        self.refused: list[object] = []
        self._port, self._numbers, self._over = port, itertools.count(), threading.Event()
        self._threads = [threading.Thread(target=self._send_on) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send_on(self) -> None:
        while not self._over.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self._port, timeout=20) as client:
                    while not self._over.is_set():
                        self._send(client)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)  # the server was killed: not to spin until it is back

    def _send(self, client: smtplib.SMTP) -> None:
        number = next(self._numbers)
        to = [*(f"{name}@example.org" for name in LOCAL), "dave@example.net"]
        text = f"Subject: number {number}.\n\n" + "x" * 70 + "\n" + "y\n" * 2000 + END + "\n"
        refused = client.sendmail("alice@example.com", to, text)
        if refused:
            self.refused.append(refused)
        else:
            self.acknowledged.add(number)


class Busy:
    """A site under load whose servers are killed and started again."""

    def __init__(self, site: Site, there: Site) -> None:
        self.site, self.there = site, there
        exchanger = free_port()
        start(there, "smtpd-accept", "--listen", f"127.0.0.1:{exchanger}")
        site.set("routes", f"example.net:127.0.0.1:{exchanger}")
        site.set("relay-clients", "127.0.0.1")
        self.port = free_port()
        self.reception = self.start_reception()
        self.queue_run = self.start_queue_run()

    def start_reception(self) -> subprocess.Popen[bytes]:
        return start(self.site, "smtpd-accept", "--listen", f"127.0.0.1:{self.port}")

    def start_queue_run(self) -> subprocess.Popen[bytes]:
        return start(self.site, "queue-run", "--wait")

    def kill_reception(self) -> None:
        os.killpg(self.reception.pid, signal.SIGKILL)
        self.reception.wait()
        self.reception = self.start_reception()

    def kill_a_session(self) -> None:
        kill_one(self.reception.pid)

    def kill_an_agent(self) -> None:
        kill_one(self.queue_run.pid)

    def kill_queue_run_and_agents(self) -> None:
        os.killpg(self.queue_run.pid, signal.SIGKILL)
        self.queue_run.wait()
        self.queue_run = self.start_queue_run()

    def kill_queue_run_alone(self) -> None:
        """Its agents live on, and finish what they have while the next run begins."""
        self.queue_run.kill()
        self.queue_run.wait()
        self.queue_run = self.start_queue_run()

    def delivered(self) -> int:
        new = self.site.homes / LOCAL[0] / "Maildir/new"
        return len(os.listdir(new)) if new.exists() else 0

    def finish(self) -> None:
        """Bring the queue to its end without more accidents: what waits is due now."""
        self.queue_run.terminate()
        self.queue_run.wait()
        wait_until(lambda: not pending(self.site) or self._pass())

    def _pass(self) -> bool:
        waiting = self.site.run("queue-list", "--state", "wait").stdout
        ids = b"".join(line.split(b"\t")[0] + b"\n" for line in waiting.splitlines())
        self.site.run("queue-edit", "retry", input=ids)
        result = self.site.run("queue-run")
        assert result.returncode == 0, result.stderr
        return False


def start(site: Site, *command: str) -> subprocess.Popen[bytes]:
    return site.start(*command, stderr=subprocess.DEVNULL, start_new_session=True)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def kill_one(parent: int) -> None:
    """Kill the youngest child of a process of ours, where it has one."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    if children:
        os.kill(int(children[-1]), signal.SIGKILL)


def pending(site: Site) -> list[Path]:
    return [
        path for state in ("new", "wait", "hold") for path in (site.queue / state).rglob("*.M*")
    ]


def wait_until(come: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not come():
        assert time.monotonic() < end, "no headway"
        time.sleep(0.01)


def numbers(messages: list[bytes]) -> Counter[int]:
    """Count the messages by their numbers; each of them is whole."""
    found: Counter[int] = Counter()
    for message in messages:
        assert message.endswith(END.encode() + b"\n")
        match = re.search(rb"^Subject: number ([0-9]+)\.$", message, re.MULTILINE)
        assert match
        found[int(match[1])] += 1
    return found


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Busy]:
    sites = []
    for name, domain in (("here", "example.org"), ("there", "example.net")):
        (tmp_path / name).mkdir()
        site = Site(tmp_path / name)
        site.set("me", f"mail.{domain}")
        site.set("locals", domain)
        sites.append(site)
    here, there = sites
    for name in LOCAL:
        here.account(name)
    there.account("dave")
    made = Busy(here, there)
    yield made
    for process in (made.reception, made.queue_run):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for site in sites:
        site.stop()


@pytest.mark.timeout(300)
def test_nothing_that_was_accepted_is_lost(busy: Busy) -> None:
    accidents = (
        busy.kill_an_agent,
        busy.kill_queue_run_alone,
        busy.kill_a_session,
        busy.kill_queue_run_and_agents,
        busy.kill_reception,
    )
    senders = Senders(busy.port)
    try:
        for accident in itertools.islice(itertools.cycle(accidents), ROUNDS):
            aim = busy.delivered() + STEP
            wait_until(lambda aim=aim: busy.delivered() >= aim)  # type: ignore[misc]
            accident()
    finally:
        senders.stop()
    busy.finish()
    assert not senders.refused
    assert len(senders.acknowledged) >= ROUNDS * STEP // 2
    for name in LOCAL:
        found = numbers(busy.site.messages(name))
        assert senders.acknowledged <= found.keys()
        # An entry has one name in a Maildir, however often it is delivered.
        assert set(found.values()) == {1}
    queued = [path.read_bytes() for path in pending(busy.there)]
    assert senders.acknowledged <= numbers(queued).keys()
    assert not list((busy.site.queue / "bad").iterdir())
