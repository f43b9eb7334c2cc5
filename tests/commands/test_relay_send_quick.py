"""relay-send by QMTP and QMQP, where `routes` says so, into smtpd-accept; mail-route shows it."""

import os
import shutil
import socket
import subprocess
from typing import Any

import pytest

MESSAGE = b"Subject: x\n\n.dot\nhi\n"


def rows(done: subprocess.CompletedProcess[bytes]) -> dict[str, tuple[str, ...]]:
    found = [line.split("\t") for line in done.stdout.decode().splitlines()]
    return {row[1]: tuple(row[2:]) for row in found}


def test_each_domain_by_its_protocol(site: Any) -> None:
    site.account("bob")
    site.set("relay-clients", "127.0.0.0/8")
    qmtp = site.listen("smtpd-accept", "--qmtp")
    qmqp = site.listen("smtpd-accept", "--qmqp")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    site.set(
        "routes",
        f"example.org:qmtp:127.0.0.1:{qmtp.port}",
        f"example.net:qmqp:[127.0.0.1]:{qmqp.port}",
        f"elsewhere.test:qmtp:127.0.0.1:{closed}",
    )
    done = site.run(
        *("relay-send", "--from", "alice@example.com", "bob@example.org", "nobody@example.org"),
        *("eve@example.net", "x@elsewhere.test"),
        input=MESSAGE,
    )
    assert done.returncode != 0
    found = rows(done)
    peer = f"[127.0.0.1]:{qmtp.port}"
    assert found["bob@example.org"][:2] == ("relayed", "2.0.0")
    assert found["bob@example.org"][2].startswith(f"{peer} said KOk: queued as ")
    assert found["nobody@example.org"] == (
        *("failed", "5.1.1", f"{peer} said DNo such mailbox here (#5.1.1)"),
    )
    assert found["eve@example.net"][0] == "relayed"
    assert found["x@elsewhere.test"][:2] == ("delayed", "4.4.1")
    entries = [path.read_bytes() for path in (site.queue / "new").glob("*")]
    assert sorted(
        entry.count(b"with QMTP") + 2 * entry.count(b"with QMQP") for entry in entries
    ) == [1, 2]
    assert all(entry.endswith(b"\n\n.dot\nhi\n") for entry in entries)
    shown = site.run("mail-route", "--dial", "bob@outside.test", "eve@example.net").stdout.decode()
    assert f"127.0.0.1:{qmqp.port} by QMQP" in shown
    assert f"[127.0.0.1]:{qmqp.port}, no TLS" in shown
    assert f"[127.0.0.1]:{qmqp.port} answers" in shown


def test_qmtps_and_a_policy(secure_site: Any) -> None:
    secure_site.account("bob")
    server = secure_site.listen("smtpd-accept", "--qmtp", "--tls")
    secure_site.set("routes", f"example.org:qmtps:127.0.0.1:{server.port}")
    done = secure_site.run("relay-send", "bob@example.org", input=MESSAGE)
    assert done.returncode == 0, done
    assert b"tls=TLSv1.3" in done.stderr
    secure_site.set("routes", f"example.org:qmtp:127.0.0.1:{server.port}")
    secure_site.set("tls-policy", "127.0.0.1:encrypt")
    done = secure_site.run("relay-send", "bob@example.org", input=MESSAGE)
    assert rows(done)["bob@example.org"][:2] == ("delayed", "4.7.4")
    assert b"QMTP has no STARTTLS" in done.stdout


@pytest.mark.parametrize("route", ["qmtp:login@mail.example.net", "qmqp:", "qmtp:a:99999"])
def test_what_is_no_such_route(site: Any, route: str) -> None:
    site.set("routes", f"example.org:{route}")
    done = site.run("relay-send", "bob@example.org", input=MESSAGE)
    assert done.returncode == os.EX_TEMPFAIL
    assert b"routes: example.org: " in done.stderr


SINK = shutil.which("qmqp-sink", path="/usr/sbin:/usr/bin:/usr/local/sbin")


@pytest.mark.skipif(not SINK, reason="needs postfix")
def test_into_qmqp_sink(site: Any) -> None:
    path = site.root / "sink"
    sink = subprocess.Popen([str(SINK), f"unix:{path}", "10"])
    try:
        while not path.exists():
            assert sink.poll() is None
        site.set("routes", f"example.net:qmqp:{path}")
        done = site.run("relay-send", "a@example.net", "b@example.net", input=MESSAGE * 50000)
        assert [row[0] for row in rows(done).values()] == ["relayed", "relayed"], done
    finally:
        sink.kill()
        sink.wait()
