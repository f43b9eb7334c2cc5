"""ALPN: what a client's first words say it speaks, and who is sent away for it."""

import socket
import ssl
from typing import Any

import pytest
from conftest import Site
from hypothesis import given
from hypothesis import strategies as st

from mailtools.net import alpn


def hello(*names: str) -> bytes:
    """A real ClientHello that offers these."""
    context = ssl.create_default_context()
    if names:
        context.set_alpn_protocols(names)
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="mail.example.org")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


@pytest.mark.parametrize("names", [(), ("imap",), ("h2", "http/1.1"), tuple("abcdefghij")])
def test_what_a_client_offers(names: tuple[str, ...]) -> None:
    whole = hello(*names)
    assert alpn.offered(whole) == names
    assert all(alpn.offered(whole[:end]) is None for end in range(len(whole)))
    halves = (whole[5:100], whole[100:])  # the same in two records
    records = b"".join(b"\x16\x03\x01" + len(half).to_bytes(2) + half for half in halves)
    assert alpn.offered(records) == names


@given(st.binary(max_size=300), st.integers(0, 300))
def test_whatever_comes_is_no_trouble(noise: bytes, at: int) -> None:
    alpn.offered(noise)
    alpn.offered(b"\x16\x03\x01" + noise)
    whole = bytearray(hello("imap"))
    whole[at : at + 3] = noise[:3]
    alpn.offered(bytes(whole))


@pytest.mark.parametrize(
    ("command", "name"),
    [("imapd", "imap"), ("pop3d", "pop3"), ("smtpd-accept", "smtp")],
)
def test_clients_of_other_protocols_are_sent_away(
    secure_site: Site, authority: Any, command: str, name: str
) -> None:
    server = secure_site.listen(command, "--tls")
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def greeting(*names: str) -> tuple[str | None, bytes]:
        context.set_alpn_protocols(names)
        with (
            socket.create_connection(server.address, timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return secure.selected_alpn_protocol(), secure.recv(100)

    assert greeting(name, "h2")[0] == name
    assert greeting()[1]
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        greeting("h2", "http/1.1")
    assert "speaks h2, http/1.1" in server.log_line("lost ")
