"""What a client's header still lacks, and what of it stays as it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadMessage
from mailtools.services.reception.mending import authors, mend_header


def mended(header: bytes) -> bytes:
    return mend_header(
        header, id_="1.M2P3R4", domain="example.org", reverse_path="alice@example.org"
    )


COMPLETE = (
    b"From: alice@example.org\nTo: Bob <bob@example.net>,\n\tcarol@example.net\n"
    b"Date: Mon, 23 Nov 2026 21:00:00 +0100\nMessage-ID: <x@example.org>\nX-Odd:   kept \n"
)


def test_a_complete_header_stays_byte_for_byte() -> None:
    assert mended(COMPLETE) == COMPLETE


def test_what_is_missing_is_added_behind() -> None:
    header = mended(b"Subject: hello\n")
    assert re.fullmatch(
        rb"Subject: hello\nFrom: <alice@example\.org>\nDate: [^\n]+\n"
        rb"Message-ID: <1\.M2P3R4@example\.org>\n",
        header,
    )


def test_of_several_authors_one_is_the_sender() -> None:
    several = COMPLETE.replace(b"From: alice@", b"From: sales@example.org,\n Alice <alice@", 1)
    several = several.replace(b"<alice@example.org\n", b"<alice@example.org>\n")
    assert mended(several) == several + b"Sender: <alice@example.org>\n"
    assert mended(b"Sender: sales@example.org\n" + several).count(b"Sender:") == 1
    assert b"\nSender: <alice@example.org>\n" in mended(b"From: alice, sales\n")


@pytest.mark.parametrize("body", [b"(ceo@example.com)", b"ceo:;", b"a:; (ceo@example.com)"])
def test_from_names_somebody_outside_of_comments(body: bytes) -> None:
    with pytest.raises(BadMessage, match="names nobody"):
        list(authors(mended(b"From: " + body + b"\n")))


@pytest.mark.parametrize("body", [b'"Bob <bob>', b"Bob (a friend <bob>", b"[192.0.2.1", b'a "\\'])
def test_a_quote_that_does_not_end_takes_no_other_field(body: bytes) -> None:
    header = mended(COMPLETE + b"Cc: " + body + b"\nSubject: hello\n")
    assert b"\nSubject: hello\n" in header
    assert b"\nCc: " in header


@pytest.mark.parametrize("name", [b"Bcc", b"bcc", b"BCC", b"Resent-Bcc"])
def test_blind_copies_are_not_shown(name: bytes) -> None:
    assert mended(name + b": secret@example.net,\n other@example.net\n" + COMPLETE) == COMPLETE


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"bob", b"bob@example.org"),
        (b"Bob <bob>", b"Bob <bob@example.org>"),
        (b"a@example.net, \"A, B\" <dave>", b"a@example.net, \"A, B\" <dave@example.org>"),
        (b"team: bob, carol;", b"team: bob@example.org, carol@example.org;"),
    ],
)  # fmt: skip
def test_addresses_without_a_domain_get_ours(body: bytes, wanted: bytes) -> None:
    assert b"\nCc: " + wanted + b"\n" in mended(COMPLETE + b"Cc: " + body + b"\n")


@pytest.mark.parametrize("name", ["From", "Date", "Message-ID"])
def test_a_field_with_nothing_in_it_is_a_missing_one(name: str) -> None:
    old = re.sub(rf"{name}: [^\n]*\n".encode(), b"", COMPLETE)
    header = mended(f"{name}: \n".encode() + old)
    assert header.startswith(old)
    assert re.fullmatch(rf"{name}: [^\n]+\n".encode(), header.removeprefix(old))


def test_a_line_of_an_mbox_hides_no_header() -> None:
    for line in (b"From alice Mon Nov 23 21:00:00 2026\n", b">From bob\n"):
        assert mended(line + b"Bcc: x@example.net\n" + COMPLETE) == COMPLETE
    assert mended(b"From now on\nwe meet at noon\n").endswith(b"\nFrom now on\nwe meet at noon\n")


def test_text_without_a_header_is_not_lost() -> None:
    header = mended(b"hello,\nBcc: is no field down here\n")
    assert header.endswith(b"\n\nhello,\nBcc: is no field down here\n")
    assert header.startswith(b"From: <alice@example.org>\n")


@given(st.binary(max_size=300).map(lambda text: text.replace(b"\r", b"").replace(b"\n\n", b"\n")))
def test_whatever_a_client_sends_the_result_is_complete_and_mended_once(header: bytes) -> None:
    once = mended(header)
    assert re.search(rb"^date[ \t]*:", once, re.I | re.M)
    assert re.search(rb"^message-id[ \t]*:", once, re.I | re.M)
    end = once.find(b"\n\n") + 1 or len(once)
    assert mended(once[:end]) == once[:end]
