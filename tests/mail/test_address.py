"""Addresses: RFC 5321's grammar, and what its abuse must not do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadAddress, Failure, NonAsciiAddress
from mailtools.mail.address import (
    Address,
    ascii_domain,
    literal_address,
    parse_address,
    parse_domain,
    parse_path,
)


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("bob@example.org", "bob", "example.org"),
        ("bob+list=x@example.org", "bob+list=x", "example.org"),
        ('"a b"@example.org', "a b", "example.org"),
        (r'"a\"b\\c"@example.org', 'a"b\\c', "example.org"),
        ('"a@b"@example.org', "a@b", "example.org"),
        ('""@example.org', "", "example.org"),
        ("bob@[192.0.2.1]", "bob", "[192.0.2.1]"),
        ("bob@[IPv6:2001:db8::1]", "bob", "[IPv6:2001:db8::1]"),
        ("jörg@bücher.example", "jörg", "bücher.example"),
        ("user%elsewhere@example.org", "user%elsewhere", "example.org"),
        (
            "bounces+" + "a" * 120 + "=example.net@example.org",
            "bounces+" + "a" * 120 + "=example.net",
            "example.org",
        ),
        (".b..b.@example.org", ".b..b.", "example.org"),
    ],
)
def test_good_addresses(text: str, local: str, domain: str) -> None:
    address = parse_address(text)
    assert address == Address(local, domain)
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "bob",
        "@example.org",
        "bob@",
        "bob@example.org.",
        "bob@-example.org",
        "bob@example-.org",
        "bob@exam_ple.org",
        "bob@[192.0.2.256]",
        "bob@[192.0.2.1",
        "bob@[IPv6:::1::]",
        "bob@[X-tag:stuff]",
        "a b@example.org",
        '"bob@example.org',
        "bob@example.org\n",
        "bob\t@example.org",
        "bob\0@example.org",
        "<bob@example.org>",
        "a" * 257 + "@example.org",
        "bob@" + "a" * 64 + ".org",
        "bob@" + ".".join(["abcdefg"] * 32) + ".org",
    ],
)
def test_bad_addresses_say_what_is_wrong(text: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_address(text)
    assert caught.value.text
    assert "\n" not in caught.value.text


def test_dots_that_want_quotes_are_read_without_and_written_with_them() -> None:
    assert str(parse_path("<b..b.@example.org>")) == '"b..b."@example.org'


def test_non_ascii_needs_smtputf8() -> None:
    with pytest.raises(NonAsciiAddress):
        parse_address("jörg@example.org", utf8=False)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("<>", None),
        ("<bob@example.org>", Address("bob", "example.org")),
        ("<@a.example,@b.example:bob@example.org>", Address("bob", "example.org")),
        ("<postmaster>", Address("postmaster", "")),
        ("<PostMaster>", Address("PostMaster", "")),
    ],
)
def test_paths(text: str, address: Address | None) -> None:
    assert parse_path(text) == address


@pytest.mark.parametrize("text", ["", "bob@example.org", "<bob>", "<@a:>", "<@a,b:c@d>", "<a@b> x"])
def test_bad_paths(text: str) -> None:
    with pytest.raises(BadAddress):
        parse_path(text)


def test_literals_and_domains() -> None:
    assert literal_address("[IPv6:2001:DB8:0::1]") == "2001:db8::1"
    assert parse_domain("mail.example.org") == "mail.example.org"
    for bad in ("exam ple", "", "a..b", "[1.2.3]"):
        with pytest.raises(BadAddress):
            parse_domain(bad)


def test_key_compares_as_dns_does() -> None:
    assert parse_address("Bob@BÜCHER.example").key == "bob@xn--bcher-kva.example"
    assert ascii_domain("EXAMPLE.org") == "example.org"


@given(st.text(max_size=40), st.text(max_size=20))
def test_no_text_makes_it_fail_otherwise(local: str, domain: str) -> None:
    for text in (local, f"{local}@{domain}", f"<{local}@{domain}>", f'"{local}"@example.org'):
        for parse in (parse_address, parse_path):
            try:
                address = parse(text)
            except Failure:
                continue
            if address and address.domain:
                assert parse_address(str(address)) == address
                assert not set(str(address)) & set("\r\n\t\0")
