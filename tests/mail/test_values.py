"""Replies, reports, envelopes and fields: what is written is read back, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadEntry, MailboxFull, NoSuchMailbox
from mailtools.log import facts
from mailtools.mail import fields
from mailtools.mail.envelope import Envelope, ForwardPath, decode, encode
from mailtools.mail.reply import make_peer_reply, one_line, parse_reply_line, reply, reply_to
from mailtools.mail.report import ACTIONS, Report, parse_report, report_failure

words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


def test_reply_repeats_the_status_on_each_line() -> None:
    wire = bytes(reply(550, "5.1.1", "No such mailbox", "Ask the postmaster"))
    assert wire == b"550-5.1.1 No such mailbox\r\n550 5.1.1 Ask the postmaster\r\n"


def test_reply_text_cannot_break_the_line() -> None:
    assert bytes(reply_to(NoSuchMailbox("a\r\n250 b"))) == b"550-5.1.1 a?\r\n550 5.1.1 250 b\r\n"


def test_one_line_neither_moves_a_cursor_nor_turns_text_round() -> None:
    assert one_line("a\tb\r\n\x1b[2J\x9b\u2028") == "a b???[2J??"
    for turn in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
        assert one_line(f"ann{turn}moc.") == "ann?moc."
        assert facts({"to": f"ann{turn}moc."}) == 'to="ann?moc."'
    assert one_line("שלום ångström") == "שלום ångström"


def test_peers_reply_with_and_without_status() -> None:
    assert make_peer_reply(250, ["2.0.0 queued", "2.0.0 as 1"]).text == "queued as 1"
    assert make_peer_reply(250, ["2.0.0 queued"]).status == "2.0.0"
    assert make_peer_reply(550, ["2.0.0 odd"]).status == ""
    assert make_peer_reply(550, ["no"]).status == ""


@pytest.mark.parametrize("line", [b"", b"25", b"250_x", b"150 x", b"abc def", b"650 x"])
def test_what_is_no_reply_line(line: bytes) -> None:
    assert parse_reply_line(line) is None


@given(st.binary(max_size=60))
def test_reply_lines_never_raise(line: bytes) -> None:
    parse_reply_line(line)


@given(words, st.sampled_from(sorted(ACTIONS)), words, st.text(max_size=60))
def test_report_lines_are_read_back(path: str, action: str, status: str, text: str) -> None:
    line = Report(path, action, status, text).line("17")
    assert line.count(b"\n") == 1
    head, report = parse_report(line[:-1])
    assert (head, report.forward_path, report.action) == ("17", path, action)


@given(st.binary(max_size=80))
def test_a_lying_agent_makes_a_bad_entry_at_most(line: bytes) -> None:
    try:
        parse_report(line)
    except BadEntry:
        pass


def test_the_first_digit_decides() -> None:
    assert report_failure("a@example.org", MailboxFull()).action == "delayed"
    assert report_failure("a@example.org", NoSuchMailbox()).action == "failed"


paths = st.builds(
    ForwardPath,
    st.one_of(
        words.map(lambda word: word.strip('"') + "@example.org"),
        st.just('"a b\\" c"@example.org'),
    ),
    st.dictionaries(
        st.sampled_from(["NOTIFY", "ORCPT", "X"]), st.sampled_from(["", "a", "b=c"]), max_size=3
    ),
)


@given(
    st.builds(
        Envelope,
        st.one_of(st.just(""), words),
        st.lists(paths, min_size=1, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(["BODY", "ENVID"]), words, max_size=2),
        st.one_of(st.just(""), words),
    )
)
def test_envelopes_are_read_back(envelope: Envelope) -> None:
    head = encode(envelope)
    assert head.endswith(b"\n\n")
    assert decode(head[:-1]) == envelope


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"mailtools-queue 2\nreverse-path \nforward-path a@b\n",
        b"mailtools-queue 1\nreverse-path \n",
        b"mailtools-queue 1\nforward-path a@b\n",
        b"mailtools-queue 1\nreverse-path \nforward-path a@b\nnovel x\n",
        b"mailtools-queue 1\nreverse-path\nforward-path a@b\n",
    ],
)
def test_what_is_no_envelope(head: bytes) -> None:
    with pytest.raises(BadEntry):
        decode(head)


def test_an_envelope_cannot_be_injected_into() -> None:
    with pytest.raises(BadEntry):
        encode(Envelope("a@b\nforward-path victim@example.org", (ForwardPath("c@d"),)))


MESSAGE = b"From: a@b\nSubject: one\n two\n\tthree\nX : y\njunk line\nTo: c@d\n\nbody\n\nmore\n"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_fields_keep_each_byte(end: bytes) -> None:
    message = MESSAGE.replace(b"\n", end)
    header, body = fields.split_message(message)
    assert body == b"body\n\nmore\n".replace(b"\n", end)
    found = list(fields.fields(header))
    assert [field.name for field in found] == [b"From", b"Subject", b"X", b"To"]
    assert found[1].raw == b"Subject: one\n two\n\tthree\n".replace(b"\n", end)
    assert found[1].body == b"one two\tthree"
    assert fields.first(header, b"TO").body == b"c@d"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("message", "header", "body"),
    [
        (b"", b"", b""),
        (b"\nbody", b"", b"body"),
        (b"\r\nbody", b"", b"body"),
        (b"A: b", b"A: b", b""),
        (b"A: b\n\n", b"A: b\n", b""),
        (b"A: b\r\n\r\nc", b"A: b\r\n", b"c"),
    ],
)
def test_where_the_header_ends(message: bytes, header: bytes, body: bytes) -> None:
    assert fields.split_message(message) == (header, body)


@given(st.binary(max_size=200))
def test_any_octets_are_header_and_body(message: bytes) -> None:
    header, body = fields.split_message(message)
    assert len(message) - len(header) - len(body) in (0, 1, 2)
    list(fields.fields(header))
