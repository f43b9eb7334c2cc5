"""The loop and its channels: what goes wrong below the protocol is told to the engine."""

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mailtools.errors import Failure, NoAnswer, SystemTrouble, TimedOut, TlsTrouble
from mailtools.net import channel as channels
from mailtools.net import outbound
from mailtools.net.channel import Channel
from mailtools.net.loop import Later, Loop, Task


class Engine:
    works_aside = False
    steps = 0
    work: Callable[[], object] | None = None

    """An engine that says one thing, and notes all that happens to it."""

    def __init__(self, says: bytes = b"", *, tls: bool = False) -> None:
        self.timeout, self.closed, self.wants_tls = 300.0, False, tls
        self.says, self.heard = says, b""
        self.failure: Failure | None = None
        self.ended = False

    def receive(self, data: bytes) -> None:
        self.heard += data
        self.ended = self.ended or not data

    def output(self) -> bytes:
        says, self.says = self.says, b""
        self.closed = self.closed or self.ended
        return says

    def worked(self) -> None:
        self.work = None

    def tls_started(self) -> None:
        self.wants_tls = False

    def timed_out(self) -> None:
        self.fail(TimedOut())

    def abort(self) -> None:
        self.closed = True

    def fail(self, failure: Failure) -> None:
        self.closed, self.failure = True, failure


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def connect(loop: Loop, engine: Engine, peer: socket.socket, **extra: Any) -> Channel:
    channel = Channel(loop, engine, lambda: None, **extra)
    channel.connect(*peer.getsockname())
    return channel


def expire(loop: Loop, channel: Channel) -> None:
    """Let the channel's deadline pass now."""
    channel.deadline = time.monotonic() - 1
    loop.run_until(lambda: channel.closed)


def test_nobody_there(loop: Loop, peer: socket.socket) -> None:
    address = peer.getsockname()
    peer.close()
    engine = Engine()
    channel = Channel(loop, engine, lambda: None)
    channel.connect(*address)
    loop.run_until(lambda: channel.closed)
    assert isinstance(engine.failure, NoAnswer)
    assert "refused" in engine.failure.text
    assert not channel.no_route


def test_no_descriptor_left_is_not_the_peers_silence(loop: Loop, monkeypatch: Any) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    engine = Engine()
    channel = Channel(loop, engine, lambda: None)
    monkeypatch.setattr(outbound.socket, "socket", full)
    channel.connect("127.0.0.1", 25)
    loop.run_until(lambda: channel.closed)
    assert isinstance(engine.failure, SystemTrouble)
    assert "Too many open files" in engine.failure.text


def test_a_family_this_host_cannot_reach(loop: Loop, monkeypatch: Any) -> None:
    engine = Engine()
    channel = Channel(loop, engine, lambda: None)
    monkeypatch.setattr(socket.socket, "connect_ex", lambda *_: 101)  # ENETUNREACH
    channel.connect("2001:db8::1", 25)
    loop.run_until(lambda: channel.closed)
    assert channel.no_route
    assert isinstance(engine.failure, NoAnswer)


def test_a_silent_peer_is_told_to_the_engine(loop: Loop, peer: socket.socket) -> None:
    engine = Engine(b"hello")
    channel = connect(loop, engine, peer)
    sock, _ = peer.accept()
    with sock:
        loop.run_until(lambda: channel.deadline > time.monotonic() + 200)
        expire(loop, channel)
    assert isinstance(engine.failure, TimedOut)


def test_a_peer_that_takes_nothing_any_more(loop: Loop, peer: socket.socket) -> None:
    engine = Engine(b"x" * 50_000_000)
    channel = connect(loop, engine, peer)
    sock, _ = peer.accept()
    with sock:
        loop.run_until(lambda: bool(channel._unsent))
        expire(loop, channel)
    assert isinstance(engine.failure, TimedOut)
    assert "takes nothing" in engine.failure.text


def test_a_peer_that_takes_it_in_sips_gains_no_time(loop: Loop, peer: socket.socket) -> None:
    engine = Engine(b"x" * 10_000_000)
    channel = connect(loop, engine, peer)
    sock, _ = peer.accept()
    with sock:
        loop.run_until(lambda: bool(channel._unsent))
        for _ in range(3):
            left, deadline = len(channel._unsent), channel.deadline
            assert deadline <= time.monotonic() + channels.SEND_TIMEOUT + 10_000_000 / 100
            taken = 0
            while len(channel._unsent) == left:
                taken += len(sock.recv(65536))
                loop.turn()
            assert channel.deadline == deadline
        sock.settimeout(10)
        while taken and channel._unsent:
            taken = len(sock.recv(1 << 20))
            loop.turn()
        loop.run_until(lambda: channel.deadline != deadline)  # the reply has its own time
    channel.close()


def test_what_is_large_arrives_whole(loop: Loop, peer: socket.socket) -> None:
    data = bytes(range(256)) * 40_000
    engine = Engine(data)
    channel = connect(loop, engine, peer)
    got = bytearray()

    def read() -> None:
        sock, _ = peer.accept()
        with sock:
            while len(got) < len(data):
                got.extend(sock.recv(1 << 20))

    reader = threading.Thread(target=read)
    reader.start()
    loop.run_until(lambda: channel.closed)
    reader.join(10)
    assert got == data


def test_a_peer_is_heard_while_it_takes_nothing(loop: Loop, peer: socket.socket) -> None:
    engine = Engine(b"x" * 50_000_000)
    channel = connect(loop, engine, peer)
    sock, _ = peer.accept()
    with sock:
        loop.run_until(lambda: bool(channel._unsent))
        sock.sendall(b"421 too much\r\n")
        loop.run_until(lambda: engine.heard != b"")
    assert engine.heard == b"421 too much\r\n"
    channel.close()


@pytest.mark.parametrize("answer", [b"", b"no TLS here\r\n"])
def test_a_handshake_that_fails(loop: Loop, peer: socket.socket, answer: bytes) -> None:
    from mailtools.net.tls import client_context

    engine = Engine(tls=True)
    channel = connect(loop, engine, peer, tls=lambda: client_context(verify=False))
    sock, _ = peer.accept()
    with sock:
        sock.sendall(answer) if answer else sock.shutdown(socket.SHUT_WR)
        loop.run_until(lambda: channel.closed)
    assert isinstance(engine.failure, TlsTrouble)


def test_a_handshake_that_takes_too_long(loop: Loop, peer: socket.socket) -> None:
    from mailtools.net.tls import client_context

    engine = Engine(tls=True)
    channel = connect(loop, engine, peer, tls=lambda: client_context(verify=False))
    sock, _ = peer.accept()
    with sock:
        loop.run_until(lambda: channel._handshaking)
        expire(loop, channel)
    assert isinstance(engine.failure, TlsTrouble)
    assert "Timeout" in engine.failure.text


def test_deadlines_are_those_of_the_standard() -> None:
    assert channels.SEND_TIMEOUT == 180.0  # RFC 5321 4.5.3.2.5
    assert channels.CONNECT_TIMEOUT <= 300.0


# -- tasks ----------------------------------------------------------------------------------------


def test_a_task_waits_and_goes_on(loop: Loop) -> None:
    seen: list[object] = []
    first: Later[str] = Later()

    def task() -> Task[None]:
        seen.append((yield first))
        try:
            yield loop.in_thread(lambda: 1 // 0)
        except ZeroDivisionError:
            seen.append("error")
        seen.append((yield loop.in_thread(threading.get_ident)))

    loop.spawn(task())
    assert seen == []
    first.put("value")
    loop.run_until(lambda: len(seen) == 3)
    assert seen[:2] == ["value", "error"]
    assert seen[2] != threading.get_ident()


def test_a_long_row_of_values_that_are_there_needs_no_stack(loop: Loop) -> None:
    count = 0

    def task() -> Task[None]:
        nonlocal count
        for _ in range(10_000):
            there: Later[int] = Later()
            there.put(1)
            count += yield there

    loop.spawn(task())
    assert count == 10_000


def test_threads_work_side_by_side(loop: Loop) -> None:
    barrier = threading.Barrier(20)
    laters = [loop.in_thread(lambda: barrier.wait(10)) for _ in range(20)]
    loop.run_until(lambda: all(later.there for later in laters))
    assert sorted(later.value or 0 for later in laters) == list(range(20))


def test_work_is_done_while_others_go_on(loop: Loop) -> None:
    """Neither engine would ever end if the work of one held up the loop."""
    released = threading.Event()
    ours, theirs = socket.socketpair()
    engine = Engine()
    engine.work = lambda: released.wait(10)
    with theirs:
        channel = Channel(loop, engine, lambda: None)
        channel._socket, channel._connecting = ours, False
        ours.setblocking(False)
        channel.wake()
        turns = []
        loop.soon(lambda: turns.append(engine.work is not None))
        loop.soon(released.set)
        loop.run_until(lambda: engine.work is None)
        channel.close()
    assert turns == [True]
