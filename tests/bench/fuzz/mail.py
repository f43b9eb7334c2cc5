"""What is in a message: parsers that never raise but for a Failure, and measure what is there."""

import contextlib
from collections.abc import Callable

from mailtools.errors import Failure
from mailtools.mail.address import parse_address, parse_domain, parse_path
from mailtools.mail.address_list import parse_address_list
from mailtools.mail.binary_mime import text_form
from mailtools.mail.dates import parse_date_field, parse_internal_date, parse_search_date
from mailtools.mail.fields import fields, split_message
from mailtools.mail.mime import header_pairs, scan, walk
from mailtools.mail.mime_fields import read_mime_fields
from mailtools.mail.mime_words import decode_base64, decode_quoted_printable, decode_words
from mailtools.mail.qualify import qualify
from mailtools.protocol.imap.structure import Structure, envelope
from mailtools.protocol.smtp.encodings import seven_bit
from mailtools.trust.author import author_domain


def mime(data: bytes) -> None:
    """The MIME scanner: parts lie in one another, and their structure can be written."""
    root = scan(data)
    for part in walk(root):
        assert 0 <= part.start <= part.body <= part.end <= len(data)
        for child in part.parts:
            assert part.body <= child.start
            assert child.end <= part.end
    assert root.octets == len(data[root.body :].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    structure = Structure(lambda part: header_pairs(data[part.start : part.body]), extended=True)
    assert structure.write(root)
    assert envelope(header_pairs(data[: root.body]))


def header_fields(data: bytes) -> None:
    """Fields, MIME's fields, addresses and encoded words of any header."""
    header, body = split_message(data)
    assert len(header) + len(body) <= len(data)
    assert all(field.raw.rstrip(b"\n") in header for field in fields(header))
    pairs = header_pairs(data)
    for inside in (True, False):
        read_mime_fields(pairs, inside=inside)
    for _, value in pairs[:20]:
        decode_words(value)
        decode_base64(value)
        decode_quoted_printable(value)
        parse_date_field(value.decode("latin-1"))
    with contextlib.suppress(Failure):
        author_domain(header)


def addresses(data: bytes) -> None:
    """Addresses, paths and lists of them; qualifying keeps what is whole."""
    for mailbox in parse_address_list(data):
        str(mailbox)
    qualify(data, b"example.org")
    text = data.decode("utf-8", "surrogateescape")
    for read in (parse_address, parse_path, parse_domain):
        with contextlib.suppress(Failure):
            again = str(read(text) or "")
            if read is parse_address:
                assert str(parse_address(again)) == again
    for read_date in (parse_search_date, parse_internal_date):
        with contextlib.suppress(ValueError):
            read_date(text)


def rewriting(data: bytes) -> None:
    """Messages made fit for old peers: seven bits, or lines of text."""
    with contextlib.suppress(Failure):
        assert seven_bit(data).isascii() or not data.isascii()
    with contextlib.suppress(Failure):
        assert b"\r\n" not in text_form(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "mime": mime,
    "header-fields": header_fields,
    "addresses": addresses,
    "rewriting": rewriting,
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "mime": (
        (
            b"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/digest; "
            b"boundary=b\n\n--b\n\nSubject: x\n\ny\n--b--\n--a--\nend\n"
        ),
        (
            b"Content-Type: message/rfc822\r\n\r\nContent-Type: text/plain; charset*0*=a''%20; "
            b"charset*1=b\r\n\r\nx"
        ),
    ),
    "header-fields": (b"From: =?utf-8?q?=C3=BC?= <a@b>\nDate: Mon, 1 Jan 24 00:00 EST\n\n",),
    "addresses": (b'"a\\"b" <@x,@y:a@[192.0.2.1]>, g: c (d) , e@f;', b"1-Jan-2024 00:00:00 +0000"),
    "rewriting": (
        (
            b"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Transfer-Encoding: 8bit\n\n"
            b"\xc3\xbc\n--a\nContent-Transfer-Encoding: binary\n\n\r\0\n--a--\n"
        ),
    ),
}
