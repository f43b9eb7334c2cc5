"""What strangers wrote, shown on a terminal: it neither moves the cursor nor turns text round."""

import os
import pty
import time
from pathlib import Path

import pytest
from conftest import Site

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, Report
from mailtools.store.queue import Queue

RLO = "\u202e"
HARM = (b"\x1b", b"\x9b", RLO.encode(), "\x9b".encode())
TO = f"{RLO}carol@sub.example.org"


def shown(site: Site, command: str, *arguments: str) -> bytes:
    """Give what a command says on a terminal."""
    master, terminal = pty.openpty()
    process = site.start(command, *arguments, stdout=terminal)
    os.close(terminal)
    said = b""
    try:
        while data := os.read(master, 65536):
            said += data
    except OSError:  # Linux' way to say that nobody has the terminal open any more
        pass
    os.close(master)
    assert process.stderr
    complaints = process.stderr.read()
    assert b"Traceback" not in complaints
    return said + complaints


@pytest.fixture
def id_(site: Site) -> str:
    site.account("bob")
    (site.homes / "bob").mkdir()
    queue = Queue(str(site.queue))
    queue.create()
    to = ForwardPath(TO, {"ORCPT": r"utf-8;x\x{1B}\x{202E}@y"})
    writer = queue.begin(Envelope(f"a{RLO}@example.net", (to,), {}, f"192.0.2.1 h{RLO}\x1b[2J"))
    writer.write(
        f"Received: from x\x1b[2J (x{RLO})\n\tby y; Sun, 29 Nov 2026 10:00:00 +0000\n"
        f"Message-ID: <a\x1b[2J{RLO}@b>\nSubject: hi\x1b[2J\x9b{RLO}\n\nbody\x1b[2J\n".encode()
    )
    made = writer.commit()
    said = Report(TO, DELAYED, "4.4.1", f"mx\x1b[2J{RLO} said 451 no\x9b")
    queue.record(queue.open(made), [said], time.time())
    return made


@pytest.mark.parametrize(
    "words",
    [
        ("mailq",),
        ("queue-list",),
        ("queue-list", "--table"),
        ("queue-edit", "show", "ID"),
        ("mail-why", "ID"),
        ("mail-route", TO),
        ("queue-run", "--dry-run"),
    ],
    ids=" ".join,
)
def test_a_listing(site: Site, id_: str, words: tuple[str, ...]) -> None:
    site.set("locals", "example.org", ".example.org")
    said = shown(site, *(id_ if word == "ID" else word for word in words))
    assert b"example" in said
    assert not any(harm in said for harm in HARM), said


def test_off_a_terminal_an_entry_is_shown_as_it_is(site: Site, id_: str) -> None:
    entry = Path(site.queue, "new", id_).read_bytes()
    assert site.run("queue-edit", "show", id_).stdout.startswith(entry)


def test_the_rules_of_a_mailbox(site: Site, id_: str) -> None:
    rules = site.homes / "bob" / ".forward"
    site.set("accounts", f"bob:{{PLAIN}}x:{os.getuid()}:{os.getgid()}::{site.homes}/bob::")
    rules.write_text(f'"|echo \x1b[2J {RLO}"\n')
    said = shown(site, "mail-route", "bob@example.org")
    assert b"echo" in said
    assert not any(harm in said for harm in HARM), said
    rules.write_text(f"<\x1b[2J{RLO}\n")
    said = shown(site, "mail-route", "bob@example.org")
    assert not any(harm in said for harm in HARM), said
