"""examples/pipelines.sh: each line does what stands above it."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import BIN, Site

SCRIPT = Path(__file__).parents[2] / "examples/pipelines.sh"


def run(site: Site, *words: str, message: str = "") -> str:
    path = f"{BIN}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", str(SCRIPT), *words], input=message, env={**site.environ, "PATH": path},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def send(site: Site, to: str) -> None:
    letter = b"Subject: x\n\ny\n"
    assert site.run("sendmail", "-f", "alice@example.org", to, input=letter).returncode == 0


def test_each_pipeline(site: Site) -> None:
    send(site, "bob@example.net")
    send(site, "carol@example.com")
    assert run(site, "waiting", "example.net").count("bob@example.net") == 1
    assert len(run(site, "held").splitlines()) == 2
    assert sorted(run(site, "domains").split()) == ["1", "1", "example.com", "example.net"]
    assert run(site, "release") == ""
    assert run(site, "again") == ""
    assert len(list((site.queue / "new").iterdir())) == 2
    assert "delivered" in run(site, "deliver", f"{site.root}/box", "bob@host.test", message="\nx\n")
    assert len(list((site.root / "box/new").iterdir())) == 1


def test_the_queue_of_a_host_that_died_is_taken_over(site: Site) -> None:
    send(site, "bob@example.net")
    there = site.root / "other/queue"
    site.run("sendmail", "--spool", str(there.parent), "dave@example.net", input=b"\nx\n")
    run(site, "takeover", str(site.queue), str(there))
    listed = site.run("queue-list", "--spool", str(there.parent)).stdout.decode()
    assert "bob@example.net" in listed
    assert "dave@example.net" in listed


def test_without_a_word_it_does_nothing(site: Site) -> None:
    assert run(site) == ""
