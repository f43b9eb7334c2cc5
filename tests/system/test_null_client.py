"""A host that only sends, through a smarthost: cron's mail, root's alias, days without network.

Cron is Debian's own, in a mount namespace that the test makes, with our sendmail for its sendmail.
"""

import os
import shutil
import subprocess
import sys
import time
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from conftest import BIN, Site
from smtpsink import Taker

from mailtools.store.queue import Queue

DAY = 86400
SCRIPT = """\
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/spool
for folder in /etc/cron.d; do mount -t tmpfs tmpfs "$folder"; done
mount --bind "$1/empty" /etc/crontab
mount --bind "$1/sendmail" /usr/sbin/sendmail
mkdir -p /var/spool/cron/crontabs
printf 'MAILTO=root\\n@reboot echo "the disk is full"; echo .; echo "ä"\\n' \\
    > /var/spool/cron/crontabs/root
chmod 600 /var/spool/cron/crontabs/root
exec cron -f
"""


@pytest.fixture
def client(site: Site) -> Site:
    """A host without users of its own; its smarthost does not answer yet."""
    site.set("me", "host.example.net")
    site.set("locals", "host.example.net", "localhost")
    site.set("masquerade", "example.net")
    site.set("aliases", "root: admin@example.org", "postmaster: root")
    site.set("routes", ":127.0.0.1:1")
    return site


def passes(site: Site, count: int = 2) -> str:
    """Run the queue: first into the alias, then out."""
    return "".join(site.run("queue-run").stderr.decode() for _ in range(count))


def entries(site: Site) -> list[Any]:
    queue = Queue(str(site.queue))
    return [queue.open(place) for place in queue.all()]


def age(site: Site, seconds: int) -> None:
    """Let what is in the queue have come so long ago, and be due."""
    queue = Queue(str(site.queue))
    for place in list(queue.all()):
        then = int(place.id.partition(".")[0]) - seconds
        name = f"{then}.{place.id.partition('.')[2]}"
        os.rename(place.path, site.queue / "new" / name)
        if (journal := site.queue / "log" / place.id).exists():
            journal.rename(site.queue / "log" / name)
    for hint in (site.queue / "dest").iterdir():
        hint.unlink()


def can_run_cron() -> bool:
    if os.geteuid() or not shutil.which("unshare") or not Path("/usr/sbin/cron").exists():
        return False
    if not Path("/usr/sbin/sendmail").exists() or not Path("/etc/crontab").exists():
        return False
    done = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run"], check=False
    )
    return done.returncode == 0


@pytest.mark.skipif(not can_run_cron(), reason="needs root, cron, and a sendmail to cover")
def test_crons_mail_reaches_the_admin(client: Site) -> None:
    (client.root / "empty").touch()
    wrapper = client.root / "sendmail"
    environ = " ".join(f"MAILTOOLS_{n}={client.root}/{n.lower()}" for n in ("ETC", "SPOOL"))
    more = f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}"
    wrapper.write_text(f'#!/bin/sh\n{environ} {more} exec {sys.executable} {BIN}/sendmail "$@"\n')
    wrapper.chmod(0o755)
    cron = subprocess.Popen(["unshare", "--mount", "sh", "-c", SCRIPT, "sh", str(client.root)])
    try:
        end = time.monotonic() + 30
        while not list((client.queue / "new").glob("*")) and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        cron.terminate()
        cron.wait()
    (entry,) = entries(client)
    assert entry.envelope.reverse_path == "root@example.net"
    with Taker() as smarthost:
        client.set("routes", f":127.0.0.1:{smarthost.port}")
        log = passes(client)
    ((sender, paths, wire),) = smarthost.messages
    assert (sender, paths) == ("root@example.net", ["admin@example.org"]), log
    message = message_from_bytes(wire.replace(b"\r\n..", b"\r\n."))
    assert message["From"] == "root@example.net (Cron Daemon)"
    assert message["To"] == "root@host.example.net"
    assert message.get_payload(decode=True) == "the disk is full\r\n.\r\nä\r\n".encode()
    assert entries(client) == []


def test_days_without_network_end_in_a_bounce_that_arrives(client: Site) -> None:
    sent = client.run(
        "sendmail", "-i", "-f", "alice", "bob@example.com", input=b"Subject: hi\n\nhi\n"
    )
    assert sent.returncode == 0, sent.stderr
    assert " delayed " in f" {passes(client)}".replace("\n", " ")
    age(client, DAY)
    passes(client, 1)
    mail, warning = sorted(entries(client), key=lambda entry: entry.id)
    assert mail.envelope.reverse_path == "alice@example.net"
    assert warning.envelope.forward_paths[0].address == "alice@example.net"
    assert b"\nAction: delayed\n" in warning.message()
    Queue(str(client.queue)).remove(warning.id)
    age(client, 5 * DAY)
    passes(client, 1)
    (bounce,) = entries(client)
    assert b"\nAction: failed\n" in bounce.message()
    with Taker() as smarthost:  # the network is back
        client.set("routes", f":127.0.0.1:{smarthost.port}")
        age(client, 60)
        passes(client)
    ((sender, paths, wire),) = smarthost.messages
    assert (sender, paths) == ("", ["alice@example.net"])
    assert b"bob@example.com" in wire
    assert entries(client) == []


def test_what_nobody_could_be_told_of_ends_at_the_admin_or_nowhere(client: Site) -> None:
    client.run("sendmail", "-i", "-f", "alice", "bob@example.com", input=b"Subject: hi\n\nhi\n")
    for _ in range(2):  # neither the message nor its bounce goes out
        age(client, 6 * DAY)
        passes(client, 1)
    (double,) = entries(client)
    assert double.envelope.client == "double-bounce"
    with Taker() as smarthost:
        client.set("routes", f":127.0.0.1:{smarthost.port}")
        age(client, 60)
        passes(client)
    ((sender, paths, _),) = smarthost.messages
    assert (sender, paths) == ("", ["admin@example.org"])
    assert entries(client) == []
