"""The POP3 engine against a maildrop in memory: RFC 1939 and what CAPA promises."""

from base64 import b64encode
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import (
    BadCredentials,
    Failure,
    MailboxInUse,
    NoSuchMessage,
    SystemTrouble,
)
from mailtools.protocol.dotted import DotReader
from mailtools.protocol.pop3.server import AUTOLOGOUT, BAD_COMMANDS, BAD_LOGINS, Pop3Server
from mailtools.protocol.pop3.session import top
from mailtools.protocol.sasl import server as sasl
from mailtools.protocol.sasl.scram import ScramKeys

MESSAGES = (b"Subject: one\n\nfirst\n.dot\n", b"Subject: two\n\na\nb\nc\n")


class Box:
    """A maildrop in memory that records what it is asked."""

    def __init__(self, messages: Iterable[bytes] = MESSAGES) -> None:
        self.messages = list(messages)
        self.sizes = [len(text) + text.count(b"\n") for text in self.messages]
        self.updated: tuple[set[int], set[int]] | None = None
        self.released = 0
        self.gone: set[int] = set()
        self.trouble: Failure | None = None

    def uid(self, index: int) -> str:
        return f"uid{index}"

    def read(self, index: int) -> Iterable[bytes]:
        if index in self.gone:
            raise NoSuchMessage
        return [self.messages[index]]

    def update(self, removed: set[int], retrieved: set[int]) -> None:
        if self.trouble:
            raise self.trouble
        self.updated = (set(removed), set(retrieved))

    def release(self) -> None:
        self.released += 1


class Site:
    """One account, alice, whose password is "open sesame"."""

    mechanisms = ("PLAIN", "LOGIN")
    apop = False

    def __init__(self, box: Box | None = None) -> None:
        self.box = box or Box()
        self.authority = self
        self.trouble: Failure | None = None

    def authenticate(self, credentials: sasl.Credentials) -> str:
        if credentials[:2] == ("alice", "open sesame"):
            return "alice"
        raise BadCredentials

    def scram_keys(self, login: str, mechanism: str) -> ScramKeys:
        raise AssertionError("SCRAM is not offered here")

    def open(self, identity: str) -> Box:
        assert identity == "alice"
        if self.trouble:
            raise self.trouble
        return self.box


def talk(engine: Pop3Server, text: bytes) -> list[bytes]:
    """Say something, and give the answer's lines."""
    if text:
        engine.receive(text)
    said = b""
    while chunk := engine.output():
        said += chunk
    assert not said or said.endswith(b"\r\n")
    return said.split(b"\r\n")[:-1]


def opened(box: Box | None = None) -> tuple[Pop3Server, Box]:
    """A session in TRANSACTION state, its greeting taken."""
    box = box or Box()
    engine = Pop3Server(Site(box), drop=box)
    talk(engine, b"NOOP\r\n")
    return engine, box


def greeted(site: Site | None = None, **how: object) -> Pop3Server:
    """A session that has greeted."""
    how.setdefault("secure", True)
    engine = Pop3Server(site or Site(), host="mail.example.org", **how)  # type: ignore[arg-type]
    assert talk(engine, b"") == [b"+OK mail.example.org POP3 ready"]
    return engine


def ir(text: str) -> bytes:
    return b64encode(text.encode())


# -- AUTHORIZATION --------------------------------------------------------------------------------


def test_user_and_pass_open_the_maildrop():
    engine = greeted()
    assert talk(engine, b"USER alice\r\n") == [b"+OK"]
    assert talk(engine, b"PASS open sesame\r\n") == [b"+OK 2 messages (54 octets)"]
    assert talk(engine, b"STAT\r\n") == [b"+OK 2 54"]


def test_a_wrong_password_says_auth_and_the_user_must_be_named_again():
    engine = greeted()
    assert talk(engine, b"USER alice\r\nPASS wrong\r\n") == [
        b"+OK",
        b"-ERR [AUTH] Authentication credentials invalid",
    ]
    assert talk(engine, b"PASS open sesame\r\n") == [b"-ERR USER comes first"]


def test_an_unknown_user_looks_like_a_known_one():
    engine = greeted()
    assert talk(engine, b"USER nobody\r\nPASS x\r\n") == [
        b"+OK",
        b"-ERR [AUTH] Authentication credentials invalid",
    ]


def test_the_connection_closes_after_some_wrong_passwords():
    engine = greeted()
    for _ in range(BAD_LOGINS - 1):
        talk(engine, b"USER alice\r\nPASS wrong\r\n")
        assert not engine.closed
    talk(engine, b"USER alice\r\nPASS wrong\r\n")
    assert engine.closed


def test_a_maildrop_in_use_leaves_the_session_in_authorization():
    site = Site()
    site.trouble = MailboxInUse()
    engine = greeted(site)
    assert talk(engine, b"USER alice\r\nPASS open sesame\r\n")[1].startswith(b"-ERR [IN-USE] ")
    site.trouble = SystemTrouble(detail="disk on fire")
    said = talk(engine, b"USER alice\r\nPASS open sesame\r\n")[1]
    assert said.startswith(b"-ERR [SYS/TEMP] ")
    assert b"fire" not in said
    site.trouble = None
    assert talk(engine, b"USER alice\r\nPASS open sesame\r\n")[1].startswith(b"+OK")


@pytest.mark.parametrize("command", [b"USER alice", b"PASS x", b"AUTH PLAIN", b"AUTH LOGIN"])
def test_no_password_without_tls(command):
    engine = greeted(secure=False, tls=True)
    (said,) = talk(engine, command + b"\r\n")
    assert said.startswith(b"-ERR [AUTH] ")
    assert b"TLS" in said


def test_plaintext_login_allows_it():
    engine = greeted(secure=False, plaintext_login=True)
    assert talk(engine, b"USER alice\r\nPASS open sesame\r\n")[1].startswith(b"+OK")


def test_stls_forgets_the_user_and_what_came_before_it():
    engine = greeted(secure=False, tls=True, plaintext_login=True)
    assert talk(engine, b"USER alice\r\nSTLS\r\nCAPA\r\n") == [b"+OK", b"+OK Begin TLS"]
    assert engine.wants_tls
    engine.tls_started()
    assert talk(engine, b"") == []
    assert talk(engine, b"PASS open sesame\r\n") == [b"-ERR USER comes first"]
    assert talk(engine, b"STLS\r\n") == [b"-ERR TLS is on already"]


def test_stls_where_there_is_no_certificate():
    assert talk(greeted(secure=False), b"STLS\r\n")[0].startswith(b"-ERR ")


def test_auth_plain_with_and_without_initial_response():
    token = ir("\0alice\0open sesame")
    assert talk(greeted(), b"AUTH PLAIN " + token + b"\r\n")[0].startswith(b"+OK 2 messages")
    engine = greeted()
    assert talk(engine, b"auth plain\r\n") == [b"+ "]
    assert talk(engine, token + b"\r\n")[0].startswith(b"+OK 2 messages")


def test_auth_login_asks_twice():
    engine = greeted()
    assert talk(engine, b"AUTH LOGIN\r\n") == [b"+ " + ir("Username:")]
    assert talk(engine, ir("alice") + b"\r\n") == [b"+ " + ir("Password:")]
    assert talk(engine, ir("open sesame") + b"\r\n")[0].startswith(b"+OK")


@pytest.mark.parametrize("answer", [b"*", b"%%%", b"", ir("no nul")])
def test_auth_that_is_cancelled_or_garbled_leaves_the_session_usable(answer):
    engine = greeted()
    talk(engine, b"AUTH PLAIN\r\n")
    assert talk(engine, answer + b"\r\n")[0].startswith(b"-ERR ")
    assert talk(engine, b"NOOP\r\n") == [b"-ERR Not now: log in first"]
    assert talk(engine, b"USER alice\r\nPASS open sesame\r\n")[1].startswith(b"+OK")


def test_auth_alone_lists_the_mechanisms():
    assert talk(greeted(), b"AUTH\r\n") == [b"+OK Mechanisms follow", b"PLAIN", b"LOGIN", b"."]


def test_auth_unknown_mechanism():
    assert talk(greeted(), b"AUTH CRAM-MD5\r\n") == [b"-ERR Unknown mechanism"]


def test_auth_takes_longer_lines_than_other_commands():
    token = ir("\0alice\0" + "x" * 1000)
    assert talk(greeted(), b"AUTH PLAIN " + token + b"\r\n")[0].startswith(b"-ERR [AUTH]")


def test_apop_is_not_offered():
    engine = Pop3Server(Site(), host="mail.example.org", secure=True)
    assert b"<" not in engine.output()
    assert talk(engine, b"APOP alice c4c9334bac560ecc979e58001b3e22fb\r\n") == [
        b"-ERR Unknown command"
    ]


def test_utf8_comes_before_login_and_after_stls():
    engine = greeted(tls=True, secure=False)
    assert talk(engine, b"UTF8\r\nSTLS\r\n") == [b"+OK UTF-8 it is", b"-ERR STLS comes before UTF8"]
    assert not engine.wants_tls
    engine, _ = opened()
    assert talk(engine, b"UTF8\r\n") == [b"-ERR Not now: you are logged in already"]


# -- CAPA -----------------------------------------------------------------------------------------


def capabilities(engine: Pop3Server) -> list[bytes]:
    first, *lines, last = talk(engine, b"CAPA\r\n")
    assert first.startswith(b"+OK")
    assert last == b"."
    return lines


def test_capa_offers_a_login_only_where_there_is_one():
    always = [b"TOP", b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE", b"PIPELINING", b"EXPIRE NEVER"]
    plain = capabilities(greeted(secure=False, tls=True))
    assert set(always) <= set(plain)
    assert b"STLS" in plain
    assert b"USER" not in plain
    assert not any(line.startswith(b"SASL") for line in plain)
    secure = capabilities(greeted(tls=True))
    assert b"STLS" not in secure
    assert b"USER" in secure
    assert b"SASL PLAIN LOGIN" in secure


def test_capa_works_when_logged_in():
    engine, _ = opened()
    assert b"UIDL" in capabilities(engine)


# -- TRANSACTION ----------------------------------------------------------------------------------


def test_stat_list_uidl():
    engine, _ = opened()
    assert talk(engine, b"STAT\r\n") == [b"+OK 2 54"]
    assert talk(engine, b"LIST\r\n") == [b"+OK 2 messages", b"1 29", b"2 25", b"."]
    assert talk(engine, b"LIST 2\r\n") == [b"+OK 2 25"]
    assert talk(engine, b"UIDL\r\n") == [b"+OK 2 messages", b"1 uid0", b"2 uid1", b"."]
    assert talk(engine, b"UIDL 1\r\n") == [b"+OK 1 uid0"]


def test_an_empty_maildrop():
    engine, _ = opened(Box([]))
    assert talk(engine, b"STAT\r\nLIST\r\nUIDL\r\n") == [
        b"+OK 0 0",
        b"+OK 0 messages",
        b".",
        b"+OK 0 messages",
        b".",
    ]
    assert talk(engine, b"LIST 1\r\n") == [b"-ERR No such message: there are 0"]


def test_a_large_maildrop_is_listed_whole():
    engine, _ = opened(Box([b"\n"] * 20000))
    lines = talk(engine, b"LIST\r\n")
    assert len(lines) == 20002
    assert lines[20000] == b"20000 2"


def test_retr_stuffs_dots():
    engine, _ = opened()
    assert talk(engine, b"RETR 1\r\n") == [
        b"+OK 29 octets",
        b"Subject: one",
        b"",
        b"first",
        b"..dot",
        b".",
    ]


def test_top_gives_header_and_lines():
    engine, _ = opened()
    head = [b"+OK The top follows", b"Subject: two", b""]
    assert talk(engine, b"TOP 2 0\r\n") == [*head, b"."]
    assert talk(engine, b"TOP 2 2\r\n") == [*head, b"a", b"b", b"."]
    assert talk(engine, b"TOP 2 99\r\n") == [*head, b"a", b"b", b"c", b"."]


def test_a_message_that_another_session_removed():
    engine, box = opened()
    box.gone.add(0)
    assert talk(engine, b"RETR 1\r\nTOP 1 0\r\nRETR 2\r\n")[:3] == [
        b"-ERR The message is gone",
        b"-ERR The message is gone",
        b"+OK 25 octets",
    ]


def test_dele_hides_and_rset_brings_back():
    engine, _ = opened()
    assert talk(engine, b"DELE 1\r\n")[0].startswith(b"+OK")
    for command in (b"DELE 1", b"RETR 1", b"TOP 1 0", b"LIST 1", b"UIDL 1"):
        assert talk(engine, command + b"\r\n") == [b"-ERR Message 1 is marked as deleted"]
    assert talk(engine, b"STAT\r\n") == [b"+OK 1 25"]
    assert talk(engine, b"LIST\r\n") == [b"+OK 1 messages", b"2 25", b"."]
    assert talk(engine, b"RSET\r\nSTAT\r\n")[1] == b"+OK 2 54"


@pytest.mark.parametrize(
    "argument", [b"0", b"3", b"-1", b"x", b"1.5", b"99999999999999", b"\xd9\xa1"]
)
def test_numbers_that_name_no_message(argument):
    engine, _ = opened()
    for verb in (b"RETR", b"DELE", b"LIST", b"UIDL"):
        (said,) = talk(engine, verb + b" " + argument + b"\r\n")
        assert said.startswith(b"-ERR ")
    assert talk(engine, b"STAT\r\n") == [b"+OK 2 54"]


# -- the end --------------------------------------------------------------------------------------


def test_quit_updates_once_and_then_lets_go():
    engine, box = opened()
    talk(engine, b"RETR 2\r\nDELE 1\r\n")
    assert box.updated is None
    assert talk(engine, b"QUIT\r\n") == [b"+OK Bye"]
    assert box.updated == ({0}, {1})
    assert box.released == 1
    assert engine.closed


def test_quit_that_cannot_remove_says_so():
    engine, box = opened()
    box.trouble = SystemTrouble("Some messages were not removed")
    assert talk(engine, b"DELE 1\r\nQUIT\r\n")[1] == (
        b"-ERR [SYS/TEMP] Some messages were not removed"
    )
    assert engine.closed
    assert box.released == 1


@pytest.mark.parametrize("end", ["eof", "silence", "abort"])
def test_a_session_without_quit_removes_nothing(end):
    engine, box = opened()
    talk(engine, b"DELE 1\r\n")
    assert engine.timeout == AUTOLOGOUT >= 600
    if end == "eof":
        engine.receive(b"")
        assert engine.output() == b""
    elif end == "silence":
        engine.timed_out()
        assert engine.output() == b""  # RFC 1939 3: without any response
    else:
        engine.abort()
    assert engine.closed
    assert box.updated is None
    assert box.released == 1


def test_quit_before_login():
    engine = greeted()
    assert talk(engine, b"QUIT\r\n") == [b"+OK Bye"]
    assert engine.closed


# -- lines ----------------------------------------------------------------------------------------


def test_commands_in_any_case_and_with_a_bare_lf():
    engine, _ = opened()
    assert talk(engine, b"stat\nNoOp\r\n") == [b"+OK 2 54", b"+OK"]


def test_a_line_too_long_is_refused_whole():
    engine, _ = opened()
    assert talk(engine, b"NOOP " + b"x" * 300 + b"\r\n") == [b"-ERR Line too long"]
    assert talk(engine, b"NOOP " + b"x" * 50000 + b"\r\nSTAT\r\n") == [
        b"-ERR Line too long",
        b"+OK 2 54",
    ]


def test_bad_commands_close_the_connection_good_ones_forgive():
    engine, box = opened()
    for _ in range(3):
        talk(engine, b"FOO\r\n" * (BAD_COMMANDS - 1) + b"NOOP\r\n")
    assert not engine.closed
    talk(engine, b"FOO\r\n" * BAD_COMMANDS)
    assert engine.closed
    assert box.released == 1


@pytest.mark.parametrize(
    "line", [b"STAT 1", b"RETR", b"RETR 1 2", b"TOP 1", b"QUIT now", b"NOOP \0"]
)
def test_wrong_arguments(line):
    engine, _ = opened()
    (said,) = talk(engine, line + b"\r\n")
    assert said.startswith(b"-ERR ")
    assert not engine.closed


COMMANDS = st.sampled_from(
    b"STAT LIST UIDL RSET FOO QUIT CAPA NOOP".split()
    + b"LIST 1,RETR 1,RETR 2,TOP 2 1,DELE 1".split(b",")
    + [b"x" * 300]
)


@given(st.lists(COMMANDS, max_size=12), st.lists(st.integers(1, 20), min_size=1))
def test_pipelining_and_chunking_change_nothing(commands, cuts):
    wire = b"".join(command + b"\r\n" for command in commands)
    whole = talk(opened()[0], wire)
    engine, _ = opened()
    pieces: list[bytes] = []
    position = turn = 0
    while position < len(wire):
        step = cuts[turn % len(cuts)]
        engine.receive(wire[position : position + step])
        while chunk := engine.output():
            pieces.append(chunk)
        position, turn = position + step, turn + 1
    assert b"".join(pieces).split(b"\r\n")[:-1] == whole


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_are_answered_with_ok_or_err(data, logged_in):
    engine = opened()[0] if logged_in else greeted()
    lines = talk(engine, data + b"\r\nNOOP\r\n")
    assert engine.closed or lines[-1][:1] in (b"+", b"-", b".")


@given(st.lists(st.sampled_from([b"a", b".", b"..", b"", b"\xe9", b"\r"])), st.booleans())
def test_what_retr_sends_is_the_message(lines, last_lf):
    message = b"\n".join(lines) + (b"\n" if last_lf else b"")
    message = message.replace(b"\r\n", b"\n").rstrip(b"\r")
    engine, _ = opened(Box([message]))
    engine.receive(b"RETR 1\r\n")
    wire = b""
    while chunk := engine.output():
        wire += chunk
    reader = DotReader()
    text = reader.feed(wire.partition(b"\r\n")[2])
    assert reader.finished
    assert text == (message if message.endswith(b"\n") or not message else message + b"\n")


@given(
    st.lists(st.sampled_from([b"a", b"b: c", b"", b"."])),
    st.integers(0, 6),
    st.integers(1, 5),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_top_is_the_header_and_so_many_lines(lines, count, step, ending):
    message = b"".join(line + ending for line in lines)
    end = lines.index(b"") + 1 if b"" in lines else len(lines)
    expected = b"".join(line + ending for line in lines[: end + count])
    chunks = [message[i : i + step] for i in range(0, len(message), step)]
    assert b"".join(top(chunks, count)) == expected
