"""A message as milters see and change it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.protocol.milter.answers import (
    BodyReplaced,
    HeaderAdded,
    HeaderChanged,
    HeaderInserted,
    RecipientAdded,
    RecipientRemoved,
    SenderChanged,
)
from mailtools.services.reception.milter.changes import Draft

ID = "1764000000.M1P2R3"
OURS = (
    f"Authentication-Results: mail.example.org;\n\tspf=none\n"
    f"Received: from client ([192.0.2.7])\n\tby mail.example.org id {ID}\n\tfor <b@c.org>; now\n"
).encode()
ENVELOPE = Envelope("alice@example.net", (ForwardPath("bob@example.org"),))


def draft(rest: bytes) -> Draft:
    return Draft(OURS + rest, ID, ENVELOPE)


@given(st.lists(st.sampled_from(
    [b"From: a\n", b"X:\n", b"Subject: a\n\tb\n c\n", b"no field\n", b"\n", b"body\n",
     b"Received: x\n", b": x\n", b" folded\n", b"\0\xff\n", b"end"]), max_size=8))  # fmt: skip
def test_what_is_not_changed_stays_as_it_is(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    made = draft(text)
    made.apply([])
    assert made.text == OURS + text or made.text == OURS + text + b"\n"  # a header ends in LF
    shown = b"".join(name + b":" + value + b"\n" for name, value in made.header)
    assert (OURS + text).count(shown)
    assert b"Authentication-Results" not in dict(made.header)
    assert text.endswith(made.body)


@given(st.lists(st.one_of(
    st.builds(HeaderAdded, st.just(b"X-A"), st.binary(max_size=20)),
    st.builds(HeaderInserted, st.integers(0, 9), st.just(b"X-B"), st.binary(max_size=20)),
    st.builds(HeaderChanged, st.integers(1, 4), st.sampled_from([b"x-a", b"From"]),
              st.binary(max_size=20)),
    st.builds(BodyReplaced, st.binary(max_size=20)),
), max_size=6))  # fmt: skip
def test_whatever_is_changed_there_is_one_header_and_one_body(changes: list[object]) -> None:
    made = draft(b"From: a\n\nbody\n")
    made.apply(changes)  # type: ignore[arg-type]
    again = Draft(made.text, ID, ENVELOPE)
    assert again.text == made.text
    assert again.body == made.body
    assert b"\r" not in made.text.removeprefix(OURS)
    added = sum(isinstance(change, HeaderAdded | HeaderInserted) for change in changes)
    removed = sum(isinstance(c, HeaderChanged) and not c.value for c in changes)
    assert added - removed <= len(made.header) <= 1 + len(changes)


@pytest.mark.parametrize(
    ("place", "expected"),
    [(0, b"N: n\n" + OURS + b"A: 1\nB: 2\n"), (1, OURS + b"N: n\nA: 1\nB: 2\n"),
     (2, OURS + b"A: 1\nN: n\nB: 2\n"), (3, OURS + b"A: 1\nB: 2\nN: n\n"),
     (4294967295, OURS + b"A: 1\nB: 2\nN: n\n")],
)  # fmt: skip
def test_where_a_field_is_inserted(place: int, expected: bytes) -> None:
    made = draft(b"A: 1\nB: 2\n\nbody\n")
    made.apply([HeaderInserted(place, b"N", b" n")])
    assert made.text == expected + b"\nbody\n"


def test_a_value_cannot_end_the_header() -> None:
    made = draft(b"A: 1\n\nbody\n")
    made.apply([HeaderAdded(b"N", b" one\r\n\r\nX: two\n\n \n\tthree\n")])
    assert made.text == OURS + b"A: 1\nN: one\n\tX: two\n\tthree\n\nbody\n"


def test_our_own_fields_cannot_be_changed() -> None:
    made = draft(b"Received: theirs\n\nbody\n")
    made.apply([HeaderChanged(2, b"Received", b""), HeaderChanged(1, b"Received", b" new")])
    made.apply([HeaderChanged(1, b"Authentication-Results", b"")])
    assert made.text == OURS + b"Received: new\n\nbody\n"


def test_a_body_for_a_message_without_one() -> None:
    made = draft(b"")
    made.apply([BodyReplaced(b"one\r\ntw"), BodyReplaced(b"o")])
    assert made.text == OURS + b"\none\ntwo\n"
    made.apply([BodyReplaced(b"")])
    assert made.text == OURS + b"\n"


def test_envelope() -> None:
    made = draft(b"\n")
    made.apply([
        RecipientAdded("carol@example.org", "NOTIFY=NEVER ORCPT=rfc822;x SIZE=1"),
        RecipientAdded("<bob@example.org>"), RecipientAdded("<>"), RecipientAdded("<postmaster>"),
        RecipientRemoved("BOB@example.org"), RecipientRemoved("nobody@example.org"),
        RecipientRemoved("a b"), SenderChanged("<>", "ENVID=x RET=FULL\tY=2"),
    ])  # fmt: skip
    assert made.envelope == Envelope(
        "",
        (ForwardPath("carol@example.org", {"NOTIFY": "NEVER", "ORCPT": "rfc822;x"}),),
        {"ENVID": "x", "RET": "FULL"},
    )
    assert len(made.complaints) == 5
