"""The same milter behind Postfix and behind smtpd-accept: the same dialog, the same answers."""

import os
import re
import shutil
import smtplib
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from bench.postfix import Postfix
from conftest import Server, Site
from fakemilter import DIE, FakeMilter

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("postfix", path="/usr/sbin:/usr/bin"),
    reason="needs root and postfix",
)

TEXT = (
    b"From: alice@example.net\r\nTo: bob@example.org\r\nX-Old: 1\r\nSubject: a\r\n\tfolded one\r\n"
    b"X-Old: 2\r\nDate: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n"
    b"\r\nHello\r\n"
)


def i(value: int) -> bytes:
    return struct.pack("!I", value)


@pytest.fixture(scope="module")
def postfix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postfix, int]]:
    """A Postfix whose milter listens on the port that is given."""
    root = Path("/tmp") / f"mailtools-milter-{os.getpid()}"
    probe = FakeMilter()
    probe.close()
    made = Postfix(
        root,
        extra=f"smtpd_milters = inet:127.0.0.1:{probe.port}\nmilter_command_timeout = 5s\n"
        "enable_original_recipient = no",
    )
    made.start()
    yield made, probe.port
    made.stop()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def ours(
    postfix: tuple[Postfix, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Server]]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.account("bob")
    site.account("carol")
    site.set("relay-clients", "127.0.0.1")
    site.set("milters", f"inet:127.0.0.1:{postfix[1]} 5s")
    yield site, site.listen("smtpd-accept")
    site.stop()


Reply = tuple[int, str]


def dialog(address: tuple[str, int], messages: int) -> list[Reply]:
    """One session with some messages: each reply's code and status."""
    found: list[Reply] = []

    def note(reply: tuple[int, bytes]) -> int:
        status = re.match(rb"[245]\.\d+\.\d+ ", reply[1])
        found.append((reply[0], status[0].decode() if status and reply[0] >= 400 else ""))
        return reply[0]

    smtp = smtplib.SMTP(timeout=30)
    try:
        code, _ = smtp.connect(*address)
        found.append((code, ""))
        if code != 220:
            return found
        note(smtp.docmd("EHLO", "client.example.com"))
        for recipients in (("bob", "carol"), ("bob",))[:messages]:
            if note(smtp.docmd("MAIL", "FROM:<alice@example.net>")) == 421:
                break
            taken = [note(smtp.docmd("RCPT", f"TO:<{name}@example.org>")) for name in recipients]
            if 250 in taken and note(smtp.docmd("DATA")) == 354:
                smtp.sock.sendall(TEXT + b".\r\n")
                note(smtp.getreply())
            note(smtp.docmd("RSET"))
        smtp.docmd("NONSENSE")  # Postfix' answer depends on its version, ours on nothing
    except smtplib.SMTPServerDisconnected:
        found.append((0, ""))
    finally:
        smtp.close()
    return found


VERDICTS: list[Mapping[str, Sequence[bytes]]] = [{}]
VERDICTS += [
    {at: [verdict]}
    for at in "CHMRTLNBE"
    for verdict in (b"a", b"r", b"t", b"y550 5.7.1 no\0", b"y451 4.7.1 later\0")
]
VERDICTS += [{at: [b"d"]} for at in "MRTE"]
VERDICTS += [{at: DIE} for at in "CHMRTNE"]
VERDICTS += [{at: [b"y421 4.7.0 bye\0"]} for at in "CMRE"]
VERDICTS += [{"E": [b"qwhy not\0", b"c"]}, {"U": [b"r"]}, {"U": [b"y550 5.7.1 what\0"]}]


@pytest.mark.parametrize("answers", VERDICTS, ids=str)
def test_the_same_answers(
    ours: tuple[Site, Server], postfix: tuple[Postfix, int], answers: Mapping[str, Sequence[bytes]]
) -> None:
    peer, port = postfix
    milter = FakeMilter(answers, port=port)
    try:
        # A milter that was lost Postfix asks in the next session again, we at the next message.
        messages = 1 if DIE in answers.values() else 2
        theirs = dialog(("127.0.0.1", peer.port), messages)
        heard = milter.commands()
        milter.heard.clear()
        mine = dialog(ours[1].address, messages)
        assert mine == theirs
        if DIE in answers.values():
            assert (451, "4.7.1 ") in mine
        else:
            assert without_goodbye(milter.commands()) == without_goodbye(heard)
    finally:
        milter.close()


def without_goodbye(commands: str) -> str:
    """Aborts where there is nothing to abort, and quitting, are nobody's business."""
    return re.sub("[AQU]", "", commands)


CHANGES = (
    b"hX-Added\0one\0", b"hX-Added\0two\n\tlines\0", b"m" + i(2) + b"x-old\0second\0",
    b"i" + i(0) + b"X-Top\0t\0", b"i" + i(1) + b"X-Next\0n\0", b"i" + i(3) + b"X-Third\0m\0",
    b"i" + i(99) + b"X-Far\0f\0", b"m" + i(1) + b"Subject\0changed\0",
    b"m" + i(1) + b"To\0\0", b"m" + i(3) + b"X-Old\0third\0", b"m" + i(1) + b"Received\0gone\0",
    b"m" + i(1) + b"X-None\0\0", b"bnew\r\nbo", b"bdy\r\n", b"c",
)  # fmt: skip


def test_the_same_message_comes_out(
    ours: tuple[Site, Server], postfix: tuple[Postfix, int]
) -> None:
    peer, port = postfix
    site, server = ours
    before = set((site.queue / "new").iterdir())
    milter = FakeMilter({"E": CHANGES}, port=port)
    try:
        send(("127.0.0.1", peer.port))
        send(server.address)
    finally:
        milter.close()
    maildir = peer.root / "homes" / "bob" / "Maildir" / "new"
    until = time.monotonic() + 30
    while not (theirs := [p for p in maildir.glob("*") if b"X-Added" in p.read_bytes()]):
        assert time.monotonic() < until, "nothing came in 30 seconds"
        time.sleep(0.05)
    (mine,) = set((site.queue / "new").iterdir()) - before
    message = mine.read_bytes().partition(b"\n\n")[2]
    assert plain(message) == plain(theirs[0].read_bytes())
    assert plain(message).startswith(b"X-Top: t\nX-Next: n\nReceived: ours\n")


def send(address: tuple[str, int]) -> None:
    with smtplib.SMTP(*address, local_hostname="client.example.com", timeout=30) as smtp:
        assert smtp.sendmail("alice@example.net", ["bob@example.org"], TEXT) == {}


def plain(message: bytes) -> bytes:
    """The message without what a delivery adds, and with the same word for who received it."""
    message = re.sub(rb"(?m)^(?:Return-Path|Delivered-To): .*\n", b"", message)
    return re.sub(rb"(?m)^Received: .*\n(?:[ \t].*\n)*", b"Received: ours\n", message, count=1)
