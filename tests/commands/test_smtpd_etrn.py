"""ETRN to a real smtpd-accept beside a real queue-run that waits."""

import os
import re
import smtplib
import time

import pytest
from conftest import Site

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, Report
from mailtools.store.queue import Queue


@pytest.fixture
def waiting(site: Site) -> Site:
    """Three messages that wait for hours: two of them for example.net and below."""
    site.account("alice")
    site.set("relay-clients", "127.0.0.1")
    queue = Queue(str(site.queue))
    queue.create()
    now = time.time()
    for path in ("bob@example.net", "bob@a.example.net", "bob@example.com"):
        writer = queue.begin(Envelope("alice@example.org", (ForwardPath(path),)))
        writer.write(b"Subject: x\n\nbody\n")
        entry = queue.open(writer.commit())
        queue.record(entry, [Report(path, DELAYED, "4.4.1", "no answer")], now)
        queue.defer(entry, now + 7200)
    assert list(queue.new()) == []
    return site


def client(site: Site) -> smtplib.SMTP:
    server = site.listen("smtpd-accept")
    smtp = smtplib.SMTP(server.host, server.port, timeout=30)
    smtp.ehlo("client.example.com")
    return smtp


def test_what_waits_for_a_domain_is_due_at_once(waiting: Site) -> None:
    queue = Queue(str(waiting.queue))
    with client(waiting) as smtp:
        assert smtp.has_extn("etrn")
        assert smtp.docmd("ETRN", "example.net") == (
            253,
            b"2.0.0 OK, 1 pending messages for node example.net started",
        )
        assert [queue.open(place).pending[0].address for place in queue.new()] == [
            "bob@example.net"
        ]
        assert smtp.docmd("ETRN", "@EXAMPLE.net")[0] == 253
        assert len(list(queue.new())) == 2
        assert smtp.docmd("ETRN", "example.edu")[0] == 251
        code, text = smtp.docmd("ETRN", "example.net")
        assert (code, b"once a minute" in text) == (458, True)
        assert smtp.docmd("ETRN", "example.org")[0] == 459
        assert len(list(queue.waiting())) == 1


def test_the_queue_run_that_waits_is_woken(waiting: Site) -> None:
    agent = waiting.root / "agent"
    agent.write_text(
        "#!/bin/sh\necho ready 1\nIFS=\"$(printf '\\t')\"\n"
        "while read -r job path from to; do\n"
        "printf '%s\\t%s\\trelayed\\t2.0.0\\tok\\n' $job $to; done\n"
    )
    agent.chmod(0o755)
    waiting.set("transports", f"example.net:{agent}")
    run = waiting.start("queue-run", "--wait")
    while not Queue(str(waiting.queue)).pull():  # until it listens to the trigger
        assert run.poll() is None
    with client(waiting) as smtp:
        assert smtp.docmd("ETRN", "example.net")[0] == 253
    assert run.stderr
    for line in run.stderr:
        found = re.match(rb"relayed id=\S+ to=<?(bob@example.net)", line)
        if found:
            break
    else:
        pytest.fail("nothing was relayed")


def test_strangers_may_not(waiting: Site) -> None:
    os.unlink(waiting.etc / "relay-clients")
    with client(waiting) as smtp:
        assert not smtp.has_extn("etrn")
        assert smtp.docmd("ETRN", "example.net")[0] == 459
    assert list(Queue(str(waiting.queue)).new()) == []
