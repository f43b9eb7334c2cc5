"""The PROXY protocol, versions 1 and 2."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadSyntax
from mailtools.protocol.proxy import SIGNATURE, Proxied, parse_proxy


def version_2(source: str, target: str, ports: tuple[int, int], *, extra: bytes = b"") -> bytes:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    body += struct.pack("!HH", *ports) + extra
    kind = 0x21 if family == socket.AF_INET6 else 0x11
    return SIGNATURE + struct.pack("!BBH", 0x21, kind, len(body)) + body


HEADERS = [
    (
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n",
        Proxied("192.0.2.7", 56324, "198.51.100.1", 25),
    ),
    (
        b"PROXY TCP6 2001:DB8::7 2001:db8::1 56324 25\r\n",
        Proxied("2001:db8::7", 56324, "2001:db8::1", 25),
    ),
    (b"PROXY UNKNOWN\r\n", Proxied()),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Proxied()),
    (
        version_2("192.0.2.7", "198.51.100.1", (56324, 25), extra=b"\x04\x00\x01x"),
        Proxied("192.0.2.7", 56324, "198.51.100.1", 25),
    ),
    (
        version_2("2001:db8::7", "2001:db8::1", (1, 2)),
        Proxied("2001:db8::7", 1, "2001:db8::1", 2),
    ),
    (SIGNATURE + b"\x20\x00\x00\x00", Proxied()),
    (SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216), Proxied()),
]


@pytest.mark.parametrize(("header", "who"), HEADERS)
def test_a_header_is_read_to_its_end_and_not_further(header: bytes, who: Proxied) -> None:
    assert parse_proxy(header + b"EHLO x\r\n") == (who, len(header))
    for end in range(len(header)):
        assert parse_proxy(header[:end]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"EHLO x\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
        b"PROXY TCP4 2001:db8::1 198.51.100.1 56324 25\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 25\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x11\x11\x00\x00",
        SIGNATURE + b"\x25\x11\x00\x00",
        SIGNATURE + b"\x21\x11\x00\x04abcd",
    ],
)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_proxy(data)


def field(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


@pytest.mark.parametrize(
    ("fields", "tls"),
    [
        (b"\1\0\0\0\0" + field(0x21, b"TLSv1.3"), "TLSv1.3"),
        (b"\1\0\0\0\0" + field(0x23, b"X") + field(0x21, b"TLSv1.2"), "TLSv1.2 with cipher X"),
        (b"\1\0\0\0\0", "TLS"),
        (b"\0\0\0\0\0" + field(0x21, b"TLSv1.3"), ""),  # the client came without
        (b"\1\0\0\0\0" + field(0x21, b"TLSv1.3\r\n(x)"), "TLSv1.3???x?"),
        (b"\1", ""),
    ],
)
@pytest.mark.parametrize("behind", [b"", b"\0", field(4, b"pad")])
def test_what_is_known_of_the_clients_tls(fields: bytes, tls: str, behind: bytes) -> None:
    extra = field(2, b"mail.example.org") + field(0x20, fields) + behind
    header = version_2("192.0.2.7", "198.51.100.1", (5, 993), extra=extra)
    known = Proxied("192.0.2.7", 5, "198.51.100.1", 993, tls)
    assert parse_proxy(header) == (known, len(header))


@given(st.one_of(st.binary(), st.binary().map(lambda rest: SIGNATURE + rest)))
def test_nothing_else_is_raised(data: bytes) -> None:
    try:
        parse_proxy(data)
    except BadSyntax:
        pass
