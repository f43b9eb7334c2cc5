"""What is remembered of hosts' TLS: no going back to the clear without a word."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from relaybench import BYE, HELLO, TAKE, TLS_HELLO, Bench, Peers, zone

from mailtools.services.relay.tls_floor import TlsFloor
from mailtools.services.relay.tls_rules import TlsRules
from mailtools.store.tls_memory import Seen, TlsMemory

HOUR, DAY = 3600.0, 86400.0
SECURE, PLAIN, REFUSED = TLS_HELLO + TAKE + BYE, HELLO + TAKE + BYE, HELLO + BYE


class World:
    """The bench, with a memory and a clock of its own."""

    def __init__(self, bench: Bench, folder: Path, start: Peers, context: ssl.SSLContext) -> None:
        self.bench, self.now = bench, 1795435200.0
        self.memory = TlsMemory(str(folder / "tls-memory"))
        bench.floor = TlsFloor(self.memory, 30 * DAY, 8 * HOUR, lambda: self.now)
        self._start, self._context = start, context

    def begin(self, *dialogs: str) -> None:
        """One exchanger, and what its connections are like, one after the other."""
        self._start(list(dialogs), context=self._context)
        zone(self.bench, "one")

    @property
    def host(self) -> str:
        return f"one.test:{self.bench.port}"

    def send(self, **extra: Any) -> tuple[str, str, str]:
        ((_, action, status, text),) = self.bench.run("bob@example.net", **extra)
        self.bench.pool.quit()
        self.bench.loop.run_until(lambda: self.bench.pool.empty)
        return action, status, text


@pytest.fixture
def world(bench: Bench, tmp_path: Path, peers: Peers, server_context: ssl.SSLContext) -> World:
    return World(bench, tmp_path, peers, server_context)


def test_mail_waits_and_then_goes(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.begin(SECURE, REFUSED, REFUSED, PLAIN, PLAIN)
    assert world.send()[0] == "relayed"
    world.now += HOUR
    for _ in range(2):
        action, status, text = world.send()
        assert (action, status) == ("delayed", "4.7.4")
        assert "offers no STARTTLS; it was encrypted on 2026-11-23 12:00 UTC, so " in text
        assert "waits until 2026-11-23 21:00 UTC" in text
        assert text.endswith(f"or tls-memory/{world.host} is removed")
        world.now += 7 * HOUR
    assert "lowered " not in capfd.readouterr().err
    assert world.send()[0] == "relayed"
    assert "lowered peer=one.test[127.0.0.2]" in capfd.readouterr().err
    assert world.memory.find(world.host) is None
    assert world.send()[0] == "relayed"


def test_tls_that_comes_back_begins_afresh(world: World) -> None:
    world.begin(SECURE, REFUSED, SECURE, REFUSED)
    assert world.send()[0] == "relayed"
    assert world.send()[:2] == ("delayed", "4.7.4")
    world.now += 7 * HOUR
    assert world.send()[0] == "relayed"
    assert world.memory.find(world.host) == Seen(world.now)
    world.now += 7 * HOUR
    assert world.send()[0] == "delayed"


def test_what_an_operator_removes_is_forgotten(world: World) -> None:
    world.begin(SECURE, PLAIN)
    assert world.send()[0] == "relayed"
    Path(world.memory.path(world.host)).unlink()
    assert world.send()[0] == "relayed"


def test_it_is_remembered_for_a_while_only(world: World) -> None:
    world.begin(SECURE, PLAIN)
    assert world.send()[0] == "relayed"
    world.now += 31 * DAY
    assert world.send()[0] == "relayed"


def test_the_word_of_an_operator_and_of_a_message_goes_before(world: World) -> None:
    free = PLAIN.replace("C: Subject", "C: TLS-Required: No\nC: Subject")
    world.begin(SECURE, free)
    assert world.send()[0] == "relayed"
    assert world.send(data=b"TLS-Required: No\nSubject: hello\n\nText.\n")[0] == "relayed"


def test_may_in_tls_policy_goes_before(world: World) -> None:
    world.bench.rules = TlsRules({"example.net": "may"})
    world.begin(SECURE, PLAIN)
    assert [world.send()[0] for _ in range(2)] == ["relayed", "relayed"]


def test_a_torn_line_does_not_count(tmp_path: Path) -> None:
    memory = TlsMemory(str(tmp_path / "tls-memory"))
    memory.note("one.test:25", Seen(5.0))
    with open(memory.path("one.test:25"), "a", encoding="ascii") as file:
        file.write("17")
    assert memory.find("one.test:25") == Seen(5.0)
    memory.note("one.test:25", Seen(9.0, 8.0))
    assert memory.find("one.test:25") == Seen(9.0, 8.0)
    memory.sweep(8.0)
    assert memory.find("one.test:25") is not None
    memory.sweep(10.0)
    assert memory.find("one.test:25") is None
