"""The QMTP and QMQP engine against a Session that records."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from qmtp_peer import netstring, qmqp, qmtp, strings
from smtp_fake import FakeSession
from transcript import drain

from mailtools.errors import PolicyRefused, QueueFull, TooBusy
from mailtools.protocol.qmtp.package import Settings
from mailtools.protocol.qmtp.server import QmtpServer

TEXT = b"\nSubject: x\n\nhi\n"
ALICE, BOB, CAROL, NOBODY = (
    b"alice@example.net",
    b"bob@example.org",
    b"carol@example.org",
    b"nobody@example.org",
)
PACKAGE = qmtp(TEXT, ALICE, BOB, CAROL)


class Held:
    """A place for a message, which says when it is forgotten; `open` counts those in use."""

    open = 0

    def __init__(self, failure: Exception | None = None) -> None:
        self.pieces: list[bytes] = []
        self.failure = failure
        Held.open += 1

    def write(self, data: bytes) -> None:
        if self.failure:
            raise self.failure
        self.pieces.append(data)

    def read(self) -> Iterator[bytes]:
        yield from self.pieces

    def close(self) -> None:
        Held.open -= 1


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    Held.open = 0
    yield
    assert Held.open == 0


def play(
    data: bytes,
    session: FakeSession | None = None,
    *,
    held: Exception | None = None,
    step: int = 0,
    **changed: Any,
) -> tuple[FakeSession, list[bytes], QmtpServer]:
    """Let a peer say this and hang up; give the session, the answers and the engine."""
    session = session or FakeSession()
    server = QmtpServer(session, Settings(**changed), lambda: Held(held))
    said = drain(server)
    assert said == b""  # nobody is greeted
    for start in range(0, len(data), step or len(data) or 1):
        server.receive(data[start : start + (step or len(data))])
        said += drain(server)
    closed = server.closed
    server.receive(b"")
    said += drain(server)
    assert server.closed
    server.closed = closed
    return session, list(strings(said)), server


# -- QMTP -----------------------------------------------------------------------------------------


def test_a_package_is_answered_for_each_recipient_in_order() -> None:
    session, answers, _ = play(qmtp(TEXT, ALICE, BOB, NOBODY, b"eve@elsewhere.test", BOB))
    assert answers == [
        b"KOk: queued as 1.M2P3R4",
        b"DNo such mailbox here (#5.1.1)",
        b"DRelaying denied (#5.7.1)",
        b"KOk: queued as 1.M2P3R4",
    ]
    assert session.messages == [
        ("alice@example.net", ["bob@example.org", "bob@example.org"], b"Subject: x\n\nhi\n")
    ]
    assert [row[:2] for row in session.refusals] == [
        ("RCPT", "<nobody@example.org>"),
        ("RCPT", "<eve@elsewhere.test>"),
    ]


@pytest.mark.parametrize("step", [0, 1, 7])
def test_packages_follow_one_another_without_waiting(step: int) -> None:
    dos = qmtp(b"\rSubject: y\r\n\r\n.\r\nlast", b"", BOB)
    session, answers, server = play(PACKAGE + dos + PACKAGE, step=step)
    assert [answer[:1] for answer in answers] == [b"K"] * 5
    assert not server.closed
    assert [message[2] for message in session.messages] == [
        b"Subject: x\n\nhi\n",
        b"Subject: y\n\n.\nlast",
        b"Subject: x\n\nhi\n",
    ]
    assert session.messages[1][0] == ""


def test_the_empty_message_is_one() -> None:
    session, answers, _ = play(qmtp(b"\n", ALICE, BOB) + qmtp(b"\r", ALICE, BOB))
    assert [answer[:1] for answer in answers] == [b"K", b"K"]
    assert [message[2] for message in session.messages] == [b"", b""]


def test_an_address_is_not_quoted() -> None:
    session, answers, _ = play(
        qmtp(TEXT, b"", b'Hate."The Quoting@example.net', b"\\Backslashes!@example.net"),
        FakeSession(trusted=True),
    )
    assert [answer[:1] for answer in answers] == [b"K", b"K"]
    assert session.messages[0][1] == [
        '"Hate.\\"The Quoting"@example.net',
        '"\\\\Backslashes!"@example.net',
    ]


@pytest.mark.parametrize(
    "path", [b"", b"bob", b"@example.org", b"b\0b@example.org", b"\xff@example.org", b"b" * 5000]
)
def test_what_is_no_address_is_refused_and_the_others_are_taken(path: bytes) -> None:
    session, answers, _ = play(qmtp(TEXT, ALICE, path, BOB))
    assert [answer[:1] for answer in answers] == [b"D", b"K"]
    assert b"#5.1.3" in answers[0]
    assert session.messages[0][1] == ["bob@example.org"]


@pytest.mark.parametrize("sender", [b"alice", b"a b@", b"\xff@x.test"])
def test_a_bad_reverse_path_refuses_all(sender: bytes) -> None:
    session, answers, _ = play(qmtp(TEXT, sender, BOB, CAROL))
    assert [answer[:1] for answer in answers] == [b"D", b"D"]
    assert b"#5.1.7" in answers[0]
    assert not session.messages


def test_the_double_bounce_of_qmail_is_a_null_reverse_path() -> None:
    session, _, _ = play(qmtp(TEXT, b"#@[]", BOB))
    assert session.messages[0][0] == ""


@pytest.mark.parametrize(
    "text", [b"\na\r\nb\n", b"\na\rb", b"\na\0b", b"\ra\nb", b"\ra\rb\r\n", b"\ra\0\r\n", b"\ra\r"]
)
def test_what_the_next_host_may_read_otherwise_is_refused(text: bytes) -> None:
    session, answers, server = play(qmtp(text, ALICE, BOB, CAROL) + PACKAGE, step=1)
    assert [answer[:1] for answer in answers] == [b"D", b"D", b"K", b"K"]
    assert b"#5.6.0" in answers[0]
    assert len(session.messages) == 1
    assert not server.closed


def test_a_message_that_is_too_large_is_read_and_refused() -> None:
    session, answers, _ = play(PACKAGE + qmtp(b"\n12345", ALICE, BOB), size=5)
    assert [answer[:1] for answer in answers] == [b"D", b"D", b"K"]
    assert b"#5.3.4" in answers[0]
    assert len(session.messages) == 1


@pytest.mark.parametrize("where", ["hold", "write_failure", "commit_failure", "data_failure"])
def test_a_full_disk_is_told_to_each_recipient(where: str) -> None:
    session = FakeSession()
    held = QueueFull() if where == "hold" else None
    if where != "hold":
        setattr(session, where, QueueFull())
    _, answers, _ = play(qmtp(TEXT, ALICE, BOB, NOBODY, CAROL), session, held=held)
    assert [answer[:1] for answer in answers] == [b"Z", b"Z" if held else b"D", b"Z"]
    assert b"#4.3.1" in answers[0]
    assert not session.messages


def test_more_recipients_than_a_message_may_have_try_again() -> None:
    session, answers, _ = play(qmtp(TEXT, ALICE, BOB, CAROL, BOB), recipients=2)
    assert [answer[:1] for answer in answers] == [b"K", b"K", b"Z"]
    assert len(session.messages[0][1]) == 2


def test_who_guesses_names_is_not_answered_for_long() -> None:
    guesses = [b"guess%d@example.org" % number for number in range(5)]
    session, answers, server = play(qmtp(TEXT, ALICE, *guesses, BOB) + PACKAGE, errors=2)
    assert [answer[:1] for answer in answers] == [b"D", b"D", b"D", b"Z", b"Z", b"Z"]
    assert server.closed
    assert not session.messages
    assert len([row for row in session.asked if row[0] == "rcpt"]) == 3


@pytest.mark.parametrize(
    ("failure", "letter"), [(TooBusy("Too many connections"), b"Z"), (PolicyRefused(), b"D")]
)
def test_who_may_not_come_in_hears_why_after_the_package(failure: Any, letter: bytes) -> None:
    session = FakeSession()
    session.greet_failure = failure
    _, answers, server = play(PACKAGE + PACKAGE, session)
    assert [answer[:1] for answer in answers] == [letter, letter]
    assert server.closed
    assert not session.messages


# -- what is no package ---------------------------------------------------------------------------

WRONG = [
    b"QUIT\r\n",
    b"017:" + PACKAGE[3:],
    b"-1:",
    b":,",
    b"99999999999:",
    b"0:," + PACKAGE[4:],
    qmtp(b"Subject: x\n", ALICE, BOB),
    PACKAGE[:-1] + b";",
    netstring(TEXT) + netstring(ALICE)[:-1] + b"x",
    netstring(TEXT) + netstring(ALICE) + b"5:" + netstring(BOB),
    netstring(TEXT) + netstring(ALICE) + netstring(netstring(BOB) + b"1:"),
    netstring(TEXT) + netstring(ALICE) + b"9999999999:",
    netstring(TEXT) + b"9999999999:",
]


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("step", [0, 1])
def test_what_is_no_package_ends_the_session_and_nothing_is_queued(wrong: bytes, step: int) -> None:
    session, answers, server = play(PACKAGE + wrong + PACKAGE, step=step)
    assert [answer[:1] for answer in answers] == [b"K", b"K"]  # of the first
    assert server.closed
    assert len(session.messages) == 1
    assert [row[0] for row in session.refusals] == ["package"]


@given(st.integers(1, len(PACKAGE) - 1))
def test_a_package_that_breaks_off_is_thrown_away(end: int) -> None:
    session, answers, _ = play(PACKAGE + PACKAGE[:end])
    assert len(answers) == 2
    assert len(session.messages) == 1
    assert session.losses == ["package"]


# -- QMQP -----------------------------------------------------------------------------------------

RELAY = {"qmqp": True, "qualify": "example.org"}


def relay_client() -> FakeSession:
    return FakeSession(trusted=True)


@pytest.mark.parametrize("step", [0, 1])
def test_one_package_and_one_answer(step: int) -> None:
    text = b"Subject: x\n\nhi\n"
    package = qmqp(text, ALICE, b"eve@elsewhere.test", b"bob")
    session, answers, server = play(package + package, relay_client(), step=step, **RELAY)
    assert answers == [b"KOk: queued as 1.M2P3R4"]
    assert server.closed
    assert session.messages == [
        ("alice@example.net", ["eve@elsewhere.test", "bob@example.org"], text)
    ]


def test_all_or_nothing() -> None:
    session, answers, _ = play(qmqp(b"x", ALICE, BOB, b"a@b@", CAROL), relay_client(), **RELAY)
    assert [answer[:1] for answer in answers] == [b"D"]
    assert b"#5.1.3" in answers[0]
    assert not session.messages


def test_a_stranger_has_no_queue_here() -> None:
    session, answers, _ = play(qmqp(b"x", ALICE, BOB), **RELAY)
    assert answers == [b"DYou are not a client of this mail queue (#5.7.1)"]
    assert not session.messages
    assert not [row for row in session.asked if row[0] == "mail"]


def test_a_list_has_a_reverse_path_for_each_recipient() -> None:
    session, answers, _ = play(qmqp(b"x", b"list-@example.net-@[]", BOB), relay_client(), **RELAY)
    assert answers[0].startswith(b"K")
    asked = [row for row in session.asked if row[0] == "mail"]
    assert asked == [("mail", "list@example.net", {"SIZE": "1", "XVERP": "-="})]


def test_many_recipients_and_too_many() -> None:
    _, answers, _ = play(qmqp(b"x", ALICE, *[BOB] * 5000), relay_client(), **RELAY)
    assert answers[0].startswith(b"K")
    many = qmqp(b"x", ALICE, *[BOB] * 60000)
    session, answers, _ = play(many, relay_client(), **RELAY)
    assert b"D" in answers[0]
    assert b"#5.5.3" in answers[0]
    assert not session.messages


@pytest.mark.parametrize(
    "wrong",
    [
        netstring(netstring(b"x") + netstring(ALICE)),
        netstring(b"9:x," + netstring(ALICE) + netstring(BOB)),
        netstring(netstring(b"x") + b"99:" + ALICE + b"," + netstring(BOB)),
        netstring(netstring(b"x") + netstring(ALICE) + b"99:" + BOB + b","),
        qmqp(b"x", ALICE, BOB)[:-1] + b".",
    ],
)
def test_what_is_no_qmqp_package_is_not_answered(wrong: bytes) -> None:
    session, answers, server = play(wrong, relay_client(), **RELAY)
    assert answers == []
    assert server.closed
    assert not session.messages


# -- any octets -----------------------------------------------------------------------------------

words = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from([b"\n", b"\r", b":", b",", b"0:,", b"3:", TEXT, PACKAGE, *WRONG]),
    ),
    max_size=6,
).map(b"".join)


@given(data=words, qmqp=st.booleans(), step=st.integers(1, 9))
@example(data=qmqp(b"x", ALICE, BOB), qmqp=True, step=1)
@example(data=PACKAGE, qmqp=False, step=3)
def test_any_octets_in_any_pieces_have_the_same_answers(data: bytes, qmqp: bool, step: int) -> None:
    whole, answers, _ = play(data, relay_client(), qmqp=qmqp)
    pieces, again, _ = play(data, relay_client(), qmqp=qmqp, step=step)
    assert answers == again
    assert whole.messages == pieces.messages
    assert len(whole.refusals) == len(pieces.refusals)
