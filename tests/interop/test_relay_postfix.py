"""relay-send into a real Postfix, and Postfix into smtpd-accept; needs root and Postfix."""

import os
import shutil
import smtplib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.postfix import Postfix
from peers import MESSAGE, body, wait_for

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("postfix", path="/usr/sbin:/usr/bin"),
    reason="needs root and postfix",
)


@pytest.fixture
def postfix(tmp_path_factory: Any) -> Iterator[Callable[..., Postfix]]:
    started: list[Postfix] = []

    def start(extra: str = "") -> Postfix:
        # Postfix reads as its own user: a folder that is open to it.
        root = Path("/tmp") / f"mailtools-interop-{os.getpid()}-{len(started)}"
        made = Postfix(root, extra=extra)
        started.append(made)
        made.start()
        return made

    yield start
    for made in started:
        made.stop()
        shutil.rmtree(made.root, ignore_errors=True)


def test_into_postfix(site: Any, authority: Any, postfix: Callable[..., Postfix]) -> None:
    pem = site.root / "postfix.pem"
    authority.issue_cert("postfix.example.org").private_key_and_cert_chain_pem.write_to_path(pem)
    peer = postfix(f"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {pem}")
    done = site.run(
        *("relay-send", "--via", f"127.0.0.1:{peer.port}", "--from", "alice@example.net"),
        *("bob@example.org", "eve@elsewhere.test", "bob@example.org"),
        input=MESSAGE,
    )
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert {row[1]: row[2] for row in rows} == {
        "bob@example.org": "relayed",
        "eve@elsewhere.test": "relayed",  # 127.0.0.1 may relay there
    }, done.stderr.decode()
    assert "tls=TLSv1.3 tls_wanted=may" in done.stderr.decode()
    maildir = peer.root / "homes" / "bob" / "Maildir" / "new"
    (file,) = wait_for(lambda: list(maildir.glob("*")))
    delivered = file.read_bytes()
    assert body(delivered) == body(MESSAGE)
    assert b"Return-Path: <alice@example.net>" in delivered
    assert b"with ESMTPS" in delivered


def test_postfix_refuses_and_says_why(site: Any, postfix: Callable[..., Postfix]) -> None:
    peer = postfix(
        "mynetworks = 192.0.2.0/24\nmessage_size_limit = 2000\nsmtpd_relay_restrictions =\n"
        "smtpd_recipient_restrictions = reject_unauth_destination"
    )
    done = site.run(
        *("relay-send", "--via", f"127.0.0.1:{peer.port}", "--from", "alice@example.net"),
        *("bob@example.org", "eve@elsewhere.test"),
        input=b"Subject: x\n\n",
    )
    assert done.returncode == 69
    assert b"eve@elsewhere.test\tfailed\t5.7.1\t" in done.stdout
    done = site.run(
        *("relay-send", "--via", f"127.0.0.1:{peer.port}", "bob@example.org"), input=MESSAGE * 3
    )
    assert b"\tfailed\t5.3.4\t" in done.stdout


def test_from_postfix(site: Any, postfix: Callable[..., Postfix]) -> None:
    site.account("bob")
    server = site.listen("smtpd-accept")
    peer = postfix(
        f"virtual_mailbox_domains =\nrelayhost = [127.0.0.1]:{server.port}\nsmtputf8_enable = yes"
    )
    wire = MESSAGE.replace(b"\n", b"\r\n")
    with smtplib.SMTP("127.0.0.1", peer.port) as client:
        client.ehlo()
        client.sendmail("alice@example.net", ["bob@example.org"], wire, ["BODY=8BITMIME"])
    (file,) = wait_for(lambda: list((site.queue / "new").glob("*")))
    entry = file.read_bytes()
    assert b"reverse-path alice@example.net\nforward-path bob@example.org" in entry
    assert entry.endswith(body(MESSAGE))
