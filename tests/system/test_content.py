"""Programs that look at each message before the 250: verdicts, and what they print and know."""

import os
import smtplib
from pathlib import Path

import pytest
from conftest import Server, Site

from mailtools.errors import SystemTrouble
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.services.reception import content
from mailtools.services.reception.content import Content, Screened
from mailtools.store.queue import Queue

TEXT = b"From: alice@example.net\r\nSubject: x\r\n\r\nHello\r\n"


@pytest.fixture
def filtered(site: Site) -> Site:
    """bob lives at example.org; each test names the programs."""
    site.account("bob")
    return site


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    made = Queue(str(tmp_path / "queue"))
    made.create()
    return made


def send(server: Server, text: bytes = TEXT) -> tuple[int, str]:
    """Send a message; give the reply to it."""
    with smtplib.SMTP(*server.address, local_hostname="client.example.com", timeout=60) as smtp:
        smtp.ehlo()
        smtp.mail("alice@example.net")
        assert smtp.rcpt("bob@example.org")[0] == 250
        code, said = smtp.data(text)
        return code, said.decode()


def entries(site: Site) -> list[tuple[str, str]]:
    found = []
    for path in sorted((site.queue / "new").iterdir()):
        head, _, text = path.read_text().partition("\n\n")
        found.append((head, text))
    return found


def test_a_program_sees_what_will_lie_in_the_queue(filtered: Site) -> None:
    filtered.set(
        "content-programs",
        "cat",
        'echo "X-Told: $SENDER $RECIPIENTS $TCPREMOTEIP $HELO"; cat',
    )
    server = filtered.listen("smtpd-accept")
    code, said = send(server)
    assert code == 250
    ((_, text),) = entries(filtered)
    told, _, rest = text.partition("\n")
    assert told == "X-Told: alice@example.net bob@example.org 127.0.0.1 client.example.com"
    assert rest.startswith("Received: from client.example.com")
    assert f" id {said.split()[-1]}\n" in rest
    assert rest.endswith("\nFrom: alice@example.net\nSubject: x\n\nHello\n")
    first, second = server.log_line("screened "), server.log_line("screened ")
    assert "program=cat exit=0 seconds=" in first
    assert "program=echo exit=0 changed=yes" in second


def test_a_program_that_does_not_end_is_ended_with_its_children(queue: Queue) -> None:
    programs = Content(("sleep 1000 & wait",), limit=0.2)
    entry = Screened(programs, queue, {}).begin(Envelope("", (ForwardPath("bob@example.org"),)))
    entry.write(b"Subject: x\n\n")
    with pytest.raises(SystemTrouble) as caught:
        entry.commit()
    assert "ran longer" in caught.value.detail
    assert list(queue.all()) == []


@pytest.mark.parametrize("program", ["yes", "yes >&2", "head -c 2000 /dev/zero"])
def test_a_program_that_prints_without_end_is_ended(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(content, "SAID_MORE", 1000)
    entry = Screened(Content((program,)), queue, {}).begin(Envelope("", ()))
    entry.write(b"Subject: x\n\n")
    with pytest.raises(SystemTrouble) as caught:
        entry.commit()
    assert "printed more than 1024 octets" in caught.value.detail
    assert list(queue.all()) == []


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("echo noise >&2; echo 'no worms please' >&2; exit 31", 550, "5.7.1 no worms please"),
        ("exit 100", 550, "5.7.1 "),
        ("echo 'scanner is starting' >&2; exit 75", 451, "4.3.0 scanner is starting"),
        ("exit 111", 451, "4.3.0 "),
        ("no-such-program-here", 451, "4.3.0 Local error in processing"),
        ("echo secret >&2; exit 1", 451, "4.3.0 Local error in processing"),
        ("kill -9 $$", 451, "4.3.0 Local error in processing"),
        ("echo OK", 451, "4.3.0 Local error in processing"),
        ("head -c 20", 451, "4.3.0 Local error in processing"),
    ],
)
def test_verdicts_that_keep_a_message_out(
    filtered: Site, program: str, code: int, words: str
) -> None:
    filtered.set("content-programs", "true", program, "touch /nowhere/never; exit 0")
    server = filtered.listen("smtpd-accept")
    assert send(server)[0] == code
    said = send(server)[1]
    assert said.startswith(words)
    assert "secret" not in said
    assert entries(filtered) == []
    assert os.listdir(filtered.queue / "tmp") == []


def test_what_it_prints_is_the_message_from_then_on(filtered: Site) -> None:
    filtered.set(
        "content-programs",
        "echo 'X-Spam: no'; cat",
        "grep -q '^X-Spam: no' || exit 31",
        r"sed 's/Hello/Hullo/; s/$/\r/'",
    )
    server = filtered.listen("smtpd-accept")
    assert send(server)[0] == 250
    ((_, text),) = entries(filtered)
    assert text.startswith("X-Spam: no\nReceived: from ")
    assert text.endswith("Subject: x\n\nHullo\n")


def test_junk_is_filed(filtered: Site) -> None:
    filtered.set("content-programs", "exit 99", "true")
    assert send(filtered.listen("smtpd-accept"))[0] == 250
    assert filtered.run("queue-run").returncode == 0
    (junk,) = (filtered.homes / "bob/Maildir/.Junk/new").iterdir()
    assert b"Hello" in junk.read_bytes()


def test_a_large_message_goes_through(filtered: Site) -> None:
    filtered.set("content-programs", "cat", "wc -c > /dev/null")
    server = filtered.listen("smtpd-accept")
    text = TEXT + (b"x" * 70 + b"\r\n") * 40000
    assert send(server, text)[0] == 250
    ((_, kept),) = entries(filtered)
    assert kept.endswith(text.decode().replace("\r\n", "\n"))


def test_submission_passes_it_too(filtered: Site) -> None:
    filtered.set("content-programs", "exit 31")
    filtered.set("relay-clients", "127.0.0.1")
    assert send(filtered.listen("smtpd-accept", "--submission"))[0] == 550


def test_nothing_of_a_program_runs_as_root(filtered: Site) -> None:
    filtered.set("content-programs", "test $(id -u) -ne 0 || exit 31")
    assert send(filtered.listen("smtpd-accept"))[0] == 250
