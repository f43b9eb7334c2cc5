"""The engine against peers that send anything, in any pieces."""

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailtools.errors import BadCredentials
from mailtools.protocol.imap.server import LITERAL_MOST, ImapServer
from mailtools.services.imap.mailbox import ImapSession


class Nobody:
    """Lets nobody in."""

    mechanisms = ("PLAIN", "LOGIN")

    def __init__(self) -> None:
        self.authority: Any = self

    def authenticate(self, credentials: object) -> object:
        raise BadCredentials

    def open(self, identity: object, /) -> Any:
        raise AssertionError("nobody was let in")


@pytest.fixture(scope="module")
def maildir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("Maildir")
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir()
    for number in range(3):
        (path / "cur" / f"{1700000000 + number}.M1P1.host:2,").write_bytes(
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n"
        )
    return path


def said(engine: ImapServer, pieces: list[bytes]) -> bytes:
    result = b""
    for piece in [b"", *pieces]:
        if piece:
            engine.receive(piece)
        while output := engine.output():
            result += output
    return result


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


tokens = st.sampled_from(
    [
        "a ", "EXAMINE INBOX", "FETCH ", "UID ", "SEARCH ", "STATUS INBOX (MESSAGES)", "LIST ",
        '"" ', "*", "%", "1:*", "1", "(", ")", " ", "FLAGS", "BODY.PEEK[", "]", "1.MIME", "<0.5>",
        "ENVELOPE", "BODYSTRUCTURE", "SUBJECT x", "OR ", "NOT ", "RETURN (ALL)", "CHARSET ",
        "{3}", "{3+}", "{99999999}", "{99999999+}", "\r\n", "\n", "IDLE", "DONE", "LOGIN ",
        "AUTHENTICATE PLAIN", "=", "STARTTLS", "NOOP", "ID (", "NIL", "\\Seen", "\0", "\xff", "$",
        "HEADER.FIELDS (", "LSUB ", "APPEND NoSuch ", "BINARY.SIZE[", "CAPABILITY", "~",
    ]
)  # fmt: skip
dialogs = st.lists(tokens, max_size=40).map(lambda words: "".join(words).encode("latin-1"))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dialogs | st.binary(max_size=80), st.lists(st.integers(0, 400), max_size=6))
def test_any_chunking_gives_the_same_answers(
    maildir: Path, dialog: bytes, places: list[int]
) -> None:
    def logged_in() -> ImapServer:
        return ImapServer(None, session=ImapSession(str(maildir), append_limit=100))

    def stranger() -> ImapServer:
        return ImapServer(Nobody(), secure=True)

    for make in (logged_in, stranger):
        assert said(make(), [dialog]) == said(make(), cut(dialog, places))


def test_a_stranger_cannot_make_us_hold_much() -> None:
    engine = ImapServer(Nobody(), secure=True)
    answer = said(engine, [b"a LOGIN {%d}\r\n" % (LITERAL_MOST + 1)])
    assert b"a NO [TOOBIG]" in answer
    for _ in range(100):
        engine.receive(b"x" * 10000)
        assert engine.output() == b""
        assert len(engine._input) < 100_000
    assert said(engine, [b"\r\nb NOOP\r\n"]).endswith(b"b OK Noop completed\r\n")


def test_a_literal_that_comes_unasked_is_passed_over() -> None:
    engine = ImapServer(Nobody(), secure=True)
    answer = said(engine, [b"a LOGIN {900000+}\r\n", *[b"a NOOP\r\n" * 1000] * 112, b"a NOO" * 800])
    assert b"OK" not in answer.partition(b"ready")[2]
    assert said(engine, [b" x\r\nb NOOP\r\n"]) == (
        b"a NO [TOOBIG] Literal is too large\r\nb OK Noop completed\r\n"
    )


BYE = b"* BYE [UNAVAILABLE] Service not available, closing the connection\r\n"


@pytest.mark.parametrize("before", [b"", b"a NOOP\r\n", b"a SELECT INBOX\r\nb IDLE\r\n"])
def test_when_the_service_ends_who_has_begun_nothing_hears_bye(
    maildir: Path, before: bytes
) -> None:
    engine = ImapServer(None, session=ImapSession(str(maildir), append_limit=100))
    said(engine, [before])
    engine.ending()
    assert said(engine, []) == BYE
    assert engine.closed


def test_and_a_command_that_was_begun_is_answered(maildir: Path) -> None:
    engine = ImapServer(None, session=ImapSession(str(maildir), append_limit=100))
    said(engine, [b"a LIST {0}\r\n"])
    engine.ending()
    assert said(engine, []) == b""
    answer = said(engine, [b" INBOX\r\n"])
    assert b"\r\na OK " in answer
    assert answer.endswith(BYE)


@pytest.mark.parametrize(
    "item", ["BINARY.PEEK[1]<%d.900000>", "BODY.PEEK[1]<%d.900000>", "BODY.PEEK[HEADER]<%d.900000>"]
)
def test_many_pieces_of_a_large_message_are_made_one_by_one(tmp_path: Path, item: str) -> None:
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    large = b"x" * 69 + b"\n"
    header = b"A: b\n" + b"".join(b" " + large for _ in range(14_000))
    (tmp_path / "cur" / "1700000000.M1P1.host:2,").write_bytes(header + b"\n" + large * 14_000)
    engine = ImapServer(None, session=ImapSession(str(tmp_path), append_limit=100))
    said(engine, [b"a EXAMINE INBOX\r\n"])
    items = " ".join(item % start for start in range(40))
    engine.receive(f"b FETCH 1 ({items})\r\n".encode())
    tracemalloc.start()
    octets = 0
    while output := engine.output():
        octets += len(output)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert octets > 40 * 900_000
    assert most < 12_000_000  # all of them are 36 MB
