"""smtpd-accept --qmtp and --qmqp as processes: under inetd, as listeners, and who may come in."""

import os
import socket
from typing import Any

import pytest
from fakemilter import FakeMilter
from qmtp_peer import qmqp, qmtp, strings

TEXT = b"\nSubject: x\nMessage-ID: <1@example.net>\n\nhi\n"


def queued(site: Any) -> list[bytes]:
    return sorted(path.read_bytes() for path in (site.queue / "new").glob("*"))


def answers(address: tuple[str, int], said: bytes) -> list[bytes]:
    with socket.create_connection(address, 30) as peer:
        peer.sendall(said)
        peer.shutdown(socket.SHUT_WR)
        return list(strings(b"".join(iter(lambda: peer.recv(65536), b""))))


def test_qmtp_by_hand_as_inetd_has_it(site: Any) -> None:
    site.account("bob")
    package = qmtp(TEXT, b"alice@example.net", b"bob@example.org", b"nobody@example.org")
    environ = {**site.environ, "TCPREMOTEIP": "192.0.2.7", "PROTO": "TCP"}
    done = site.run("smtpd-accept", "--qmtp", input=package * 2 + package[:40], env=environ)
    assert done.returncode == 0
    said = list(strings(done.stdout))
    assert [answer[:1] for answer in said] == [b"K", b"D", b"K", b"D"]
    first, _ = queued(site)
    assert first.split(b"\n\n")[0].splitlines()[1:] == [
        b"client 192.0.2.7",
        b"reverse-path alice@example.net",
        b"forward-path bob@example.org",
    ]
    assert b"\tby mail.example.org (mailtools) with QMTP id " in first
    assert first.endswith(TEXT[1:])
    log = done.stderr.decode()
    assert "protocol=QMTP message_id=<1@example.net>" in log
    assert "refused at=rcpt said=<nobody@example.org> code=550 status=5.1.1" in log
    assert "lost client=192.0.2.7 after=package" in log


def test_a_large_message_waits_on_disk_and_nothing_of_it_stays(site: Any) -> None:
    site.account("bob")
    server = site.listen("smtpd-accept", "--qmtp")
    large = b"\r" + b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 40000
    package = qmtp(large, b"", b"bob@example.org")
    assert answers(server.address, package[:-9]) == []
    server.log_line("lost ")
    assert answers(server.address, package)[0].startswith(b"KOk: queued as ")
    (entry,) = queued(site)
    assert entry.endswith(large[1:].replace(b"\r\n", b"\n"))
    assert not os.listdir(site.queue / "tmp")


def test_a_message_beyond_message_size_is_refused(site: Any) -> None:
    site.account("bob")
    site.set("message-size", "1000")
    server = site.listen("smtpd-accept", "--qmtp")
    package = qmtp(b"\n" + b"x" * 2000, b"", b"bob@example.org")
    assert answers(server.address, package) == [b"DThe message is larger than 1000 octets (#5.3.4)"]


def test_qmqp_is_for_relay_clients(site: Any) -> None:
    package = qmqp(TEXT[1:], b"root", b"bob@example.net", b"nobody@example.org")
    server = site.listen("smtpd-accept", "--qmqp")
    assert answers(server.address, package) == [
        b"DYou are not a client of this mail queue (#5.7.1)"
    ]
    assert "status=5.7.1 client=127.0.0.1" in server.log_line("refused at=greeting")
    assert not queued(site)
    done = site.run(
        "smtpd-accept", "--qmqp", input=package, env={**site.environ, "RELAYCLIENT": ""}
    )
    assert done.stdout[3:].startswith(b"KOk: queued as ")
    (entry,) = queued(site)
    assert b"\nreverse-path root@example.org\n" in entry
    assert b" with QMQP id " in entry


def test_who_is_not_there_gets_a_dsn_from_the_queue(site: Any) -> None:
    site.account("bob")
    site.set("relay-clients", "127.0.0.0/8")
    server = site.listen("smtpd-accept", "--qmqp")
    package = qmqp(TEXT[1:], b"bob@example.org", b"nobody@example.org")
    assert answers(server.address, package)[0].startswith(b"K")
    assert site.run("queue-run").returncode == 0
    assert site.run("queue-run").returncode == 0
    (dsn,) = site.messages("bob")
    assert b"nobody@example.org" in dsn
    assert b"5.1.1" in dsn


def test_implicit_tls(secure_site: Any, authority: Any) -> None:
    ssl = pytest.importorskip("ssl")
    secure_site.account("bob")
    server = secure_site.listen("smtpd-accept", "--qmtp", "--tls")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with (
        socket.create_connection(server.address, 30) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as peer,
    ):
        peer.sendall(qmtp(TEXT, b"", b"bob@example.org"))
        assert peer.recv(65536).partition(b":")[2].startswith(b"KOk")
    (entry,) = queued(secure_site)
    assert b"(using TLSv1.3" in entry


@pytest.mark.parametrize(
    "options", [("--qmtp", "--qmqp"), ("--qmtp", "--lmtp"), ("--qmqp", "--submission")]
)
def test_one_protocol_at_a_time(site: Any, options: tuple[str, ...]) -> None:
    done = site.run("smtpd-accept", *options)
    assert done.returncode == os.EX_USAGE
    assert b"exclude each other" in done.stderr


def test_a_milter_has_its_say(site: Any) -> None:
    site.account("bob")
    milter = FakeMilter({"R": [b"y550 5.7.1 Not to bob\0"]})
    site.set("milters", milter.endpoint)
    try:
        environ = {**site.environ, "TCPREMOTEIP": "192.0.2.7"}
        package = qmtp(TEXT, b"alice@example.net", b"bob@example.org")
        done = site.run("smtpd-accept", "--qmtp", input=package, env=environ)
        assert list(strings(done.stdout)) == [b"DNot to bob (#5.7.1)"]
        milter.answers = {"E": [b"hX-Seen\0yes\0", b"c"]}
        done = site.run("smtpd-accept", "--qmtp", input=package, env=environ)
        assert done.stdout[3:].startswith(b"KOk: queued as ")
    finally:
        milter.close()
    assert milter.commands().startswith("CMR")  # a peer of QMTP says no HELO
    (entry,) = queued(site)
    assert entry.endswith(b"\nX-Seen: yes\n\nhi\n")
