"""MIME fields, encoded words, charsets, transfer encodings."""

import base64
import quopri
from email.header import Header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.mime_fields import MimeFields, read_mime_fields
from mailtools.mail.mime_words import (
    decode_base64,
    decode_charset,
    decode_parameter,
    decode_quoted_printable,
    decode_words,
    known_charset,
)


def read(*pairs: tuple[str, str], inside: bool = True) -> MimeFields:
    return read_mime_fields([(n.encode(), b.encode()) for n, b in pairs], inside=inside)


def test_content_type_with_all_there_can_be() -> None:
    found = read(("content-type", 'Text/HTML (c); charset="a \\"b\\""; x = y (z) ; format=flowed'))
    assert (found.type, found.subtype) == (b"Text", b"HTML")
    assert found.parameters == [(b"charset", b'a "b"'), (b"x", b"y"), (b"format", b"flowed")]


@pytest.mark.parametrize("body", ["", "text", "text/", "/plain", ";x=y", '"text"/plain', "te xt/p"])
def test_a_type_that_cannot_be_read_is_text(body: str) -> None:
    found = read(("content-type", body))
    assert (found.type, found.subtype, found.declared) == (b"text", b"plain", False)


def test_a_value_with_specials_needs_no_quotes() -> None:
    found = read(("content-disposition", "attachment; filename=a/b[1].txt; size=3"))
    assert found.disposition_parameters == [(b"filename", b"a/b[1].txt"), (b"size", b"3")]


def test_parameters_in_pieces() -> None:
    found = read(("content-type", "a/b; n*1=\"c d\"; n*0=ab; e*0*=utf-8''%41; e*1=100%; z*2=lost"))
    assert found.parameters == [
        (b"e*", b"utf-8''%41100%25"),
        (b"n", b"abc d"),
        (b"z*2", b"lost"),
    ]


def test_the_first_field_counts() -> None:
    assert read(("content-type", "a/b"), ("content-type", "c/d")).type == b"a"


def test_at_the_top_mime_must_be_declared() -> None:
    base = ("content-transfer-encoding", "base64")
    assert read(base, inside=False).encoding == b"7bit"
    assert read(base, ("mime-version", "1.0"), inside=False).encoding == b"base64"
    assert read(base, inside=True).encoding == b"base64"


def test_languages() -> None:
    assert read(("content-language", "en, de-AT (x), fr")).languages == [b"en", b"de-AT", b"fr"]


@given(st.binary(max_size=200))
def test_any_field_is_read(body: bytes) -> None:
    for name in (b"content-type", b"content-disposition", b"content-language"):
        read_mime_fields([(name, body)], inside=True)


# -- words ----------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60))
def test_words_that_python_encodes_are_read(text: str) -> None:
    encoded = Header(text, "utf-8").encode(linesep="\n").replace("\n", "")
    assert decode_words(encoded.encode()) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"=?iso-8859-1?q?a=E4_b?=", "a\u00e4 b"),
        (b"=?utf-8?Q?=C3?= =?utf-8?Q?=A4?=", "\u00e4"),
        (b"=?utf-8*en?B?w6Q=?= x", "\u00e4 x"),
        (b"a =?utf-8?b?YQ==?= b", "a a b"),
        (b"=?nosuch?q?caf=E9?=", "caf\u00e9"),
        (b"=?utf-8?x?no?=", "=?utf-8?x?no?="),
        (b"caf\xe9", "caf\u00e9"),
        ("caf\u00e9".encode(), "caf\u00e9"),
        (b"=?us-ascii?q?=C3=A4?=", "\u00e4"),
        (b"=?zlib?b?eJw=?=", "x\u0153"),
    ],
)
def test_words(body: bytes, text: str) -> None:
    assert decode_words(body) == text


@given(st.binary(max_size=300), st.text(max_size=20))
def test_nothing_raises(data: bytes, charset: str) -> None:
    decode_words(data)
    decode_charset(data, charset)
    decode_base64(data)
    decode_quoted_printable(data)
    decode_parameter(b"name*", data)


@given(
    st.binary(max_size=200), st.lists(st.tuples(st.integers(0, 250), st.sampled_from(b"\r\n -!*")))
)
def test_base64_passes_over_what_does_not_belong(data: bytes, junk: list[tuple[int, int]]) -> None:
    text = bytearray(base64.b64encode(data))
    for place, octet in junk:
        text.insert(min(place, len(text)), octet)
    assert decode_base64(bytes(text)) == data


@given(st.binary(max_size=200))
def test_quoted_printable(data: bytes) -> None:
    assert decode_quoted_printable(quopri.encodestring(data)) == data


def test_charsets() -> None:
    assert known_charset("UTF-8")
    assert known_charset("windows-1252")
    assert not known_charset("rot13")
    assert not known_charset("base64")
    assert not known_charset("no such")


def test_parameter_values() -> None:
    assert decode_parameter(b"name*", b"utf-8'en'na%C3%AFve%20x") == "na\u00efve x"
    assert decode_parameter(b"name", b"=?utf-8?q?x=C3=A4?=") == "x\u00e4"
