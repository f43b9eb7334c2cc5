"""Strings, numbers and names on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadFolderName, BadSyntax
from mailtools.protocol.imap import wire
from mailtools.protocol.imap.sequence import Numbers, take_numbers, write_numbers
from mailtools.protocol.imap.wire import Cursor

texts = st.binary(max_size=80).map(lambda data: data.replace(b"\0", b"0"))


@given(texts)
def test_a_string_that_is_written_is_read(data: bytes) -> None:
    for write in (wire.string, wire.astring):
        cursor = Cursor(write(data) + b" rest")
        assert cursor.astring() == data
        assert cursor.accept(b" rest")


@given(texts | st.none())
def test_nstrings(data: bytes | None) -> None:
    assert Cursor(wire.nstring(data)).nstring() == data


def test_nul_cannot_be_written() -> None:
    assert wire.string(b"a\0b") == b"{3}\r\na\x80b"


def test_the_string_nil_is_no_nil() -> None:
    assert wire.astring(b"nil") == b'"nil"'
    assert Cursor(b'"NIL"').nstring() == b"NIL"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_mailbox_names(name: str) -> None:
    expected = "INBOX" if name.upper() == "INBOX" else name
    assert Cursor(wire.mailbox(name)).mailbox() == expected


@pytest.mark.parametrize("text", [b'"caf\xc3\xa9"', b"&bad-", b"&AGE-", b'"&AOk"'])
def test_bad_mailbox_names(text: bytes) -> None:
    with pytest.raises(BadFolderName):
        Cursor(text).mailbox()


@given(st.binary(max_size=60) | st.text('a1 (){}[]<>"\\%*,:.~+$\r\n', max_size=30).map(str.encode))
def test_arbitrary_octets_raise_nothing_else(data: bytes) -> None:
    for name in ("tag", "atom", "astring", "string", "nstring", "number", "keyword", "word",
                 "space", "end", "text", "mailbox", "pattern"):  # fmt: skip
        try:
            getattr(Cursor(data), name)()
        except (BadSyntax, BadFolderName):
            continue


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"a LOGIN {5}\r\n", (5, False)),
        (b"a LOGIN {5+}\n", (5, True)),
        (b"a APPEND x ~{0}\r\n", (0, False)),
        (b"a LOGIN {5} \r\n", None),
        (b"a LOGIN {-5}\r\n", None),
        (b"a LOGIN {5++}\r\n", None),
        (b"}\r\n", None),
        (b"\n", None),
    ],
)
def test_literals_at_the_end_of_a_line(line: bytes, expected: tuple[int, bool] | None) -> None:
    assert wire.literal_at_end(line) == expected


# -- sequence sets --------------------------------------------------------------------------------


def numbers(text: str) -> Numbers:
    return take_numbers(Cursor(text.encode()))


ranges = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6)


@given(ranges, st.sets(st.integers(1, 40)))
def test_a_set_chooses_among_values(pairs: list[tuple[int, int]], values: set[int]) -> None:
    chosen = numbers(",".join(f"{low}:{high}" for low, high in pairs)).among(sorted(values))
    wanted = {n for low, high in pairs for n in range(min(low, high), max(low, high) + 1)}
    assert chosen == sorted(values & wanted)


@given(st.sets(st.integers(1, 60)))
def test_numbers_that_are_written_are_read(values: set[int]) -> None:
    written = write_numbers(sorted(values)).decode()
    if values:
        assert numbers(written).among(range(1, 61)) == sorted(values)
    else:
        assert written == ""


def test_the_star_is_the_last() -> None:
    assert numbers("*").among([3, 7, 9]) == [9]
    assert numbers("8:*").among([3, 7, 9]) == [9]
    assert numbers("20:*").among([3, 7, 9]) == [9]  # RFC 3501 6.4.8
    assert numbers("*:7").among([3, 7, 9]) == [7, 9]
    assert numbers("1:*").among([]) == []


def test_a_set_of_millions_costs_nothing() -> None:
    assert numbers("1:4294967295").among([5]) == [5]


@pytest.mark.parametrize("text", ["", "0", "a", "1:", ":1", ",1", "4294967296", "-1"])
def test_what_is_no_set(text: str) -> None:
    cursor = Cursor(text.encode())
    try:
        take_numbers(cursor)
    except BadSyntax:
        return
    with pytest.raises(BadSyntax):
        cursor.end()
