"""The milter protocol: packets, answers, and what is said at each stage."""

from collections.abc import Generator, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.protocol.milter import answers, client, wire
from mailtools.protocol.milter.answers import Answer, Verdict
from mailtools.protocol.milter.client import MilterClient
from mailtools.protocol.milter.wire import BadPacket, Packet, PacketReader, Step, number

packets = st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=300))


@given(st.lists(packets, max_size=5), st.integers(1, 20))
def test_packets_come_out_as_they_went_in_however_they_are_cut(
    sent: list[tuple[bytes, bytes]], size: int
) -> None:
    octets = b"".join(wire.encode(command, data) for command, data in sent)
    reader, found = PacketReader(), []
    for start in range(0, len(octets), size):
        reader.feed(octets[start : start + size])
        while (packet := reader.take()) is not None:
            found.append(tuple(packet))
    assert found == sent


@given(st.binary(max_size=200))
def test_any_octets_are_packets_or_a_fault(octets: bytes) -> None:
    reader = PacketReader(100)
    reader.feed(octets)
    try:
        while (packet := reader.take()) is not None:
            if answers.parse_answer(packet) is None:
                answers.parse_change(packet, leading_space=False)
    except BadPacket:
        pass


@pytest.mark.parametrize("length", [0, wire.PACKET_MOST + 1, 0xFFFFFFFF])
def test_no_packet_is_empty_or_giant(length: int) -> None:
    reader = PacketReader()
    reader.feed(number(length))
    with pytest.raises(BadPacket):
        reader.take()


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)))
def test_texts_come_out_as_they_went_in(values: list[str]) -> None:
    fields = wire.Fields(wire.text(*values))
    assert [fields.text().decode() for _ in values] == values
    fields.end()


def test_a_nul_cannot_end_a_text_early() -> None:
    assert wire.text("a\0b") == b"a?b\0"


@pytest.mark.parametrize(
    ("said", "verdict", "code", "status", "lines"),
    [
        (b"550 5.7.1 go away\0", Verdict.REJECT, 550, "5.7.1", ("go away",)),
        (b"451 later", Verdict.TEMPFAIL, 451, "", ("later",)),
        (b"554-5.6.0 one\r\n554 5.6.0 two\0", Verdict.REJECT, 554, "5.6.0", ("one", "two")),
        (b"550 5.7.1 100%% sure%\0", Verdict.REJECT, 550, "5.7.1", ("100% sure",)),
    ],
)
def test_replies(said: bytes, verdict: Verdict, code: int, status: str, lines: tuple[str]) -> None:
    found = answers.parse_reply(said)
    assert found.verdict is verdict
    assert found.reply == (code, status, lines)


@pytest.mark.parametrize(
    "said",
    [b"", b"250 2.0.0 ok\0", b"550", b"550x\0", b"550-one\r\n451 two\0", b"550-one\0",
     b"550 one\r\n550 two\0", b"550 a\nb\0", b"550 a\0b\0", b"\xff\0"],
)  # fmt: skip
def test_what_is_no_reply(said: bytes) -> None:
    if said == b"550":  # a code alone refuses, too
        assert answers.parse_reply(said).reply == (550, "", ("",))
        return
    with pytest.raises(BadPacket):
        answers.parse_reply(said)


# -- dialogs --------------------------------------------------------------------------------------


def converse(
    dialog: Generator[bytes, Packet, Answer], *replies: bytes
) -> tuple[list[bytes], Answer]:
    """Run a dialog with these packets for answers; give what was said, a packet each."""
    said: list[bytes] = []
    answered = iter(replies)
    reader = PacketReader()
    try:
        reader.feed(next(dialog))
        while True:
            data = next(answered)
            reader.feed(dialog.send(Packet(data[:1], data[1:])))
    except StopIteration as done:
        while (packet := reader.take()) is not None:
            said.append(packet.command + packet.data)
        assert next(answered, None) is None
        return said, done.value


def agreed(steps: int = 0, version: int = 6, options: bytes = b"") -> MilterClient:
    made = MilterClient()
    converse(made.negotiate(), b"O" + number(version) + number(0x1FF) + number(steps) + options)
    return made


MACROS = {"i": "ID", "j": "mail.example.org", "rcpt_addr": "bob@example.org"}


def show(
    made: MilterClient, *replies: bytes, body: bytes = b"Hello\n"
) -> tuple[list[bytes], Answer]:
    header = [(b"From", b" alice@example.net"), (b"Subject", b"x\n\ty")]
    return converse(made.message(header, body, MACROS), *replies)


def test_a_message_is_shown_in_order() -> None:
    said, answer = show(agreed(), *[b"c"] * 5)
    assert said == [
        b"LFrom\0alice@example.net\0",
        b"LSubject\0x\n\ty\0",
        b"DNi\0ID\0",
        b"N",
        b"BHello\r\n",
        b"DEi\0ID\0",
        b"E",
    ]
    assert answer == Answer(Verdict.CONTINUE)


def test_a_milter_that_answers_nothing_before_the_end_is_asked_once() -> None:
    steps = Step.SILENT_HEADERS | Step.SILENT_END_OF_HEADER | Step.SILENT_BODY
    said, _ = show(agreed(steps | Step.LEADING_SPACE), b"c")
    assert [each[:1] for each in said] == [b"L", b"L", b"D", b"N", b"B", b"D", b"E"]
    assert said[0] == b"LFrom\0 alice@example.net\0"


def test_what_is_not_wanted_is_not_said_but_its_macros_are() -> None:
    steps = Step.NO_HEADERS | Step.NO_END_OF_HEADER | Step.NO_BODY
    said, _ = show(agreed(steps), b"c")
    assert said == [b"DNi\0ID\0", b"DEi\0ID\0", b"E"]


def test_a_body_is_cut_and_no_more_of_it_is_said_where_the_milter_has_enough() -> None:
    body = b"x" * 9 + b"\n"
    said, _ = show(agreed(), *[b"c"] * 6, body=body * 6000)
    chunks = [each[1:] for each in said if each[:1] == b"B"]
    assert [len(chunk) for chunk in chunks] == [65535, 66000 - 65535]
    assert b"".join(chunks) == body.replace(b"\n", b"\r\n") * 6000
    said, _ = show(agreed(), b"c", b"c", b"c", b"s", b"c", body=body * 6000)
    assert len([each for each in said if each[:1] == b"B"]) == 1


@pytest.mark.parametrize(("at", "verdict"), [(1, b"r"), (2, b"d"), (3, b"a"), (4, b"t")])
def test_a_verdict_before_the_end_is_the_last_word(at: int, verdict: bytes) -> None:
    said, answer = show(agreed(), *[b"c"] * (at - 1), verdict)
    assert answer.refuses == (verdict in b"rt")
    assert b"E" not in said


def test_all_changes_in_their_order() -> None:
    said = (
        b"p", b"hX-A\0one\0", b"i" + number(0) + b"X-B\0two\0", b"m" + number(2) + b"X-C\0\0",
        b"+<bob@example.org>\0", b"2<eve@example.org>\0NOTIFY=NEVER\0", b"2<x@example.org>\0",
        b"-<carol@example.org>\0", b"e<>\0", b"e<a@b.example>\0RET=HDRS\0", b"babc", b"bdef",
        b"qbecause\0", b"a",
    )  # fmt: skip
    _, answer = show(agreed(), *[b"c"] * 4, *said)
    assert answer.verdict is Verdict.ACCEPT
    assert answer.changes == (
        answers.HeaderAdded(b"X-A", b" one"),
        answers.HeaderInserted(0, b"X-B", b" two"),
        answers.HeaderChanged(2, b"X-C", b""),
        answers.RecipientAdded("<bob@example.org>"),
        answers.RecipientAdded("<eve@example.org>", "NOTIFY=NEVER"),
        answers.RecipientAdded("<x@example.org>"),
        answers.RecipientRemoved("<carol@example.org>"),
        answers.SenderChanged("<>"),
        answers.SenderChanged("<a@b.example>", "RET=HDRS"),
        answers.BodyReplaced(b"abc"),
        answers.BodyReplaced(b"def"),
        answers.Quarantined("because"),
    )
    assert client.new_body(answer.changes) == b"abcdef"
    assert client.new_body(answer.changes[:3]) is None


@pytest.mark.parametrize(
    "said",
    [b"?", b"O", b"cx", b"hbad name\0x\0", b"h\0x\0", b"hX-A\0x", b"i\0\0", b"m\0\0\0\1X\0y\0z",
     b"+bob", b"yoops\0"],
)  # fmt: skip
def test_what_must_not_be_said_ends_it(said: bytes) -> None:
    with pytest.raises(BadPacket):
        show(agreed(), *[b"c"] * 4, said)


def test_a_change_before_the_end_ends_it() -> None:
    with pytest.raises(BadPacket):
        show(agreed(), b"hX-A\0one\0")


def test_macros_that_the_milter_names() -> None:
    wanted = number(3) + b"j {rcpt_addr},i nothing\0" + number(9) + b"x\0"
    said, _ = converse(
        agreed(options=wanted).tell(client.RCPT, b"<bob@example.org>\0", MACROS), b"c"
    )
    assert said[0] == b"DRj\0mail.example.org\0{rcpt_addr}\0bob@example.org\0i\0ID\0"


@pytest.mark.parametrize(
    ("version", "known"), [(2, ()), (3, (client.UNKNOWN,)), (4, (client.UNKNOWN, client.DATA))]
)
def test_an_older_milter_hears_what_it_knows(version: int, known: Sequence[client.Stage]) -> None:
    made = agreed(version=version)
    assert [s for s in (client.UNKNOWN, client.DATA) if made.wants(s)] == list(known)


@pytest.mark.parametrize("reply", [b"c", b"O", b"O" + number(7) * 3, b"O" + number(1) * 3])
def test_a_negotiation_that_fails(reply: bytes) -> None:
    with pytest.raises(BadPacket):
        converse(MilterClient().negotiate(), reply)


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=6))
def test_whatever_a_milter_says_is_an_answer_or_a_fault(said: list[bytes]) -> None:
    dialog: Generator[bytes, Packet, Answer] = agreed().message([], b"", {})
    try:
        next(dialog)
        for each in said:
            dialog.send(Packet(each[:1], each[1:]))
    except (BadPacket, StopIteration):
        pass


def test_what_is_pending_goes_out_with_the_end() -> None:
    made = agreed(int(Step.SILENT_MAIL))
    macros: Mapping[str, str] = {}
    said, answer = converse(made.tell(client.MAIL, b"<a@b.example>\0", macros))
    assert (said, answer.verdict) == ([], Verdict.CONTINUE)
    assert made.abort() == wire.encode(b"M", b"<a@b.example>\0") + wire.encode(b"A")
    assert made.quit() == wire.encode(b"Q")
