"""QMQP with Postfix, which speaks it since 2001: its server, and its test program as a client."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.postfix import Postfix, free_port
from peers import MESSAGE, body, wait_for

PATH = "/usr/sbin:/usr/bin:/usr/local/sbin"


@pytest.mark.skipif(not shutil.which("qmqp-source", path=PATH), reason="needs postfix")
def test_from_qmqp_source(site: Any) -> None:
    site.set("relay-clients", "127.0.0.0/8")
    server = site.listen("smtpd-accept", "--qmqp")
    program = shutil.which("qmqp-source", path=PATH)
    for options in (("-m", "20", "-s", "4", "-l", "3000"), ("-r", "30", "-m", "1")):
        subprocess.run(
            [
                str(program),
                *options,
                *("-f", "alice@example.org", "-t", "bob@example.net"),
                f"127.0.0.1:{server.port}",
            ],
            check=True,
            timeout=60,
        )
    entries = [path.read_bytes() for path in (site.queue / "new").glob("*")]
    assert len(entries) == 21
    assert max(entry.count(b"\nforward-path ") for entry in entries) == 30


needs_postfix = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("postfix", path=PATH), reason="needs root and postfix"
)


@contextmanager
def qmqpd(clients: str) -> Iterator[tuple[Path, str]]:
    """A Postfix that takes QMQP from some addresses; give its folder, and where it listens."""
    root, at = Path("/tmp") / f"mailtools-qmqpd-{os.getpid()}", f"127.0.0.1:{free_port()}"
    peer = Postfix(root, extra=f"qmqpd_authorized_clients = {clients}")
    try:
        with (peer.etc / "master.cf").open("a") as file:
            file.write(f"{at} inet n - n - - qmqpd\n")
        peer.start()
        yield root, at
    finally:
        peer.stop()
        shutil.rmtree(root, ignore_errors=True)


def delivered(root: Path) -> bytes:
    """Wait for the one message to bob, and take it."""
    (file,) = wait_for(lambda: list((root / "homes/bob/Maildir/new").glob("*")))
    data: bytes = file.read_bytes()
    file.unlink()
    return data


@needs_postfix
def test_into_qmqpd(site: Any) -> None:
    with qmqpd("127.0.0.1") as (root, at):
        site.set("routes", f":qmqp:{at}")
        done = site.run(
            *("relay-send", "--from", "alice@example.net", "bob@example.org"), input=MESSAGE
        )
        assert done.returncode == 0, done
        found = delivered(root)
        assert body(found) == body(MESSAGE)
        assert b"with QMQP" in found
        site.set("submit", f"qmqp:{at}")
        text = b"Subject: from a null client\n\n.\nhi\n"
        done = site.run("sendmail", "-i", "bob@example.org", input=text)
        assert done.returncode == 0, done
        assert delivered(root).endswith(b"\n\n.\nhi\n")


@needs_postfix
def test_qmqpd_says_who_may_not(site: Any) -> None:
    with qmqpd("192.0.2.1") as (_, at):
        site.set("submit", f"qmqp:{at}")
        done = site.run("sendmail", "bob@example.org", input=b"Subject: x\n\n")
        assert done.returncode == os.EX_UNAVAILABLE, done
        assert b"not authorized" in done.stderr
