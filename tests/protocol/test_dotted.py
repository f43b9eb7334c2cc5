"""Dot-stuffed text: any cut of the octets gives the same text, and only one thing ends it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.protocol.dotted import ChunkReader, DotReader, crlf, dot_stuffed, lf

text = st.lists(st.sampled_from([b"\n", b".", b"a", b"..", b"line", b"\n.\n"]), max_size=30).map(
    b"".join
)
cuts = st.lists(st.integers(0, 60), max_size=8)


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    points = sorted({0, len(data), *(min(point, len(data)) for point in at)})
    return [data[a:b] for a, b in pairwise(points)]


@given(text, cuts, cuts)
def test_round_trip_in_any_pieces(message: bytes, sent: list[int], taken: list[int]) -> None:
    wire = b"".join(dot_stuffed(pieces(message, sent))) + b"QUIT\r\n"
    reader, read = DotReader(), b""
    for piece in pieces(wire, taken):
        if reader.finished:
            reader.rest += piece
        else:
            read += reader.feed(piece)
    assert reader.finished
    assert reader.rest == b"QUIT\r\n"
    assert not reader.fault
    whole = message if not message or message.endswith(b"\n") else message + b"\n"
    assert read == whole


@pytest.mark.parametrize(
    "false_end",
    [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\n.\r", b"\r.\r\n", b"\r\n\0.\r\n"],
)
def test_nothing_else_ends_a_text(false_end: bytes) -> None:
    wire = b"Subject: a\r\n\r\nb" + false_end + b"MAIL FROM:<x@y>\r\n.\r\n"
    for step in (1, 2, 3, len(wire)):
        reader = DotReader()
        for position in range(0, len(wire), step):
            reader.feed(wire[position : position + step])
        assert reader.finished
        assert reader.rest == b""
        assert reader.fault


@given(st.binary(max_size=60), cuts)
def test_any_octets_in_any_pieces_give_the_same(data: bytes, at: list[int]) -> None:
    whole, cut, outcome = DotReader(), DotReader(), b""
    expected = whole.feed(data)
    for piece in pieces(data, at):
        if not cut.finished:
            outcome += cut.feed(piece)
    assert outcome == expected or (not whole.finished and expected.startswith(outcome))
    assert cut.finished == whole.finished


@given(text, cuts)
def test_chunks_are_lines(message: bytes, at: list[int]) -> None:
    wire = message.replace(b"\n", b"\r\n")
    reader = ChunkReader()
    read = b"".join(reader.feed(piece) for piece in pieces(wire, at)) + reader.feed(b"", last=True)
    assert read == message
    assert not reader.fault


@given(st.binary(max_size=60), cuts)
def test_line_ends_in_any_pieces(data: bytes, at: list[int]) -> None:
    assert b"".join(crlf(pieces(data, at))) == b"".join(crlf([data]))
    unix = b"".join(lf(pieces(data, at)))
    assert unix == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


words = [b"\r", b"\n", b".", b"a", b"\r\n", b"\r\r\n", b"\r\n."]
odd = st.lists(st.sampled_from(words), max_size=20).map(b"".join)


@given(odd, cuts)
def test_mended_in_any_pieces(data: bytes, at: list[int]) -> None:
    wire = data.replace(b"\r\n.", b"\r\n..").removeprefix(b".") + b"\r\n.\r\nQUIT\r\n"
    reader, read = DotReader(mend=True), b""
    for piece in pieces(wire, at):
        if reader.finished:
            reader.rest += piece
        else:
            read += reader.feed(piece)
    assert (reader.finished, reader.fault) == (True, "")
    assert b"\r" not in read
    whole = DotReader(mend=True)
    assert read == whole.feed(wire)
    assert reader.rest == whole.rest
    chunks = ChunkReader(mend=True)
    read = b"".join(chunks.feed(piece) for piece in pieces(data, at)) + chunks.feed(b"", last=True)
    assert read == ChunkReader(mend=True).feed(data, last=True)
    assert b"\r" not in read
    assert not chunks.fault


def test_what_is_mended_is_a_line_as_it_was_meant() -> None:
    wire = b"Subject: a\nTo: b\r\r\n\r\r\nx\ry\n.\n..z\r\n..\r\n.\r\n"
    reader = DotReader(mend=True)
    assert reader.feed(wire) == b"Subject: a\nTo: b\n\nx y\n.\n..z\n.\n"
    assert DotReader(mend=True).feed(b"a\0\r\n.\r\n") is not None
