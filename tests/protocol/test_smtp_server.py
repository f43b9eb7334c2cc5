"""The SMTP engine against a Session that records: what transcripts cannot say."""

import base64
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from smtp_fake import FakeSession
from transcript import drain

from mailtools.errors import PolicyRefused, QueueFull, ShuttingDown, SystemTrouble, TooBusy
from mailtools.protocol.smtp.server import SmtpServer
from mailtools.protocol.smtp.session import Settings
from mailtools.protocol.smtp.table import TABLE, State

HELLO = b"EHLO client.example.com\r\n"
ENVELOPE = b"MAIL FROM:<alice@example.com>\r\nRCPT TO:<bob@example.org>\r\n"


def engine(session: FakeSession | None = None, **changed: Any) -> SmtpServer:
    return SmtpServer(session or FakeSession(), Settings(name="mail.example.org", **changed))


def say(server: SmtpServer, *pieces: bytes) -> bytes:
    said = b""
    for piece in pieces:
        server.receive(piece)
        said += drain(server)
    return said


def greeted(session: FakeSession | None = None, **changed: Any) -> SmtpServer:
    server = engine(session, **changed)
    assert drain(server).startswith(b"220 ")
    say(server, HELLO)
    return server


def codes(said: bytes) -> list[str]:
    return [line[:3].decode() for line in said.splitlines() if line[3:4] != b"-"]


# -- the table ------------------------------------------------------------------------------------


def test_every_command_of_rfc_5321_is_in_the_table() -> None:
    verbs = {row.verb for row in TABLE}
    assert verbs >= {
        "EHLO",
        "HELO",
        "MAIL",
        "RCPT",
        "DATA",
        "RSET",
        "NOOP",
        "QUIT",
        "VRFY",
        "EXPN",
        "HELP",
    }


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.verb)
def test_out_of_order_is_503_and_changes_nothing(row: Any) -> None:
    for before, state in (
        (b"", State.START),
        (HELLO, State.READY),
        (HELLO + b"MAIL FROM:<a@example.com>\r\n", State.MAIL),
    ):
        if state in row.states or row.verb == "BDAT":
            continue
        server = engine(synchronous=False)
        drain(server)
        if before:
            say(server, before)
        assert codes(say(server, f"{row.verb} x\r\n".encode())) == ["503"]
        assert codes(say(server, b"NOOP\r\n")) == ["250"]


# -- the message ----------------------------------------------------------------------------------


def test_what_the_sink_gets_is_lf_text_without_stuffed_dots() -> None:
    session = FakeSession()
    server = greeted(session)
    said = say(server, ENVELOPE + b"DATA\r\n", b"Subject: x\r\n\r\n..dot\r\n...\r\n.\r\n")
    assert codes(said) == ["250", "250", "354", "250"]
    assert session.messages == [
        ("alice@example.com", ["bob@example.org"], b"Subject: x\n\n.dot\n..\n")
    ]


def test_a_chunked_message_keeps_its_dots() -> None:
    session = FakeSession()
    server = greeted(session)
    said = say(server, ENVELOPE + b"BDAT 9\r\n.\r\n..\r\nab", b"BDAT 4 LAST\r\nc\r\n.")
    assert codes(said) == ["250", "250", "250", "250"]
    assert session.messages[0][2] == b".\n..\nabc\n."


@pytest.mark.parametrize("where", ["write_failure", "commit_failure"])
@pytest.mark.parametrize("way", ["data", "bdat"])
def test_a_full_disk_is_said_at_the_end_of_the_message(where: str, way: str) -> None:
    session = FakeSession()
    setattr(session, where, QueueFull())
    server = greeted(session)
    text = b"Subject: x\r\n\r\nQUIT\r\n"
    if way == "data":
        said = say(server, ENVELOPE + b"DATA\r\n", text + b".\r\n")
        assert codes(said) == ["250", "250", "354", "452"]
    else:
        said = say(server, ENVELOPE + b"BDAT %d LAST\r\n%s" % (len(text), text))
        assert codes(said) == ["250", "250", "452"]
    assert session.messages == []
    session.write_failure = session.commit_failure = None
    assert codes(say(server, ENVELOPE + b"DATA\r\n", b".\r\n")) == ["250", "250", "354", "250"]


def test_a_chunk_that_fails_is_read_and_so_are_those_behind_it() -> None:
    session = FakeSession()
    session.write_failure = QueueFull()
    server = greeted(session)
    said = say(server, ENVELOPE + b"BDAT 4\r\na\r\nbBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    assert codes(said) == ["250", "250", "452", "503", "250"]
    assert [sink.state for sink in session.sinks] == ["aborted"]


@pytest.mark.parametrize("end", [b"BDAT -1\r\n", b"GET / HTTP/1.1\r\n", b"EHLO a.test\r\nNOOP\r\n"])
def test_what_ends_the_session_ends_the_message_in_hand(end: bytes) -> None:
    session = FakeSession()
    server = greeted(session)
    assert codes(say(server, ENVELOPE + b"BDAT 4\r\na\r\nb")) == ["250", "250", "250"]
    say(server, end)
    assert session.messages == []
    assert [sink.state for sink in session.sinks] == ["aborted"]
    assert server.closed


def test_a_queue_that_cannot_begin_refuses_data() -> None:
    session = FakeSession()
    session.data_failure = SystemTrouble()
    server = greeted(session)
    assert codes(say(server, ENVELOPE + b"DATA\r\n")) == ["250", "250", "451"]
    assert codes(say(server, b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")) == ["451", "250"]


def test_no_limit_of_size_when_it_is_0() -> None:
    session = FakeSession()
    server = greeted(session, size=0)
    assert b"250-SIZE\r\n" in say(server, HELLO)
    said = say(server, b"MAIL FROM:<> SIZE=99999999999\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
    assert codes(said) == ["250", "250", "354"]


@pytest.mark.parametrize("left", [b"half", b"\r\n", b"\r\n.", b"\r\n.\r"])
def test_a_connection_that_ends_in_the_message_commits_nothing(left: bytes) -> None:
    session = FakeSession()
    server = greeted(session)
    say(server, ENVELOPE + b"DATA\r\n", b"Subject: x\r\n\r\ntext" + left)
    assert say(server, b"") == b""
    assert server.closed
    assert session.messages == []
    assert session.sinks[0].state == "aborted"
    assert session.losses == ["DATA"]


# -- greeting -------------------------------------------------------------------------------------


def test_a_peer_that_waits_for_the_greeting_gets_it() -> None:
    session = FakeSession()
    server = engine(session, greet_delay=2.0)
    assert drain(server) == b""
    assert server.timeout == 2.0
    server.timed_out()
    assert drain(server).startswith(b"220 ")
    assert server.timeout == 300.0
    assert session.asked == [("greet", False)]


def test_a_peer_that_does_not_wait_is_left_with_quit() -> None:
    session = FakeSession()
    server = engine(session, greet_delay=2.0)
    said = say(server, HELLO)
    assert codes(said) == ["554", "503"]
    assert ("greet", True) in session.asked
    assert codes(say(server, b"QUIT\r\n")) == ["221"]
    assert server.closed


def test_a_greeting_refused_for_good_leaves_quit_only() -> None:
    session = FakeSession()
    session.greet_failure = PolicyRefused()
    server = engine(session)
    assert codes(drain(server)) == ["554"]
    assert codes(say(server, HELLO)) == ["503"]
    assert codes(say(server, b"NOOP\r\n")) == ["503"]
    assert codes(say(server, b"QUIT\r\n")) == ["221"]


@pytest.mark.parametrize("failure", [TooBusy(), ShuttingDown(), SystemTrouble()])
def test_a_greeting_refused_for_now_is_421_and_the_end(failure: Any) -> None:
    session = FakeSession()
    session.greet_failure = failure
    server = engine(session)
    assert drain(server).startswith(b"421 4.3.")
    assert server.closed


# -- limits ---------------------------------------------------------------------------------------


def test_too_many_errors_end_the_session() -> None:
    server = greeted(errors=3)
    assert codes(say(server, *[b"XYZZY\r\n"] * 5)) == ["500", "500", "500", "421"]
    assert server.closed


def test_an_accepted_message_forgives_errors() -> None:
    server = greeted(errors=3)
    for _ in range(3):
        said = say(server, b"XYZZY\r\n", b"XYZZY\r\n", ENVELOPE + b"DATA\r\n", b".\r\n")
        assert codes(said) == ["500", "500", "250", "250", "354", "250"]


def test_too_many_commands_without_a_message_end_the_session() -> None:
    server = greeted(junk=5)
    assert codes(say(server, *[b"NOOP\r\n"] * 9))[-2:] == ["250", "421"]
    assert server.closed


def test_empty_chunks_bring_a_message_no_further() -> None:
    server = greeted(junk=5)
    said = say(server, ENVELOPE, *[b"BDAT 0\r\n"] * 9)
    assert codes(said)[-2:] == ["250", "421"]
    assert server.closed


def test_421_names_the_server() -> None:
    server = greeted()
    server.timed_out()
    assert drain(server) == b"421 4.4.2 mail.example.org Timeout waiting for the peer\r\n"


# -- what the session is told ---------------------------------------------------------------------


def test_parameters_reach_the_session_as_they_will_be_kept() -> None:
    session = FakeSession(trusted=True)
    server = greeted(session)
    say(
        server,
        b"MAIL FROM:<j\xc3\xbcrgen@example.org> SMTPUTF8 ret=hdrs ENVID=x BODY=8bitmime\r\n",
        b"RCPT TO:<j\xc3\xbcrgen@b\xc3\xbccher.example> NOTIFY=success ORCPT=utf-8;\xc3\xbc@x\r\n",
    )
    assert session.asked[-2:] == [
        (
            "mail",
            "jürgen@example.org",
            {"SMTPUTF8": "", "RET": "HDRS", "ENVID": "x", "BODY": "8BITMIME"},
        ),
        ("rcpt", "jürgen@bücher.example", {"NOTIFY": "SUCCESS", "ORCPT": "utf-8;ü@x"}),
    ]


def test_a_submission_qualifies_addresses_and_an_exchanger_does_not() -> None:
    session = FakeSession()
    server = greeted(session, qualify="example.org")
    assert codes(say(server, b"MAIL FROM:<carol>\r\nRCPT TO:<bob>\r\n")) == ["250", "250"]
    assert session.asked[-2:] == [
        ("mail", "carol@example.org", {}),
        ("rcpt", "bob@example.org", {}),
    ]
    server = greeted()
    assert codes(say(server, b"MAIL FROM:<carol>\r\n")) == ["553"]


def test_xclient_makes_a_new_session_of_it() -> None:
    session = FakeSession()
    server = greeted(session)
    assert codes(say(server, b"XCLIENT ADDR=192.0.2.7\r\n")) == ["550"]
    session.xclient_allowed = True
    assert codes(say(server, b"XCLIENT COLOUR=red\r\n")) == ["501"]
    assert codes(say(server, b"XCLIENT\r\n")) == ["501"]
    said = say(server, b"XCLIENT ADDR=192.0.2.7 NAME=[UNAVAILABLE] HELO=a+2Db\r\n")
    assert said.startswith(b"220 mail.example.org")
    assert ("xclient", {"ADDR": "192.0.2.7", "NAME": "", "HELO": "a-b"}) in session.asked
    assert codes(say(server, b"MAIL FROM:<>\r\n")) == ["503"]


def test_no_secret_is_shown_to_the_log() -> None:
    session = FakeSession(auth=True, secure=True)
    server = greeted(session)
    say(server, b"AUTH PLAIN AGFsaWNlAHNlY3JldDI=\r\n", b"AUTH LOGIN\r\n", b"YWxpY2U=\r\n")
    say(server, b"c2VjcmV0Mg==\r\n", b"c2VjcmV0\r\n")
    shown = [argument for _, argument, _ in session.refusals]
    assert len(shown) == 3
    assert not any(shown)


def test_an_authentication_line_without_end_is_refused() -> None:
    session = FakeSession(auth=True, secure=True)
    server = greeted(session)
    assert codes(say(server, b"AUTH PLAIN\r\n")) == ["334"]
    assert codes(say(server, b"A" * 20000, b"\r\nNOOP\r\n")) == ["500", "250"]
    say(server, b"AUTH PLAIN\r\n")
    assert codes(say(server, b"AGFsaWNlAHNlY3JldA==\n")) == ["500"]
    assert session.identity is None


# -- whatever comes -------------------------------------------------------------------------------

LINES = st.sampled_from(
    [
        HELLO,
        b"HELO x\r\n",
        b"MAIL FROM:<a@example.com>\r\n",
        b"MAIL FROM:<> SIZE=12 BODY=8BITMIME\r\n",
        b"RCPT TO:<bob@example.org>\r\n",
        b"RCPT TO:<eve@example.net>\r\n",
        b"DATA\r\n",
        b"Subject: x\r\n\r\ntext\r\n",
        b".\r\n",
        b"..\r\n",
        b".\n",
        b"\n.\r\n",
        b"BDAT 3\r\nabc",
        b"BDAT 5 LAST\r\n\r\n.\r\n",
        b"AUTH LOGIN\r\n",
        b"RSET\r\n",
        b"NOOP\n",
        b"VRFY <\x00\r\n",
        b"QUIT\r\n",
        b"\xff\xfe\r\n",
        b"x" * 5000 + b"\r\n",
    ]
)
DIALOGS = st.lists(st.one_of(LINES, st.binary(max_size=20)), max_size=25).map(b"".join)


@settings(max_examples=200)
@given(DIALOGS, st.lists(st.integers(1, 40), max_size=60))
@example(HELLO + ENVELOPE + b"DATA\r\na\r\n.\r\nQUIT\r\n", [1] * 60)
def test_any_chunking_gives_the_same_answers(dialog: bytes, sizes: list[int]) -> None:
    answers, messages = [], []
    for cut in ([], sizes):
        session = FakeSession(auth=True, secure=True)
        server = engine(session, synchronous=False)
        said, rest = drain(server), dialog
        for size in cut:
            said += say(server, rest[:size])
            rest = rest[size:]
        said += say(server, rest) if rest else b""
        said += say(server, b"")
        answers.append(said)
        messages.append(session.messages)
        assert server.closed
        assert all(sink.state != "open" for sink in session.sinks)
    assert answers[0] == answers[1]
    assert messages[0] == messages[1]


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=50)), st.booleans())
def test_arbitrary_octets_never_raise(pieces: list[bytes], lmtp: bool) -> None:
    server = engine(lmtp=lmtp)
    said = drain(server)
    for piece in pieces:
        server.receive(piece)
        said += drain(server)
    assert said.endswith(b"\r\n")
    assert all(line[:3].isdigit() for line in said.splitlines())


@pytest.mark.parametrize(
    "argument",
    [
        "ADDR=mail.example.net",
        "ADDR=192.0.2.7+0A",
        "PORT=65536",
        "PORT=0",
        "PROTO=QMTP",
        "LOGIN=ali+0Ace",
        "DESTADDR=here",
    ],
)
def test_xclient_says_nothing_that_cannot_be(argument: str) -> None:
    session = FakeSession()
    session.xclient_allowed = True
    server = greeted(session)
    assert codes(say(server, f"XCLIENT {argument}\r\n".encode())) == ["501"]
    assert not [asked for asked in session.asked if asked[0] == "xclient"]


def test_what_strangers_wrote_comes_tame_through_xclient() -> None:
    session = FakeSession()
    session.xclient_allowed = True
    server = greeted(session)
    said = "ADDR=IPV6:2001:DB8::7 NAME=x+0D+0Ay HELO=a+0Aforward-path+20eve PORT=25"
    assert codes(say(server, f"XCLIENT {said}\r\n".encode())) == ["220"]
    wanted = {"ADDR": "2001:db8::7", "NAME": "", "HELO": "a?forward-path?eve", "PORT": "25"}
    assert ("xclient", wanted) in session.asked


LAST_WORD = b"421 4.3.2 mail.example.org Service not available, closing the connection\r\n"


@pytest.mark.parametrize("said", ["NOOP\r\n", "RSET\r\n", "MAIL FROM:<a@example.net>\r\nRSET\r\n"])
def test_who_has_begun_nothing_hears_that_the_service_ends(said: str) -> None:
    server = greeted()
    say(server, said.encode())
    server.ending()
    assert drain(server) == LAST_WORD
    assert server.closed


def test_a_message_that_was_begun_comes_to_its_end_when_the_service_does() -> None:
    server = greeted()
    assert codes(say(server, b"MAIL FROM:<a@example.net>\r\n")) == ["250"]
    server.ending()
    assert codes(say(server, b"RCPT TO:<bob@example.org>\r\n")) == ["250"]
    assert codes(say(server, b"DATA\r\n")) == ["354"]
    answer = say(server, b"Subject: x\r\n\r\ny\r\n.\r\n")
    assert answer.startswith(b"250 2.0.0 ")
    assert answer.endswith(b"\r\n" + LAST_WORD)
    assert server.closed


@pytest.mark.parametrize(("octets", "code"), [(12000, "535"), (17000, "500")])
def test_an_initial_response_may_be_as_long_as_another(octets: int, code: str) -> None:
    server = greeted(FakeSession(auth=True, secure=True))
    response = base64.b64encode(b"\0alice\0" + b"x" * (octets * 3 // 4))
    line = b"auth PLAIN " + response + b"\r\n"
    assert codes(say(server, *(line[at : at + 1000] for at in range(0, len(line), 1000)))) == [code]
