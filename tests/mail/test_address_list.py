"""Address lists as ENVELOPE shows them."""

import re
from email.utils import getaddresses
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail import address_list
from mailtools.mail.address_list import END_OF_GROUP, Mailbox, parse_address_list


def one(name: str | None, local: str, domain: str, route: str | None = None) -> Mailbox:
    return Mailbox(
        name.encode() if name else None,
        route.encode() if route else None,
        local.encode(),
        domain.encode(),
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a@b.example", [one(None, "a", "b.example")]),
        ("J. R. <a@b>, c@d", [one("J. R.", "a", "b"), one(None, "c", "d")]),
        ('"x, y" <a@b>', [one("x, y", "a", "b")]),
        ("a@b (Name (nested) \\) x)", [one("Name (nested) ) x", "a", "b")]),
        ("<@r1,@r2:a@b>", [one(None, "a", "b", "@r1,@r2")]),
        ('"a b"@[192.0.2.1]', [one(None, "a b", "[192.0.2.1]")]),
        ("root", [one(None, "root", "")]),
        ("nobody in particular", [one("nobody in particular", "", "")]),
        (", ,a@b,,", [one(None, "a", "b")]),
        ("a@b <c@d>", [one("a@b", "c", "d")]),
        ("g:;", [Mailbox(None, None, b"g", None), END_OF_GROUP]),
        (
            "The Group: a@b, C <c@d>;, e@f",
            [
                Mailbox(None, None, b"The Group", None),
                one(None, "a", "b"),
                one("C", "c", "d"),
                END_OF_GROUP,
                one(None, "e", "f"),
            ],
        ),
        ("g: a@b", [Mailbox(None, None, b"g", None), one(None, "a", "b"), END_OF_GROUP]),
        ("", []),
        ("(only a comment)", []),
    ],
)
def test_lists(body: str, expected: list[Mailbox]) -> None:
    assert parse_address_list(body.encode()) == expected


words = st.text("abcXYZ019-_", min_size=1, max_size=8)
mailboxes = st.tuples(words, words, words)


@given(st.lists(mailboxes, max_size=5))
def test_common_lists_are_read_as_python_reads_them(items: list[tuple[str, str, str]]) -> None:
    body = ", ".join(f"{name} <{local}@{domain}>" for name, local, domain in items)
    found = [
        ((m.name or b"").decode(), b"%b@%b" % (m.local or b"", m.domain or b""))
        for m in parse_address_list(body.encode())
    ]
    assert found == [(name, address.encode()) for name, address in getaddresses([body]) if address]


@given(st.binary(max_size=200) | st.text('a@<>,:;"\\() .[]', max_size=60).map(str.encode))
def test_anything_is_read_and_groups_are_closed(body: bytes) -> None:
    depth = 0
    for mailbox in parse_address_list(body):
        if mailbox.domain is None:
            depth += 1 if mailbox.local is not None else -1
        assert depth in (0, 1)
    assert depth == 0


usual = st.text('ab.@<> "!', max_size=14).map(str.encode)


@given(usual)
def test_the_short_way_and_the_long_one_agree(body: bytes) -> None:
    never = re.compile(b"(?!)")
    short = parse_address_list(body)
    with patch.object(address_list, "_usual", never):
        assert parse_address_list(body) == short
