"""The MIME scanner: where parts lie, whatever the octets."""

import mmap
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailtools.mail.mime import DEPTH_MOST, PARTS_MOST, Part, count_lines, scan, walk, wire_size

MESSAGES = Path(__file__).parent.parent / "messages"


def types(part: Part) -> object:
    name = f"{part.mime.type.decode()}/{part.mime.subtype.decode()}".lower()
    return [name, *map(types, part.parts)] if part.parts else name


def body(data: bytes, part: Part) -> bytes:
    return data[part.body : part.end]


def multipart(boundary: str, *parts: str) -> bytes:
    head = f'Content-Type: multipart/mixed; boundary="{boundary}"\n\n'
    return (head + "".join(f"--{boundary}\n{part}\n" for part in parts)).encode()


def test_parts_end_before_the_newline_of_the_delimiter() -> None:
    data = multipart("b", "\none\n", "Content-Type: text/html\n\ntwo") + b"--b--\nepilogue\n"
    root = scan(data)
    assert types(root) == ["multipart/mixed", "text/plain", "text/html"]
    assert [body(data, part) for part in root.parts] == [b"one\n", b"two"]
    assert root.end == len(data)


def test_a_message_inside_a_message() -> None:
    data = b"Content-Type: message/rfc822\n\nSubject: in\nContent-Type: text/html\n\n<p>\n"
    root = scan(data)
    assert types(root) == ["message/rfc822", "text/html"]
    assert root.parts[0].top
    assert body(data, root.parts[0]) == b"<p>\n"


def test_the_default_type_in_a_digest_is_a_message() -> None:
    data = b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\ny\n--b--\n"
    assert types(scan(data)) == ["multipart/digest", ["message/rfc822", "text/plain"]]


def test_an_outer_delimiter_ends_the_inner_multipart() -> None:
    inner = "Content-Type: multipart/mixed; boundary=i\n\n--i\n\none"
    data = multipart("o", inner, "\ntwo") + b"--o--\n"
    root = scan(data)
    assert types(root) == ["multipart/mixed", ["multipart/mixed", "text/plain"], "text/plain"]
    assert body(data, root.parts[1]) == b"two"


def test_the_longest_boundary_wins_where_one_begins_another() -> None:
    inner = "Content-Type: multipart/mixed; boundary=part1\n\n--part1\n\none\n--part1--"
    data = multipart("part", inner, "\ntwo") + b"--part--\n"
    assert len(scan(data).parts) == 2


def test_a_boundary_in_a_line_is_no_delimiter() -> None:
    data = multipart("b", "\nsee --b here\n --b\n") + b"--b--\n"
    assert len(scan(data).parts) == 1


def test_crlf_is_measured_not_lf() -> None:
    data = b"Subject: x\n\none\ntwo\r\nthree"
    root = scan(data)
    assert root.header_octets == len("Subject: x\r\n\r\n")
    assert root.octets == len("one\r\ntwo\r\nthree")
    assert root.lines == 2


def test_depth_and_number_of_parts_are_limited() -> None:
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%dx\n\n--b%dx\n" % (n, n) for n in range(300)
    )
    assert depth(scan(deep)) <= DEPTH_MOST
    assert depth(scan(b"Content-Type: message/rfc822\n\n" * 300)) <= DEPTH_MOST
    many = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * (PARTS_MOST + 100)
    assert sum(1 for _ in walk(scan(many))) <= PARTS_MOST


def depth(part: Part) -> int:
    found, level = 0, [part]
    while level:
        found += 1
        level = [child for one in level for child in one.parts]
    return found


@pytest.mark.parametrize(
    "data",
    [
        b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\n" * 300000,
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n)
                 for n in range(20000)),
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\n"
        + b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--o\n" % n
                   for n in range(20000)),
        b"Content-Type: a/b" + b";a*=b" * 200000 + b"\n\n",
        b"Content-Type: a/b; x=" + b'"' * 1000000 + b"\n\n",
        b"Content-Type: " + b"(" * 1000000 + b"\n\n",
        b"a:\n " * 500000,
        b"a\n" * 1000000,
    ],
    ids=["delimiters", "deep", "never-found", "pieces", "quotes", "comments", "folds", "no-fields"],
)  # fmt: skip
def test_hostile_messages_cost_their_size(data: bytes) -> None:
    """Were any of these quadratic, the test would not end."""
    assert scan(data).end == len(data)


# -- properties -----------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: message/rfc822\r\n",
        b"Content-Type: multipart/digest;\n boundary=\"b--\"\n", b"\n", b"\r\n", b"--b\n",
        b"--b--\n",
        b"--b--", b"x", b"\r", b"--", b"--bc\n", b"Content-Type: multipart/mixed; boundary=bc\n",
        b"Subject: y\n", b" ", b"\0", b"--b--x\r\n", b"Content-Type: \"\n", b"\xff\n",
    ]
)  # fmt: skip
messages = st.lists(pieces, max_size=30).map(b"".join)


@given(messages | st.binary(max_size=300))
@example(b"")
@example(b"\r")
def test_parts_lie_inside_one_another_in_order(data: bytes) -> None:
    root = scan(data)
    assert root.start == 0
    assert root.end == len(data)
    for part in walk(root):
        assert part.start <= part.body <= part.end
        at = part.body
        for child in part.parts:
            assert at <= child.start
            assert child.end <= part.end
            at = child.end


@given(messages)
def test_sizes_are_those_of_the_crlf_form(data: bytes) -> None:
    for part in walk(scan(data)):
        header, text = data[part.start : part.body], data[part.body : part.end]
        assert part.header_octets == len(re.sub(rb"\r?\n", b"\r\n", header))
        # A line end that is cut between a part and its delimiter belongs to the delimiter.
        assert part.octets == len(re.sub(rb"\r?\n", b"\r\n", text))
        assert part.lines == text.count(b"\n")


@given(st.lists(st.sampled_from([b"\r", b"\n", b"x"]), max_size=12).map(b"".join), st.data())
def test_counting_a_stretch(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    whole = count_lines(data, 0, len(data))
    first, second = count_lines(data, 0, cut), count_lines(data, cut, len(data))
    assert (first[0] + second[0], first[1] + second[1]) == whole
    assert wire_size(data, 0, len(data)) == len(re.sub(rb"\r?\n", b"\r\n", data))


@pytest.mark.parametrize("sample", sorted(MESSAGES.glob("*.eml")), ids=lambda path: path.stem)
def test_a_memory_map_reads_as_bytes_do(sample: Path) -> None:
    with sample.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert scan(mapped) == scan(sample.read_bytes())
