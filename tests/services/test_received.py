"""The Received field: RFC 5321 4.4, RFC 3848, RFC 6531 4.3."""

import re

import pytest

from mailtools.mail.dates import format_date_field, parse_date_field
from mailtools.services.reception.received import Hop, protocol_name, received_field


def hop(**changed: str) -> Hop:
    facts = {
        "hello": "client.example.com",
        "address": "192.0.2.7",
        "peer_name": "",
        "here": "mail.example.org",
        "protocol": "ESMTP",
        "tls": "",
        **changed,
    }
    return Hop(**facts)


@pytest.mark.parametrize(
    ("verb", "secure", "identified", "utf8", "name"),
    [
        ("HELO", False, False, False, "SMTP"),
        ("EHLO", False, False, False, "ESMTP"),
        ("EHLO", True, False, False, "ESMTPS"),
        ("EHLO", False, True, False, "ESMTPA"),
        ("EHLO", True, True, False, "ESMTPSA"),
        ("EHLO", False, False, True, "UTF8SMTP"),
        ("EHLO", True, True, True, "UTF8SMTPSA"),
        ("LHLO", False, False, False, "LMTP"),
        ("LHLO", True, True, False, "LMTPSA"),
        ("LHLO", True, False, True, "UTF8LMTPS"),
    ],
)
def test_protocols_are_those_of_the_registry(
    verb: str, secure: bool, identified: bool, utf8: bool, name: str
) -> None:
    assert protocol_name(verb, secure=secure, identified=identified, utf8=utf8) == name


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "client.example.com ([192.0.2.7])"),
        ({"peer_name": "c.example.net"}, "client.example.com (c.example.net [192.0.2.7])"),
        ({"address": "2001:db8::7"}, "client.example.com ([IPv6:2001:db8::7])"),
        ({"address": ""}, "client.example.com (local)"),
        ({"address": "", "peer_name": "bob"}, "client.example.com (local, from user bob)"),
        ({"address": "", "hello": ""}, "localhost (local)"),
        ({"hello": ""}, "unknown ([192.0.2.7])"),
    ],
)
def test_who_it_came_from(changed: dict[str, str], said: str) -> None:
    field = received_field(hop(**changed), "1.M2P3R4").decode()
    assert field.startswith(f"Received: from {said}\n\tby mail.example.org ")


def test_the_whole_field() -> None:
    tls = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
    field = received_field(hop(tls=tls), "1.M2P3R4", "bob@example.org").decode()
    match = re.fullmatch(
        r"Received: from client\.example\.com \(\[192\.0\.2\.7\]\)\n"
        r"\t\(using TLSv1\.3 with cipher TLS_AES_256_GCM_SHA384 \(256/256 bits\)\)\n"
        r"\tby mail\.example\.org \(mailtools\) with ESMTP id 1\.M2P3R4\n"
        r"\tfor <bob@example\.org>; (.*)\n",
        field,
    )
    assert match
    assert parse_date_field(match[1])


@pytest.mark.parametrize(
    ("seconds", "offset", "text"),
    [
        (0, 0, "Thu, 1 Jan 1970 00:00:00 +0000"),
        (1795464000, 60, "Mon, 23 Nov 2026 21:00:00 +0100"),
        (1795464000, -210, "Mon, 23 Nov 2026 16:30:00 -0330"),
        (951782399.9, 1, "Tue, 29 Feb 2000 00:00:59 +0001"),
    ],
)
def test_dates_are_written_as_they_are_read(seconds: float, offset: int, text: str) -> None:
    assert format_date_field(seconds, offset) == text
    found = parse_date_field(text)
    assert found
    assert found[1] == int(seconds)
