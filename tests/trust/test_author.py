"""Whose domain is behind From: what readers agree on, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadMessage
from mailtools.mail.address_list import parse_address_list
from mailtools.trust.author import author_domain


@pytest.mark.parametrize(
    ("body", "domain"),
    [
        ("alice@example.org", "example.org"),
        ("Alice <alice@Example.ORG>", "example.org"),
        ('"a@evil.test, <b@evil.test>" <alice@example.org>', "example.org"),
        ("a@evil.test <alice@example.org>", "example.org"),
        ("alice@example.org (a@evil.test (deep) \\) )", "example.org"),
        ("(<x@evil.test>) Alice\n\t<alice@example.org>", "example.org"),
        ('"a b"@example.org', "example.org"),
        ("<@relay.test,@b.test:alice@example.org>", "example.org"),
        ("alice @ example.org", "example.org"),
        ("a@example.org, B <b@EXAMPLE.org>", "example.org"),
        ("Team: a@example.org, b@example.org;", "example.org"),
        ("é@bücher.example", "xn--bcher-kva.example"),
        ("root@my_host.example.org", "my_host.example.org"),
        ("Printer <scan@[192.0.2.1]>", ""),
        ("scan@[IPv6:2001:db8::1]", ""),
        ("a@[192.0.2.1], b@[192.0.2.2]", ""),
        ("=?utf-8?q?a=40evil.test?= <alice@example.org>", "example.org"),
    ],
)
def test_the_domain(body, domain):
    assert author_domain(f"To: x@y.test\nFrom: {body}\n".encode()) == domain


@pytest.mark.parametrize(
    "header",
    [
        "",
        "To: a@example.org\n",
        "From: a@example.org\nFrom: a@example.org\n",
        "From: a@example.org\nfrom : b@example.com\n",
        "From:\n",
        "From: Alice\n",
        "From: undisclosed:;\n",
        "From: a@example.org, b@example.com\n",
        "From: <a@example.org> <b@example.com>\n",
        "From: <a@example.org> b@example.com\n",
        "From: <a@example.org>b\n",
        "From: <a@example.org\n",
        "From: a@example.org>\n",
        "From: a@b@example.org\n",
        "From: @example.org\n",
        "From: alice\n",
        "From: a@\n",
        "From: a@[192.0.2.1], b@example.org\n",
        "From: a@[192.0.2.1\n",
        "From: a@[192.0.2.999]\n",
        "From: a@[bank.example]\n",
        "From: a@exa..mple\n",
        "From: a@exa mple.org\n",
        'From: "a@example.org\n',
        "From: (a@example.org\n",
        "From: a@example.org\0.evil.test\n",
        "From: <a@example.org,b@example.org>\n",
    ],
)
def test_what_is_refused(header):
    with pytest.raises(BadMessage):
        author_domain(header.encode())


def test_what_is_not_utf8_is_refused():
    with pytest.raises(BadMessage):
        author_domain(b"From: \xff@example.org\n")


PIECES = st.sampled_from(
    ["a", "example.org", "b.test", "@", "<", ">", '"', "(", ")", ",", ";", ":", "\\",
     " ", "\n ", "[", "]", ".", "é"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=30))
def test_what_is_judged_is_what_readers_are_shown(body):
    header = f"From: {body}\n".encode()
    try:
        domain = author_domain(header)
    except BadMessage:
        return
    body_as_read = header.partition(b":")[2].strip()
    shown = {
        mailbox.domain.decode().lower().rstrip(".")
        for mailbox in parse_address_list(body_as_read)
        if mailbox.domain is not None
    }
    if not domain:
        assert all(each.startswith("[") for each in shown)
        return
    assert shown == {domain} or not domain.isascii() or "é" in body
