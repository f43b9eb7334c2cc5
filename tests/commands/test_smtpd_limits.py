"""smtpd-accept against those who come too often, and the wait of those who err too much."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from conftest import Server, Site


@contextmanager
def session(server: Server, address: str = "") -> Iterator["Client"]:
    with socket.create_connection(server.address, timeout=30) as sock:
        if address:
            sock.sendall(b"PROXY TCP4 %s 192.0.2.25 1025 25\r\n" % address.encode())
        yield Client(sock)


class Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.greeting = self.answer()

    def answer(self) -> str:
        said = b""
        while not re.search(rb"(?:\A|\n)[0-9]{3} [^\n]*\n\Z", said):
            piece = self.sock.recv(4096)
            if not piece:
                break
            said += piece
        return said.decode()

    def say(self, line: str) -> str:
        self.sock.sendall(f"{line}\r\n".encode())
        return self.answer()


@pytest.fixture
def proxied(site: Site) -> Site:
    site.account("bob")
    site.set("proxies", "127.0.0.1")
    return site


def test_connections_at_a_time(proxied: Site) -> None:
    proxied.set("client-connections", "2")
    proxied.set("relay-clients", "192.0.2.9")
    server = proxied.listen("smtpd-accept")
    with session(server, "192.0.2.7") as one, session(server, "192.0.2.7") as two:
        assert one.greeting[:3] == two.greeting[:3] == "220"
        with session(server, "192.0.2.7") as three:
            assert three.greeting == (
                "421 4.7.0 mail.example.org Too many connections at a time from 192.0.2.7, "
                "try again later\r\n"
            )
            assert three.answer() == ""
        with session(server, "192.0.2.8") as other:
            assert other.greeting[:3] == "220"
        for _ in range(4):
            with session(server, "192.0.2.9") as listed:
                assert listed.greeting[:3] == "220"
        assert "code=421" in server.log_line("refused ")
        two.say("QUIT")
        assert two.answer() == ""
    with session(server, "192.0.2.7") as again:
        assert again.greeting[:3] == "220"


def test_by_default_a_client_has_fifty_connections_and_this_host_any_number(proxied: Site) -> None:
    server = proxied.listen("smtpd-accept", "--limit", "70")
    with ExitStack() as stack:
        for address in ("127.0.0.1", "192.0.2.7"):
            greetings = [
                stack.enter_context(session(server, address)).greeting[:3] for _ in range(52)
            ][-2:]
            assert greetings == (["220"] * 2 if address == "127.0.0.1" else ["421"] * 2)
            stack.close()


def test_messages_a_minute(proxied: Site) -> None:
    proxied.set("client-messages", "1")
    server = proxied.listen("smtpd-accept")
    answers = []
    for _ in range(3):  # should a minute end meanwhile, the next two fall into one
        with session(server, "192.0.2.7") as client:
            client.say("EHLO x.example.com")
            answers.append(client.say("MAIL FROM:<a@example.com>"))
    assert any(answer.startswith("421 4.7.0 mail.example.org Too many mess") for answer in answers)
    assert answers[0][:3] == "250"


def test_mistakes_cost_a_stranger_time_and_others_none(proxied: Site) -> None:
    proxied.set("tarpit", "1")
    proxied.set("relay-clients", "192.0.2.9")
    server = proxied.listen("smtpd-accept")
    waits = {}
    for address in ("192.0.2.7", "192.0.2.9"):
        with session(server, address) as client:
            begin = time.monotonic()
            for _ in range(3):
                assert client.say("NONSENSE")[:3] == "500"
            middle = time.monotonic()
            assert client.say("NONSENSE")[:3] == "500"
            waits[address] = middle - begin, time.monotonic() - middle
    assert waits["192.0.2.7"][1] >= 1.0
    assert waits["192.0.2.9"][1] < waits["192.0.2.7"][1]


def test_who_hangs_up_in_the_tarpit_holds_nobody_up(proxied: Site) -> None:
    proxied.set("tarpit", "1h")
    server = proxied.listen("smtpd-accept", "--limit", "1")
    with session(server, "192.0.2.7") as client:
        for _ in range(20):
            client.sock.sendall(b"NONSENSE\r\n")
            if client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                break
        client.sock.shutdown(socket.SHUT_WR)
        while client.sock.recv(4096):
            pass
    with session(server, "192.0.2.8") as other:
        assert other.greeting[:3] == "220"


def test_prefixes_that_are_none_are_a_fault(site: Site) -> None:
    site.set("client-prefixes", "24")
    result = site.run("smtpd-accept")
    assert result.returncode == 78
    assert b"two numbers expected" in result.stderr
