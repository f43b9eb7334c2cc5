"""Headers for a stranger's eyes: no local-part, no name, and what helps a postmaster stays."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.redact import redact_header, redact_local_part, redact_text

KEY = bytes(range(32))
HEADER = b"""Return-Path: <bounce+bob=example.org@list.test>
Received: from [192.0.2.7] (helo=x.test)
\tby mx.example.org with ESMTP for <bob.smith@example.org>; Mon, 23 Nov 2026 20:00:00 +0000
Authentication-Results: mx.example.org; spf=fail smtp.mailfrom=alice@bank.test;
\tdkim=fail header.i=@bank.test
DKIM-Signature: v=1; a=rsa-sha256; d=bank.test; i=alice@bank.test; s=s;
\tb=abcd+/==
From: "Alice Doe (private)" <alice@bank.test>, =?utf-8?q?B=C3=B6b?= <"odd one"@x.test>
To: Secret List: carol@example.org;
Subject: For alice@bank.test: http://evil.test/
X-Customer: 4711
Message-ID: <20261123.1@bank.test>
Date: Mon, 23 Nov 2026 20:00:00 +0000

"""


def test_what_is_shown_of_a_header() -> None:
    alice, bob = (redact_local_part(name, KEY).decode() for name in (b"alice", b"bob.smith"))
    text = redact_header(HEADER, KEY).decode()
    assert f"smtp.mailfrom={alice}@bank.test" in text
    assert "header.i=@bank.test" in text
    assert f"i={alice}@bank.test; s=s;\n\tb=abcd+/==\n" in text
    assert f"From: <{alice}@bank.test>,\n\t<" in text
    assert f"for <{bob}@example.org>" in text
    assert f"Subject: For {alice}@bank.test: hxxp://evil.test/\n" in text
    assert "Message-ID: <20261123.1@bank.test>" in text
    for secret in ("Alice", "alice", "smith", "odd", "bob=", "carol", "Secret", "4711", "B=C3"):
        assert secret not in text


def test_another_key_hides_otherwise() -> None:
    assert redact_local_part(b"a", KEY) == redact_local_part(b'"a"', KEY)
    assert redact_local_part(b"a", KEY) != redact_local_part(b"a", bytes(32))
    assert redact_local_part(b"a", KEY) != redact_local_part(b"b", KEY)


@pytest.mark.parametrize(
    "subject", [b"=?utf-8?b?YWxpY2VAYmFuay50ZXN0?=", b"=?us-ascii?q?alice=40bank.test?= x"]
)
def test_an_address_in_disguise_is_gone(subject: bytes) -> None:
    assert redact_header(b"Subject: " + subject + b"\n", KEY) == b"Subject: (redacted)\n"


locals_ = st.from_regex(r"[a-z][a-z0-9.+=_/-]{3,20}", fullmatch=True)


@given(
    locals_, st.sampled_from(["<%s@x.test>", "for %s@x.test;", "(%s@x.test)", "mailto:%s@x.test"])
)
def test_no_local_part_comes_through(local: str, form: str) -> None:
    token = redact_local_part(local.encode(), KEY).decode()
    assert redact_text((form % local).encode(), KEY).decode() == form % token


@given(st.binary(max_size=300))
def test_whatever_comes_lines_of_ascii_go(data: bytes) -> None:
    text = redact_header(b"Subject: " + data + b"\nFrom: " + data + b"\nTo: " + data, KEY)
    assert not re.search(rb"[^\t\n\x20-\x7e]", text)
    redact_text(data, KEY)
