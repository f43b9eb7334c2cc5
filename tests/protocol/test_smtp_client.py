"""The relaying client against transcripts: turn by turn, octet by octet, and the real command.

Beside the dialog, a transcript of tests/transcripts/relay says what must come of it:

    #! paths=a@example.net,b@example.net message=dots tls=must     see `client` and MESSAGES
    #= a@example.net relayed 2.0.0 *said 250*        a final outcome
    #+ b@example.net delayed 4.0.0 *                 one that another exchanger may better
    *** done                                         every path has its outcome; we may leave
"""

import email
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
import transcript
from smtpsink import Sink

from mailtools.errors import ConnectionDied, NoAnswer, SystemTrouble, TlsTrouble
from mailtools.mail.envelope import ForwardPath
from mailtools.protocol.smtp.client import SmtpClient
from mailtools.protocol.smtp.transaction import (
    DeliverBy,
    Login,
    Message,
    Outcome,
    Tls,
    Transaction,
    message_of,
)

MESSAGES = {
    "short": b"Subject: hello\n\nText.\n",
    "dots": b".\n..\nSubject: x\n\n.\n.a\nb.\n",
    "eight": "Subject: hello\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: 8bit\n\nViele Grüße aus dem Norden\n".encode(),
    "utf8": "Subject: Grüße\n\nText.\n".encode(),
    "noend": b"Subject: hello\n\nno line end",
    "empty": b"",
    "long": b"Subject: hello\n\n" + b"x" * 2000 + b"\n",
}
PEER = "mx.example.net[192.0.2.1]:25"
FILES = sorted((Path(__file__).parents[1] / "transcripts" / "relay").glob("*.txt"))
CASES = [
    pytest.param(path, way, id=f"{path.stem}-{way}")
    for path in FILES
    for way in ("whole", "bytes", "process")
    if way not in transcript.read(path, "C").options.get("not", "").split(",")
]


def expected(path: Path) -> list[tuple[str, str, str, str, bool]]:
    found = []
    for line in path.read_text().splitlines():
        if line[:3] in ("#= ", "#+ "):
            address, action, status, text = line[3:].split(" ", 3)
            found.append((address, action, status, text, line[1] == "+"))
    return sorted(found)


def compare(path: Path, reports: list[tuple[str, str, str, str, bool]]) -> None:
    wanted = expected(path)
    assert [w[:3] for w in wanted] == [r[:3] for r in sorted(reports)]
    for want, got in zip(wanted, sorted(reports), strict=True):
        pattern = ".*".join(map(re.escape, want[3].split("*")))
        assert re.fullmatch(pattern, got[3]), (want, got)
        assert want[4] == got[4], (want, got)


def parameters(text: str) -> dict[str, str]:
    """Read `RET=HDRS;ENVID=x`."""
    return dict(word.partition("=")[::2] for word in text.split(";") if word)


def client(options: dict[str, str]) -> SmtpClient:
    login = Login("alice", "secret", token="token" in options) if "login" in options else None
    return SmtpClient(
        "relay.example.org",
        PEER,
        tls=Tls(options.get("tls", "may")),
        secured="secured" in options,
        lmtp="lmtp" in options,
        login=login,
        loops=True,
        ignored=options.get("ignored", "").split(","),
    )


def order(options: dict[str, str]) -> Transaction:
    paths = tuple(
        ForwardPath(path, parameters(options.get("rcpt", "")))
        for path in options.get("paths", "bob@example.net").split(",")
    )
    return Transaction(
        options.get("from", "alice@example.org"),
        paths,
        message_of(MESSAGES[options.get("message", "short")]),
        parameters(options.get("mail", "")),
        deliver_by=deadline(options["by"]) if "by" in options else None,
    )


def deadline(text: str) -> DeliverBy:
    """Read `120;RT`: so many seconds are left."""
    seconds, _, mode = text.partition(";")
    return DeliverBy(lambda: int(seconds), mode[0] == "R", mode[1:] == "T")


def outcome_row(outcome: Outcome) -> tuple[str, str, str, str, bool]:
    report = outcome.report
    return report.forward_path, report.action, report.status, report.text, outcome.elsewhere


def play(made: transcript.Transcript, engine: SmtpClient, way: str) -> None:
    said = transcript.drain(engine)
    for turn in made.turns:
        if turn.kind == "said":
            pieces = [turn.data] if way == "whole" else [bytes((octet,)) for octet in turn.data]
            for piece in pieces:
                engine.receive(piece)
                said += transcript.drain(engine)
        elif turn.kind == "answer":
            transcript._match(made, turn, said)
            said = b""
        else:
            assert not said, f"{made.path.name}: unexpected {said!r}"
            if turn.kind == "done":
                assert not engine.busy
                assert engine.idle
                engine.quit()
                said = transcript.drain(engine)
            elif turn.kind == "drop":
                engine.abort()
            else:
                said = transcript._happen(made, turn.kind, engine)
    assert not said, f"{made.path.name}: unexpected at the end: {said!r}"


@pytest.mark.parametrize(("path", "way"), CASES)
def test_transcript(path: Path, way: str, request: pytest.FixtureRequest) -> None:
    made = transcript.read(path, "C")
    if way == "process":
        play_command(made, request)
        return
    engine = client(made.options)
    engine.send(order(made.options))
    play(made, engine, way)
    assert not engine.busy
    compare(path, [outcome_row(outcome) for outcome in engine.collect()])


def play_command(made: transcript.Transcript, request: pytest.FixtureRequest) -> None:
    site = request.getfixturevalue("site")
    site.set("me", "relay.example.org")
    context = None
    if any(turn.kind == "tls" for turn in made.turns):
        authority: Any = request.getfixturevalue("authority")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
    made.turns = [turn for turn in made.turns if turn.kind != "done"]
    with Sink([made], context) as sink:
        lmtp = ["--lmtp"] if "lmtp" in made.options else []
        paths = made.options.get("paths", "bob@example.net").split(",")
        sender = made.options.get("from", "alice@example.org")
        via = f"127.0.0.1:{sink.port}"
        done = site.run(
            *("relay-send", "--via", via, *lmtp, "--from", sender, *paths),
            input=MESSAGES[made.options.get("message", "short")],
        )
        sink.check()
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    peer = f"[127.0.0.1]:{sink.port}"
    reports = [(row[1], row[2], row[3], row[4].replace(peer, PEER)) for row in rows]
    wanted = {(row[0], row[1]): row[4] for row in expected(made.path)}
    compare(made.path, [(*row, wanted.get((row[0], row[1]), False)) for row in reports])


# -- what no transcript can say -------------------------------------------------------------------


def ready(*lines: str) -> SmtpClient:
    """A client after its greeting, and what the peer offers."""
    engine = SmtpClient("relay.example.org", PEER, tls=Tls.NEVER)
    feed(engine, "220 hello")
    feed(engine, *(f"250-{line}" for line in ("mx", *lines)), "250 HELP")
    assert engine.idle
    return engine


def feed(engine: SmtpClient, *lines: str) -> bytes:
    engine.receive("".join(f"{line}\r\n" for line in lines).encode())
    return transcript.drain(engine)


def test_a_connection_serves_one_transaction_after_the_other() -> None:
    engine = ready("PIPELINING")
    for _ in range(3):
        engine.send(order({}))
        assert transcript.drain(engine).startswith(b"MAIL FROM:<alice@example.org>\r\nRCPT")
        feed(engine, "250 ok", "250 ok", "354 go")
        feed(engine, "250 ok")
        assert engine.idle
        assert [outcome.report.action for outcome in engine.collect()] == ["relayed"]
    assert engine.transactions == 3


def test_an_open_transaction_is_reset_before_the_next() -> None:
    engine = ready("PIPELINING")
    engine.send(order({}))
    transcript.drain(engine)
    feed(engine, "250 ok", "550 no", "554 no valid recipients")
    engine.send(order({}))
    assert transcript.drain(engine).startswith(b"RSET\r\nMAIL FROM")
    feed(engine, "250 ok", "250 ok", "250 ok", "354 go")
    feed(engine, "250 ok")
    assert [o.report.action for o in engine.collect()] == ["failed", "relayed"]


def test_an_idle_connection_is_left_politely_when_its_time_is_over() -> None:
    engine = ready()
    assert engine.timeout == 5.0
    engine.timed_out()
    assert transcript.drain(engine) == b"QUIT\r\n"
    feed(engine, "221 bye")
    assert engine.closed


def test_an_idle_connection_that_ends_says_nothing_of_any_path() -> None:
    engine = ready()
    engine.receive(b"")
    assert transcript.drain(engine) == b""
    assert engine.closed
    assert engine.collect() == []
    assert isinstance(engine.died, ConnectionDied)


@pytest.mark.parametrize("said", ["421 too long idle", "250 what"])
def test_a_peer_that_speaks_while_idle_gets_no_transaction(said: str) -> None:
    engine = ready()
    feed(engine, said)
    engine.send(order({}))
    assert transcript.drain(engine) == b""
    (outcome,) = engine.collect()
    assert (outcome.report.action, outcome.elsewhere) == ("delayed", True)
    assert engine.closed


@pytest.mark.parametrize("idle", [True, False])
def test_a_peer_that_talks_while_nobody_listens_has_an_end(idle: bool) -> None:
    """Between two messages, and while one is sent that it does not read."""
    engine = ready("PIPELINING")
    if not idle:
        engine.send(order({}))
        transcript.drain(engine)
    for _ in range(1000):
        engine.receive(b"250 and another thing\r\n" * 1000)
    assert engine.closed
    assert len(engine._input) < 65536
    assert [outcome.report.action for outcome in engine.collect()] == [] if idle else ["delayed"]


def test_lines_of_the_peer_have_an_end() -> None:
    engine = SmtpClient("relay.example.org", PEER)
    engine.send(order({}))
    for _ in range(20):
        engine.receive(b"220-" + b"x" * 1000)
        transcript.drain(engine)
    engine.receive(b"\r\n")
    transcript.drain(engine)
    (outcome,) = engine.collect()
    assert "line without an end" in outcome.report.text


def test_replies_of_the_peer_have_an_end() -> None:
    engine = SmtpClient("relay.example.org", PEER)
    engine.send(order({}))
    for _ in range(1000):
        feed(engine, "220-more")
    assert engine.closed
    assert len(engine.collect()) == 1


@pytest.mark.parametrize(
    ("failure", "status"),
    [(NoAnswer("Connection refused"), "4.4.1"), (TlsTrouble("no"), "4.7.5")],
)
def test_what_the_driver_could_not_do_is_reported(failure: Any, status: str) -> None:
    engine = SmtpClient("relay.example.org", PEER)
    engine.send(order({"paths": "a@example.net,b@example.net"}))
    engine.fail(failure)
    reports = [outcome.report for outcome in engine.collect()]
    assert [report.forward_path for report in reports] == ["a@example.net", "b@example.net"]
    assert {(r.action, r.status, r.text) for r in reports} == {
        ("delayed", status, f"{PEER}: {failure.text}")
    }
    assert engine.closed


def test_a_message_that_cannot_be_read_ends_without_the_final_dot() -> None:
    def chunks() -> Any:
        yield b"Subject: x\n\n" + b"text\n" * 100
        raise SystemTrouble("cannot read it")

    engine = ready()
    engine.send(Transaction("a@example.org", order({}).forward_paths, Message(chunks, 1000)))
    transcript.drain(engine)
    feed(engine, "250 ok")
    feed(engine, "250 ok")
    assert b"\r\n.\r\n" not in feed(engine, "354 go")
    (outcome,) = engine.collect()
    assert outcome.report.action == "delayed"
    assert "cannot read it" in outcome.report.text
    assert engine.closed


def test_a_large_message_is_made_as_the_peer_takes_it() -> None:
    taken = 0

    def chunks() -> Any:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield b"x" * 65535 + b"\n"

    engine = ready()
    engine.send(Transaction("a@example.org", order({}).forward_paths, Message(chunks, 6553600)))
    transcript.drain(engine)
    feed(engine, "250 ok")
    feed(engine, "250 ok")
    engine.receive(b"354 go\r\n")
    engine.output()
    assert taken <= 3


@pytest.mark.parametrize("name", sorted(MESSAGES))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_the_message_arrives_as_it_is_however_it_is_cut(name: str, size: int) -> None:
    from mailtools.protocol.dotted import DotReader

    data = MESSAGES[name]
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    engine = ready("8BITMIME", "SMTPUTF8")
    engine.send(Transaction("a@example.org", order({}).forward_paths, Message(lambda: pieces, 1)))
    transcript.drain(engine)
    feed(engine, "250 ok")
    feed(engine, "250 ok")
    reader = DotReader()
    text = reader.feed(feed(engine, "354 go"))
    assert reader.finished
    assert not reader.fault
    assert text == (data if data.endswith(b"\n") or not data else data + b"\n")


def test_more_than_a_hundred_paths_go_in_several_transactions() -> None:
    engine = ready("PIPELINING")
    paths = ",".join(f"u{n}@example.net" for n in range(250))
    engine.send(order({"paths": paths}))
    batches = []
    said = transcript.drain(engine)
    while b"RCPT" in said:
        count = said.count(b"RCPT")
        batches.append(count)
        feed(engine, "250 ok", *["250 ok"] * count, "354 go")
        said = feed(engine, "250 ok")
    assert batches == [100, 100, 50]
    assert len(engine.collect()) == 250


def test_limits_the_peer_announces_are_kept() -> None:
    engine = ready("PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2")
    engine.send(order({"paths": "a@example.net,b@example.net,c@example.net"}))
    assert transcript.drain(engine).count(b"RCPT") == 2
    feed(engine, "250 ok", "250 ok", "250 ok", "354 go")
    assert feed(engine, "250 ok").count(b"RCPT") == 1
    feed(engine, "250 ok", "250 ok", "354 go")
    assert feed(engine, "250 ok") == b"QUIT\r\n"
    assert len(engine.collect()) == 3
    assert not engine.exhausted


def test_paths_beyond_the_messages_of_a_connection_want_another_one() -> None:
    engine = ready("LIMITS RCPTMAX=1 MAILMAX=1")
    engine.send(order({"paths": "a@example.net,b@example.net"}))
    transcript.drain(engine)
    for reply in ("250 ok", "250 ok", "354 go"):
        feed(engine, reply)
    assert feed(engine, "250 ok") == b"QUIT\r\n"
    assert engine.exhausted
    taken, rest = engine.collect()
    assert (taken.report.action, rest.report.status, rest.elsewhere) == ("relayed", "4.5.3", True)


def test_a_message_has_as_many_domains_as_the_peer_announces() -> None:
    engine = ready("PIPELINING", "LIMITS RCPTDOMAINMAX=1")
    engine.send(order({"paths": "a@example.net,b@example.com,c@example.NET"}))
    said = transcript.drain(engine)
    assert (said.count(b"RCPT"), b"b@example.com" in said) == (2, False)
    feed(engine, "250 ok", "250 ok", "250 ok", "354 go")
    assert b"RCPT TO:<b@example.com>\r\nDATA" in feed(engine, "250 ok")


def test_a_long_message_with_long_lines_goes_piece_by_piece() -> None:
    engine = ready("CHUNKING")
    text = b"Subject: x\n\n" + (b"y" * 2000 + b"\n") * 600 + b"z"
    engine.send(Transaction("a@example.org", (ForwardPath("b@example.net"),), message_of(text)))
    transcript.drain(engine)
    feed(engine, "250 ok")
    wire, said = b"", feed(engine, "250 ok")
    commands = []
    while said:
        command, _, piece = said.partition(b"\r\n")
        commands.append(command)
        assert int(command.split()[1]) == len(piece)
        wire += piece
        said = feed(engine, "250 ok")
    assert wire == text.replace(b"\n", b"\r\n") + b"\r\n"
    assert commands[-1].endswith(b" LAST")
    assert sum(b"LAST" in command for command in commands) == 1
    assert [outcome.report.action for outcome in engine.collect()] == ["relayed"]


def test_a_message_of_our_own_has_no_long_lines_whatever_the_peer_takes() -> None:
    engine = ready("8BITMIME", "CHUNKING")
    text = b"Subject: hello\n\n" + b"x" * 2000 + b"\n"
    mail = order({})
    engine.send(Transaction("a@example.org", mail.forward_paths, message_of(text), ours=True))
    transcript.drain(engine)
    feed(engine, "250 ok")
    assert feed(engine, "250 ok") == b"DATA\r\n"
    wire = feed(engine, "354 go")
    assert max(map(len, wire.split(b"\r\n"))) <= 76
    message = email.message_from_bytes(wire.removesuffix(b".\r\n"))
    assert message.get_payload(decode=True) == b"x" * 2000 + b"\r\n"


def test_what_is_done_aside_leaves_the_loop_to_others() -> None:
    engine = ready("PIPELINING")
    engine.works_aside = True
    touched = []

    def finish(message: Message) -> Message:
        touched.append(message.size)
        return message

    large = message_of(b"Subject: x\n\n" + b"yes no\n" * 100_000)
    engine.send(Transaction("", (ForwardPath("b@example.net"),), large, {}, finish))
    assert transcript.drain(engine) == b""
    assert (touched, engine.work is not None) == ([], True)
    assert engine.work
    engine.work()
    engine.worked()
    assert transcript.drain(engine).startswith(b"MAIL FROM:<>")
    assert touched == [large.size]


def test_a_peer_that_leaves_while_work_is_done_aside_is_noticed() -> None:
    engine = ready()
    engine.works_aside = True
    large = message_of(b"Subject: x\n\n" + b"y" * 60 * 1024 * 10)
    engine.send(Transaction("", (ForwardPath("b@example.net"),), large))
    transcript.drain(engine)
    assert engine.work
    engine.receive(b"")
    transcript.drain(engine)
    engine.work()
    engine.worked()
    assert [outcome.report.action for outcome in engine.collect()] == ["delayed"]
    assert engine.closed


def test_a_connection_that_dies_before_the_transaction_begins_says_so_of_each_path() -> None:
    engine = ready()
    engine.send(order({}))
    engine.fail(ConnectionDied())  # before the driver looked at it again
    rows = [outcome_row(outcome) for outcome in engine.collect()]
    assert len(rows) == 1
    assert not engine.busy
