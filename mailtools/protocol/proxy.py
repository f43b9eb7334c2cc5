"""The PROXY protocol, versions 1 and 2: who the peer is, said by the proxy in front of us.

Follows the specification of HAProxy (proxy-protocol.txt, 2.1 and 2.2). Only a proxy that is listed
may be believed; that is the caller's to check before.
"""

import re
from typing import NamedTuple

from mailtools.errors import BadSyntax

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LINE_MOST = 107  # octets of a version 1 header with its CRLF
HEADER_MOST = 16 + 65535
_SSL = 0x20  # PP2_TYPE_SSL
_SSL_SAID = (0x21, 0x23)  # PP2_SUBTYPE_SSL_VERSION, PP2_SUBTYPE_SSL_CIPHER

_unprintable = re.compile(r"[^!-'*-~ ]")

_line = re.compile(
    r"PROXY (?:UNKNOWN(?: .*)?|"
    r"(TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) ([0-9]{1,5}) ([0-9]{1,5}))"
)


class Proxied(NamedTuple):
    """Source and destination; "" and 0 where the proxy speaks for itself or does not know."""

    address: str = ""
    port: int = 0
    local: str = ""
    local_port: int = 0
    tls: str = ""
    """What is known of the TLS that the proxy ended, "" where the client came without."""


def parse_proxy(data: bytes) -> tuple[Proxied, int] | None:
    """Read a header at the beginning of `data`: who is there, and the octets it took.

    None: more octets are needed. Raises BadSyntax where there is no PROXY header.
    """
    if data[:12] == SIGNATURE[: len(data)] and data:
        return _version_2(data) if len(data) >= 16 else None
    if data[:6] == b"PROXY "[: len(data)]:
        return _version_1(data)
    raise BadSyntax("A PROXY header was expected")


def _version_1(data: bytes) -> tuple[Proxied, int] | None:
    end = data.find(b"\r\n", 0, LINE_MOST)
    if end < 0:
        if len(data) >= LINE_MOST:
            raise BadSyntax("The PROXY line is too long")
        return None
    match = _line.fullmatch(data[:end].decode("latin-1"))
    if not match:
        raise BadSyntax("Bad PROXY line")
    kind, source, target, port, target_port = match.groups()
    if kind is None:
        return Proxied(), end + 2
    return _proxied(kind == "TCP6", source, target, int(port), int(target_port)), end + 2


def _version_2(data: bytes) -> tuple[Proxied, int] | None:
    version, command = data[12] >> 4, data[12] & 15
    family, transport = data[13] >> 4, data[13] & 15
    length = 16 + int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1:
        raise BadSyntax("Unknown version or command in the PROXY header")
    if len(data) < length:
        return None
    if command == 0 or transport != 1 or family not in (1, 2):
        return Proxied(), length  # LOCAL: the proxy itself, looking whether we live
    size = 4 if family == 1 else 16
    body = data[16:length]
    if len(body) < 2 * size + 4:
        raise BadSyntax("The PROXY header is too short for its addresses")
    import ipaddress  # here, since most servers stand behind no proxy

    source = str(ipaddress.ip_address(body[:size]))
    target = str(ipaddress.ip_address(body[size : 2 * size]))
    port = int.from_bytes(body[2 * size : 2 * size + 2], "big")
    target_port = int.from_bytes(body[2 * size + 2 : 2 * size + 4], "big")
    return Proxied(source, port, target, target_port, _tls(body[2 * size + 4 :])), length


def _tls(fields: bytes) -> str:
    """Read what PP2_TYPE_SSL says of the client's TLS: version and cipher; "" for none."""
    ssl = _fields(fields).get(_SSL, b"")
    if len(ssl) < 5 or not ssl[0] & 1:  # PP2_CLIENT_SSL
        return ""
    said = _fields(ssl[5:])
    version, cipher = (said.get(kind, b"").decode("ascii", "replace") for kind in _SSL_SAID)
    words = f"{version or 'TLS'} with cipher {cipher}" if cipher else version or "TLS"
    return _unprintable.sub("?", words)


def _fields(data: bytes) -> dict[int, bytes]:
    """Read fields of type, length and value; a torn one, as some pad with, ends them."""
    found = {}
    while len(data) >= 3:
        end = 3 + int.from_bytes(data[1:3], "big")
        if len(data) < end:
            break
        found[data[0]] = data[3:end]
        data = data[end:]
    return found


def _proxied(six: bool, source: str, target: str, port: int, target_port: int) -> Proxied:
    import ipaddress

    kind = ipaddress.IPv6Address if six else ipaddress.IPv4Address
    try:
        found = Proxied(str(kind(source)), port, str(kind(target)), target_port)
    except ValueError:
        raise BadSyntax("Bad address in the PROXY line") from None
    if port > 65535 or target_port > 65535:
        raise BadSyntax("Bad port in the PROXY line")
    return found
