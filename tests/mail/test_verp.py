"""Reverse-paths that name the recipient."""

import pytest

from mailtools.mail.address import parse_address
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.verp import is_delimiters, personal

LIST = "owner-list@example.org"


def rewritten(sender: str, to: str, **parameters: str) -> str:
    return personal(Envelope(sender, (ForwardPath(to),), parameters), to)


@pytest.mark.parametrize(
    ("delimiters", "found"),
    [("", "owner-list+bob=example.net"), ("+=", "owner-list+bob=example.net"),
     ("-=", "owner-list-bob=example.net")],
)  # fmt: skip
def test_the_recipient_stands_in_the_local_part(delimiters: str, found: str) -> None:
    assert rewritten(LIST, "bob@example.net", XVERP=delimiters) == f"{found}@example.org"


def test_who_does_not_ask_or_has_no_reverse_path_keeps_what_it_has() -> None:
    assert rewritten(LIST, "bob@example.net") == LIST
    assert rewritten("", "bob@example.net", XVERP="") == ""
    assert rewritten(LIST, "postmaster", XVERP="") == LIST


def test_a_quoted_recipient_makes_a_quoted_reverse_path() -> None:
    found = rewritten(LIST, '"a b"@example.net', XVERP="")
    assert found == '"owner-list+a b=example.net"@example.org'
    assert parse_address(found).local == "owner-list+a b=example.net"


def test_delimiters_are_those_of_postfix() -> None:
    assert all(map(is_delimiters, ("", "+=", "-=", "==")))
    assert not any(map(is_delimiters, ("+", "+=+", "a=", "@=")))
