"""Addresses without a domain get one, and no other byte changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.address_list import parse_address_list
from mailtools.mail.qualify import qualify


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"bob", b"bob@here"),
        (b" bob, carol@x\n", b" bob@here, carol@x\n"),
        (b"Bob <bob>", b"Bob <bob@here>"),
        (b'"B, ob" <bob>,\n\tcarol', b'"B, ob" <bob@here>,\n\tcarol@here'),
        (b"bob (Bob, the builder)", b"bob@here (Bob, the builder)"),
        (b"(a) bob (b (c) d)", b"(a) bob@here (b (c) d)"),
        (b"list: bob, carol <carol>; , dave", b"list: bob@here, carol <carol@here>; , dave@here"),
        (b"undisclosed-recipients:;", b"undisclosed-recipients:;"),
        (b"Bob Builder", b"Bob Builder"),
        (b'"odd name"', b'"odd name"@here'),
        (b"<>", b"<>"),
        (b"", b""),
        (b"bob @ example.net", b"bob @ example.net"),
        (b"Bob <@relay:bob@x>", b"Bob <@relay:bob@x>"),
        (b"bob@[192.0.2.1]", b"bob@[192.0.2.1]"),
    ],
)
def test_examples(before, after):
    assert qualify(before, b"here") == after


@given(st.binary() | st.text('ab@<>,;:"()\\ \n.[]').map(str.encode))
def test_only_domains_are_put_in(body):
    result = qualify(body, b"DOMAIN")
    assert result.replace(b"@DOMAIN", b"") == body


word = st.from_regex(rb"[a-z]{1,8}", fullmatch=True)
mailbox = st.one_of(
    word,
    st.builds(lambda w: w + b"@example.net", word),
    st.builds(lambda n, w: n + b" <" + w + b">", word, word),
    st.builds(lambda n, w: b'"' + n + b', x" <' + w + b"@example.net>", word, word),
)


@given(st.lists(mailbox, min_size=1))
def test_afterwards_every_address_has_a_domain(mailboxes):
    found = parse_address_list(qualify(b", ".join(mailboxes), b"example.org"))
    assert len(found) == len(mailboxes)
    assert all(one.domain in (b"example.org", b"example.net") for one in found)
