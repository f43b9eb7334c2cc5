"""Every way to launch a server (the table of `net/serve.py`), with real processes and sockets."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailtools.errors import SystemTrouble
from mailtools.net import serve
from mailtools.net.serve import open_listeners

SERVER = Path(__file__).with_name("echo_server.py")
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def word(tmp_path: Path) -> Path:
    path = tmp_path / "word"
    path.write_text("hello\n")
    return path


@pytest.fixture
def start(word: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[bytes]] = []

    def starter(*arguments: str, limit: int = 20, **extra: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(SERVER), str(word), str(limit), *arguments]
        process = subprocess.Popen(extra.pop("prefix", []) + command, **extra)
        running.append(process)
        return process

    yield starter
    for process in running:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


@pytest.fixture
def listener(start: Start) -> Callable[..., tuple[subprocess.Popen[bytes], tuple[str, int]]]:
    def begin(where: str = "127.0.0.1:0", **extra: Any) -> Any:
        process = start(where, stderr=subprocess.PIPE, **extra)
        line = wait_for(process, b"listening")
        host, _, port = line.split()[1].partition(b"=")[2].rpartition(b":")
        return process, (host.strip(b"[]").decode(), int(port))

    return begin


def wait_for(process: subprocess.Popen[bytes], word: bytes) -> bytes:
    assert process.stderr
    for line in process.stderr:
        if line.startswith(word):
            return line
    raise AssertionError(f"the server ended without {word!r}")


def connect(address: tuple[str, int]) -> tuple[socket.socket, list[bytes]]:
    sock = socket.create_connection(address, 20)
    return sock, sock.makefile("rb").readline().split()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname(), 20)
        return client, server.accept()[0]


def test_inetd_nowait(start: Start) -> None:
    client, connection = tcp_pair()
    with client, connection:
        process = start(stdin=connection, stdout=connection)
        connection.close()
        assert client.makefile("rb").readline().split()[:2] == [b"hello", b"127.0.0.1"]
        client.sendall(b"quit\n")
        assert client.recv(1) == b""
        assert process.wait() == 0


def test_by_hand_on_a_pipe(start: Start) -> None:
    process = start(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = process.communicate(b"echo this\n")
    assert out.startswith(b"hello local ")
    assert out.endswith(b"echo this\n")
    assert process.returncode == 0


def test_ucspi_says_who_the_peer_is(start: Start) -> None:
    environ = {**os.environ, "TCPREMOTEIP": "::ffff:192.0.2.7", "TCPREMOTEPORT": "4711"}
    process = start(stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
    assert process.communicate(b"quit\n")[0].split()[1] == b"192.0.2.7"


def test_a_broken_set_up_refuses_in_the_protocols_words(start: Start, word: Path) -> None:
    word.write_text("")
    client, connection = tcp_pair()
    with client, connection:
        process = start(stdin=connection, stdout=connection)
        connection.close()
        assert client.makefile("rb").read() == b"no 4.3.5\n"
        assert process.wait() == os.EX_CONFIG


def test_inetd_wait(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        start(stdin=server, stderr=subprocess.DEVNULL)
        for _ in range(3):
            sock, greeting = connect(server.getsockname())
            with sock:
                assert greeting[0] == b"hello"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="needs systemd")
@pytest.mark.parametrize("options", [[], ["--accept"], ["--accept", "--inetd"]])
def test_systemd_sockets(start: Start, options: list[str]) -> None:
    port = free_port()
    prefix = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", *options]
    process = start(prefix=prefix, stderr=subprocess.PIPE)
    wait_for(process, b"Listening on")
    for _ in range(2):
        sock, greeting = connect(("127.0.0.1", port))
        with sock:
            assert greeting[0] == b"hello"
            sock.sendall(b"quit\n")
            assert sock.recv(1) == b""


@pytest.mark.skipif(not shutil.which("tcpserver"), reason="needs ucspi-tcp")
def test_tcpserver(start: Start) -> None:
    port = free_port()
    prefix = ["tcpserver", "-1", "-H", "-R", "-l0", "127.0.0.1", str(port)]
    process = start(prefix=prefix, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline().strip() == str(port).encode()
    sock, greeting = connect(("127.0.0.1", port))
    with sock:
        assert greeting[:2] == [b"hello", b"127.0.0.1"]


def test_many_at_a_time_then_refused_beyond_the_limit(listener: Any) -> None:
    _, address = listener(limit=8)
    open_ones = [connect(address) for _ in range(8)]
    assert len({greeting[2] for _, greeting in open_ones}) == 8  # a process each
    refused, words = connect(address)
    assert words == [b"no", b"4.3.2"]
    refused.close()
    sock, _ = open_ones.pop()
    sock.sendall(b"quit\n")
    assert sock.recv(1) == b""
    again, greeting = connect(address)
    assert greeting[0] == b"hello"
    for one in [sock, again, *(sock for sock, _ in open_ones)]:
        one.close()


def test_a_session_knows_when_there_is_no_room_for_others(listener: Any) -> None:
    _, address = listener(limit=2)

    def pressed(sock: socket.socket) -> bytes:
        sock.sendall(b"pressed?\n")
        return sock.recv(100)

    one, _ = connect(address)
    assert pressed(one) == b"no\n"
    other, _ = connect(address)
    assert pressed(one) == pressed(other) == b"yes\n"
    one.close()
    other.close()


def test_a_process_serves_again_and_again(listener: Any) -> None:
    _, address = listener(limit=2)
    processes = set()
    for _ in range(20):
        sock, greeting = connect(address)
        processes.add(greeting[2])
        sock.sendall(b"quit\n")
        assert sock.recv(1) == b""
        sock.close()
    assert len(processes) <= 2


@pytest.mark.parametrize("end", [b"die\n", b"raise\n"])
def test_a_process_that_dies_takes_one_session_with_it(listener: Any, end: bytes) -> None:
    process, address = listener(limit=3)
    other, _ = connect(address)
    sock, _ = connect(address)
    sock.sendall(end)
    assert sock.recv(1) == b""
    wait_for(process, b"session-died")
    other.sendall(b"still here\n")
    assert other.recv(100) == b"still here\n"
    third, greeting = connect(address)
    assert greeting[0] == b"hello"
    for one in (other, sock, third):
        one.close()


def test_hangup_reads_again_and_keeps_the_sessions(listener: Any, word: Path) -> None:
    process, address = listener()
    old, greeting = connect(address)
    assert greeting[0] == b"hello"
    word.write_text("moin\n")
    process.send_signal(signal.SIGHUP)
    wait_for(process, b"reloaded")
    new, greeting = connect(address)
    assert greeting[0] == b"moin"
    old.sendall(b"on\n")
    assert old.recv(100) == b"on\n"
    word.write_text("")
    process.send_signal(signal.SIGHUP)
    wait_for(process, b"reload-failed")
    last, greeting = connect(address)
    assert greeting[0] == b"moin"
    for one in (old, new, last):
        one.close()


def test_what_changes_on_disk_is_read_again_unasked(listener: Any, word: Path) -> None:
    process, address = listener(env={**os.environ, "LOOK": "0.05"})
    word.write_text("")
    wait_for(process, b"reload-failed")
    word.write_text("moin\n")
    wait_for(process, b"reloaded")
    sock, greeting = connect(address)
    assert greeting[0] == b"moin"
    sock.close()


def test_terminate_lets_sessions_finish(listener: Any) -> None:
    process, address = listener()
    sock, _ = connect(address)
    process.send_signal(signal.SIGTERM)
    # The listening socket goes first; then the session may still take its time.
    while True:
        try:
            socket.create_connection(address, 20).close()
        except (ConnectionRefusedError, ConnectionResetError):
            break
    assert sock.recv(100) == b"the end is near\n"
    sock.sendall(b"last words\n")
    assert sock.recv(100) == b"last words\n"
    sock.sendall(b"quit\n")
    assert sock.recv(1) == b""
    sock.close()
    assert process.wait(20) == 0


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_killed_master_leaves_the_port_to_the_next(
    start: Start, tmp_path: Path, kind: str
) -> None:
    where = str(tmp_path / "socket") if kind == "unix" else f"127.0.0.1:{free_port()}"
    host, _, port = where.rpartition(":")

    def call() -> socket.socket:
        if kind == "tcp":
            return socket.create_connection((host, int(port)), 20)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(where)
        except OSError:
            sock.close()
            raise
        return sock

    first = start(where, stderr=subprocess.PIPE)
    wait_for(first, b"listening")
    session = call()
    assert session.recv(100).startswith(b"hello")
    first.kill()  # nobody is told
    first.wait()
    while True:
        try:
            call().close()
        except (ConnectionRefusedError, ConnectionResetError):
            break
    second = start(where, stderr=subprocess.PIPE)
    wait_for(second, b"listening")
    session.sendall(b"still here\n")
    assert session.recv(100) == b"still here\n"
    with call() as other:
        assert other.recv(100).startswith(b"hello")
    session.close()


def test_processes_that_cannot_settle_say_why_and_the_old_ones_go_on(
    listener: Any, start: Start, word: Path
) -> None:
    process, address = listener()
    word.write_text("unsettled\n")
    process.send_signal(signal.SIGHUP)
    assert b"no owner" in wait_for(process, b"not-ready")
    assert b"reload-failed" in wait_for(process, b"reload")
    sock, greeting = connect(address)
    assert greeting[0] == b"hello"
    sock.close()
    second = start("127.0.0.1:0", stderr=subprocess.PIPE)
    assert b"no owner" in wait_for(second, b"not-ready")
    assert second.wait(20) == os.EX_TEMPFAIL


def test_who_keeps_the_processes_may_die_and_is_replaced(listener: Any) -> None:
    process, address = listener()
    session, _ = connect(address)
    (keeper,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(keeper), signal.SIGKILL)
    assert keeper.encode() in wait_for(process, b"generation-died")
    sock, greeting = connect(address)
    assert greeting[0] == b"hello"
    session.sendall(b"still here\n")
    assert session.recv(100) == b"still here\n"
    session.close()
    sock.close()


def test_unix_socket_is_taken_over_from_a_dead_process(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    for _ in range(2):
        process = start(path, stderr=subprocess.PIPE)
        wait_for(process, b"listening")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            assert sock.makefile("rb").readline().split()[:2] == [b"hello", b"local"]
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "where", ["127.0.0.1", "nowhere.invalid:1", "127.0.0.1:http2x", "127.0.0.1:65536"]
)
def test_a_bad_address_is_named(start: Start, where: str) -> None:
    assert start(where).wait() in (os.EX_USAGE, os.EX_TEMPFAIL)


def test_ipv6(listener: Any) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        _, address = listener("[::1]:0")
    except AssertionError:
        pytest.skip("no IPv6 loopback here")
    sock, greeting = connect(address)
    with sock:
        assert greeting[1] == b"::1"


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("way", ["inetd", "systemd"])
def test_who_launched_us_says_whether_we_listen(way: str, listening: bool) -> None:
    code = (
        "import os, sys\n"
        "from mailtools.net.serve import is_listener\n"
        "if sys.argv[1] == 'systemd':\n"
        "    os.dup2(0, 3)\n"  # as sd_listen_fds(3) has it
        "    os.close(0)\n"
        "    os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "print(is_listener(()))\n"
    )
    client, connection = tcp_pair()
    with client, connection, socket.create_server(("127.0.0.1", 0)) as server:
        result = subprocess.run(
            [sys.executable, "-c", code, way],
            stdin=server if listening else connection,
            capture_output=True,
            check=True,
            timeout=60,
        )
    assert result.stdout.strip() == str(listening).encode()


def test_a_name_with_two_addresses_is_listened_on_at_both(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(_host: str, port: str, **_: object) -> list[tuple[Any, ...]]:
        names = ("127.0.0.1", "127.0.0.2", "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, int(port))) for name in names]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    sockets = open_listeners("localhost:0")
    try:
        (one, port), (other, same) = (sock.getsockname() for sock in sockets)
        assert (one, other, port) == ("127.0.0.1", "127.0.0.2", same)
        with pytest.raises(SystemTrouble, match=r"."):
            open_listeners(f"localhost:{port}")  # nothing is left open when the second one fails
    finally:
        for sock in sockets:
            sock.close()


def test_a_host_without_ipv6_listens_everywhere_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve, "_has_ipv6", lambda: False)
    (sock,) = open_listeners(":0")
    with sock:
        assert sock.getsockname()[0] == "0.0.0.0"


def test_what_is_no_socket_is_not_taken_for_one_that_was_left(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x\n")
    (tmp_path / "link").symlink_to(precious)
    for name in ("precious", "link", "nowhere/socket"):
        with pytest.raises(SystemTrouble) as raised:
            open_listeners(str(tmp_path / name))
        assert "cannot listen" in raised.value.detail
    assert precious.read_text() == "x\n"
    assert (tmp_path / "link").is_symlink()
