"""Relaying, whole: DNS, connections, exchangers in turn, reuse, TLS, many destinations at once."""

import socket
import ssl
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from relaybench import (
    BYE,
    HELLO,
    LATER,
    MESSAGE,
    NEVER,
    STEPWISE,
    TAKE,
    TLS_HELLO,
    Bench,
    Peers,
    free_port,
    script,
    zone,
)
from smtpsink import Sink, Taker
from trustme import KeyType

from mailtools.net import local
from mailtools.protocol.smtp.transaction import Login
from mailtools.services.relay.route import Destination, Route
from mailtools.services.relay.tls_rules import TlsRules

# -- one exchanger after the other ----------------------------------------------------------------


def test_the_best_exchanger_takes_it(bench: Bench, peers: Peers) -> None:
    peers([HELLO + TAKE + BYE], [])
    zone(bench, "one", "two")
    assert bench.run("bob@example.net") == [
        (
            "bob@example.net",
            "relayed",
            "2.0.0",
            f"one.test[127.0.0.2]:{bench.port} said 250 taken",
        )
    ]


def test_the_next_exchanger_takes_what_the_first_puts_off(bench: Bench, peers: Peers) -> None:
    peers([HELLO + LATER + BYE], [HELLO + TAKE + BYE])
    zone(bench, "one", "two")
    ((_, action, _, text),) = bench.run("bob@example.net")
    assert (action, text.partition("[")[0]) == ("relayed", "two.test")


def test_a_refusal_for_good_is_not_asked_again_elsewhere(bench: Bench, peers: Peers) -> None:
    peers([HELLO + NEVER + BYE], [])
    zone(bench, "one", "two")
    ((_, action, status, _),) = bench.run("bob@example.net")
    assert (action, status) == ("failed", "5.1.1")


def test_an_exchanger_that_is_down_is_passed_over(bench: Bench, peers: Peers) -> None:
    peers([], [HELLO + TAKE + BYE])
    zone(bench, "one", "two")
    bench.dns.zone["one.test"] = {"A": ["127.0.0.9"]}
    ((_, action, _, text),) = bench.run("bob@example.net")
    assert (action, text.partition("[")[0]) == ("relayed", "two.test")


def test_a_dead_family_falls_back_to_the_other(bench: Bench, peers: Peers) -> None:
    peers([HELLO + TAKE + BYE])
    zone(bench, "one")
    bench.dns.zone["one.test"]["AAAA"] = ["2001:db8::dead", "::1"]
    ((_, action, _, text),) = bench.run("bob@example.net")
    assert (action, "127.0.0.2" in text) == ("relayed", True)


def test_all_down_is_delayed_with_the_reason(bench: Bench) -> None:
    bench.port = free_port()
    zone(bench, "one", "two")
    ((_, action, status, text),) = bench.run("bob@example.net")
    assert (action, status) == ("delayed", "4.4.1")
    assert "Connection refused" in text


def test_two_hosts_that_answer_are_enough_for_one_attempt(bench: Bench, peers: Peers) -> None:
    peers([HELLO + LATER + BYE], [HELLO + LATER + BYE], [])
    zone(bench, "one", "two", "three")
    ((_, action, status, _),) = bench.run("bob@example.net")
    assert (action, status) == ("delayed", "4.2.0")


def test_a_greeting_that_refuses_leads_to_the_next(bench: Bench, peers: Peers) -> None:
    peers(["S: 554 not you\n" + BYE], [HELLO + TAKE + BYE])
    zone(bench, "one", "two")
    ((_, action, _, _),) = bench.run("bob@example.net")
    assert action == "relayed"


def test_a_temporary_failure_outweighs_a_permanent_one_elsewhere(
    bench: Bench, peers: Peers
) -> None:
    peers(["S: 521 no mail\n" + BYE], [HELLO + LATER + BYE])
    zone(bench, "one", "two")
    ((_, action, status, _),) = bench.run("bob@example.net")
    assert (action, status) == ("delayed", "4.2.0")


def test_after_the_dot_nobody_else_is_asked(bench: Bench, peers: Peers) -> None:
    peers([HELLO + TAKE.replace("S: 250 taken", "*** end")], [])
    zone(bench, "one", "two")
    ((_, action, _, text),) = bench.run("bob@example.net")
    assert action == "delayed"
    assert "possibly a duplicate" in text


def test_only_the_paths_that_were_put_off_go_on(bench: Bench, peers: Peers) -> None:
    both = (
        LATER.replace("C: DATA", "C: RCPT TO:<carol@example.net>\nC: DATA").replace(
            "S: 503 no", "S: 250 ok\nS: 354 go"
        )
    ) + "C: Subject: hello\nC:\nC: Text.\nC: .\nS: 250 taken\n"
    peers([HELLO + both + BYE], [HELLO + TAKE + BYE])
    zone(bench, "one", "two")
    found = bench.run("bob@example.net", "carol@example.net")
    assert [(path, action) for path, action, _, _ in found] == [
        ("bob@example.net", "relayed"),
        ("carol@example.net", "relayed"),
    ]
    assert "two.test" in found[0][3]
    assert "one.test" in found[1][3]


def test_an_address_beyond_ascii_goes_on_to_an_exchanger_that_takes_it(
    bench: Bench, peers: Peers
) -> None:
    able = HELLO.replace("250 PIPELINING", "250-SMTPUTF8\nS: 250 PIPELINING")
    taken = TAKE.replace("<alice@example.org>", "<alice@example.org> SMTPUTF8")
    peers([HELLO + BYE], [able + taken.replace("bob@", "grün@") + BYE])
    zone(bench, "one", "two")
    ((_, action, _, text),) = bench.run("grün@example.net")
    assert (action, text.partition("[")[0]) == ("relayed", "two.test")


def test_a_peer_that_drips_has_the_time_of_one_reply(bench: Bench) -> None:
    """A reply without an end, an octet now and then, must not hold a place for days."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        bench.port = server.getsockname()[1]
        zone(bench, "one")
        bench.start(bench.job("bob@example.net"))
        bench.loop.run_until(lambda: bool(bench.pool._all))
        (connection,) = bench.pool._all
        bench.loop.run_until(lambda: connection.channel.reached)
        sock, _ = server.accept()
        with sock:
            deadline = connection.channel.deadline
            for letter in b"220-mx\r\n220-a\r\n":
                sock.sendall(bytes([letter]))
                bench.loop.turn()
            assert connection.channel.deadline == deadline
            connection.channel.deadline = 1.0  # which now has come
            ((_, action, status, text),) = bench.finish()
    assert (action, status) == ("delayed", "4.4.2")
    assert "silent" in text


def test_a_peer_that_floods_us_loses_its_place(bench: Bench) -> None:
    """It reads nothing of a large message, and talks all the while."""
    over = threading.Event()
    with socket.create_server(("127.0.0.2", 0)) as server:

        def flood() -> None:
            sock, _ = server.accept()
            with sock, sock.makefile("rb") as file:
                for said in (b"220 mx", b"250 mx", b"250 ok", b"250 ok", b"354 go"):
                    sock.sendall(said + b"\r\n")
                    if said != b"354 go":
                        file.readline()
                try:
                    while not over.is_set():
                        sock.sendall(b"250 and another thing\r\n" * 1000)
                except OSError:
                    pass

        thread = threading.Thread(target=flood)
        thread.start()
        bench.port = server.getsockname()[1]
        zone(bench, "one")
        large = MESSAGE + (b"y" * 70 + b"\n") * 300_000
        ((_, action, status, text),) = bench.run("bob@example.net", data=large)
        over.set()
        thread.join(10)
    assert (action, status) == ("delayed", "4.4.2")
    assert "talks without end" in text


# -- DNS ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "action", "status"),
    [("SERVFAIL", "delayed", "4.4.3"), ("TIMEOUT", "delayed", "4.4.3"), ("", "failed", "5.1.2")],
)
def test_no_domain_and_no_answer_differ(bench: Bench, fault: str, action: str, status: str) -> None:
    if fault:
        bench.dns.faults["example.net"] = fault
    ((_, *got, _),) = bench.run("bob@example.net")
    assert got == [action, status]


def test_a_domain_that_wants_no_mail(bench: Bench) -> None:
    bench.dns.zone["example.net"] = {"MX": ["0 ."], "A": ["127.0.0.1"]}
    ((_, action, status, _),) = bench.run("bob@example.net")
    assert (action, status) == ("failed", "5.1.10")


def test_mail_to_ourselves_is_a_loop(bench: Bench) -> None:
    bench.dns.zone["example.net"] = {"MX": ["10 relay.example.org."]}
    ((_, action, status, _),) = bench.run("bob@example.net")
    assert (action, status) == ("failed", "5.4.6")
    bench.dns.zone["example.com"] = {"MX": ["10 other.test."]}
    bench.dns.zone["other.test"] = {"A": ["127.0.0.1"]}
    ((_, action, status, _),) = bench.run("bob@example.com")
    assert (action, status) == ("failed", "5.4.6")


def test_an_address_literal_of_ours_is_a_loop(bench: Bench) -> None:
    hello = "S: 220 mx\nC: EHLO relay.example.org\nS: 250 relay.example.org\n" + BYE
    with Sink([script(hello)], host="127.0.0.9") as sink:
        at_port = Route("127.0.0.9", sink.port)
        destination = Destination("[127.0.0.9]", at_port)
        bench.relay._routes.destination = lambda *_: destination  # type: ignore[method-assign]
        ((_, action, status, _),) = bench.run("bob@[127.0.0.9]")
        sink.check()
    assert (action, status) == ("failed", "5.4.6")


def test_each_path_of_a_job_goes_where_it_must(bench: Bench) -> None:
    with Taker("127.0.0.2") as taker:
        bench.port = taker.port
        zone(bench, "one")
        zone(bench, "one", domain="example.com")
        found = bench.run("bob@example.net", "x@nowhere.test", "carol@example.com", "y@[zzz]")
        assert [row[:3] for row in found] == [
            ("bob@example.net", "relayed", "2.0.0"),
            ("carol@example.com", "relayed", "2.0.0"),
            ("x@nowhere.test", "failed", "5.1.2"),
            ("y@[zzz]", "failed", "5.1.3"),
        ]
        bench.leave()
    assert sorted(paths for _, paths, _ in taker.messages) == [
        ["bob@example.net"],
        ["carol@example.com"],
    ]


def test_an_address_literal_needs_no_dns(bench: Bench) -> None:
    bench.routes = {}
    ((_, action, status, _),) = bench.run("bob@[127.0.0.9]")
    assert (action, status) == ("delayed", "4.4.1")
    assert bench.dns.asked == []


# -- connections ----------------------------------------------------------------------------------


def test_a_connection_serves_the_next_job(bench: Bench, peers: Peers) -> None:
    peers([HELLO + TAKE + TAKE + BYE])
    zone(bench, "one")
    for _ in range(2):
        assert [row[1] for row in bench.run("bob@example.net")] == ["relayed"]


def test_a_connection_serves_another_domain_at_the_same_host(bench: Bench) -> None:
    with Taker("127.0.0.2") as taker:
        bench.port = taker.port
        zone(bench, "one")
        zone(bench, "one", domain="example.com")
        bench.run("bob@example.net")
        bench.run("bob@example.com")
        assert taker.connections == 1
        bench.leave()


def test_a_connection_that_died_while_idle_says_nothing_of_the_peer(
    bench: Bench, peers: Peers
) -> None:
    peers([HELLO + TAKE + "*** end", HELLO + TAKE + BYE])
    zone(bench, "one")
    for _ in range(2):
        assert [row[1] for row in bench.run("bob@example.net")] == ["relayed"]


def test_a_connection_that_says_421_at_its_second_job_is_replaced(
    bench: Bench, peers: Peers
) -> None:
    tired = (
        "C: MAIL FROM:<alice@example.org>\nC: RCPT TO:<bob@example.net>\nC: DATA\nS: 421 tired\n"
    )
    peers([HELLO + TAKE + tired, HELLO + TAKE + BYE])
    zone(bench, "one")
    for _ in range(2):
        assert [row[1] for row in bench.run("bob@example.net")] == ["relayed"]


def test_a_destination_has_a_limit_of_connections(bench: Bench) -> None:
    bench.slots = 3
    with Taker("127.0.0.2") as taker:
        bench.port = taker.port
        zone(bench, "one")
        for _ in range(30):
            bench.start(bench.job("bob@example.net"))
        assert {row[1] for row in bench.finish()} == {"relayed"}
        assert taker.most_open <= 3
        assert len(taker.messages) == 30
        bench.leave()


def test_hundreds_of_slow_exchangers_are_served_side_by_side(bench: Bench) -> None:
    many = 200
    bench.dns_timeout = 60.0  # all ask at once: a busy machine is no broken resolver
    with Taker(
        "127.0.0.2", gate=many, patience=120
    ) as taker:  # nobody gets an answer before all are there
        bench.port = taker.port
        for number in range(many):
            zone(bench, "one", domain=f"d{number}.test")
            bench.start(bench.job(f"bob@d{number}.test"))
        assert {row[1] for row in bench.finish()} == {"relayed"}
        assert taker.most_open == many
        bench.leave()


def test_a_large_message_comes_over_whole(bench: Bench) -> None:
    lines = b"".join(b"%d .\n.%d\n" % (n, n) for n in range(200_000))
    with Taker("127.0.0.2") as taker:
        bench.port = taker.port
        zone(bench, "one")
        assert bench.run("bob@example.net", data=MESSAGE + lines)[0][1] == "relayed"
        bench.leave()
    wire = taker.messages[0][2].replace(b"\r\n.", b"\r\n")
    assert wire.replace(b"\r\n", b"\n") == MESSAGE + lines


def test_an_entry_that_is_gone_is_delayed(bench: Bench) -> None:
    job = bench.job("bob@example.net")
    Path(job.path).unlink()
    bench.start(job)
    ((_, action, status, _),) = bench.finish()
    assert (action, status) == ("delayed", "4.3.0")


def test_an_entry_that_is_none_is_not_sent(bench: Bench) -> None:
    job = bench.job("bob@example.net")
    Path(job.path).write_bytes(b"something else\n\n")
    bench.start(job)
    ((_, action, _, _),) = bench.finish()
    assert action == "delayed"


# -- TLS and smarthosts ---------------------------------------------------------------------------

AUTH = "C: AUTH PLAIN AGFsaWNlAHNlY3JldA==\nS: 235 welcome\n"


def test_opportunistic_tls_needs_no_good_certificate(
    bench: Bench, peers: Peers, server_context: ssl.SSLContext
) -> None:
    peers([TLS_HELLO + TAKE + BYE], context=server_context)
    zone(bench, "one")
    assert bench.run("bob@example.net")[0][1] == "relayed"


GROUP_2 = """\
-----BEGIN DH PARAMETERS-----
MIGHAoGBAP//////////yQ/aoiFowjTExmKLgNwc0SkCTgiKZ8x0Agu+pjsTmyJR
Sgh5jjQE3e+VGbPNOkMbMCsKbfJfFDdP4TVtbVHCReSFtXZiXn7G9ExC6aY37WsL
/1y29Aa37e44a/taiZ+lrp8kEXxLH+ZJKGZR7OZTgf//////////AgEC
-----END DH PARAMETERS-----
"""  # RFC 2409 6.2: 1024 bits, as Exchange of 2010 has them


@pytest.mark.parametrize(("level", "action"), [("may", "relayed"), ("encrypt", "delayed")])
def test_weak_keys_are_better_than_none(
    bench: Bench, peers: Peers, authority: Any, level: str, action: str
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("one.test", key_type=KeyType.RSA).configure_cert(context)
    (bench.folder / "dh.pem").write_text(GROUP_2)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("kDHE:@SECLEVEL=0")
    context.load_dh_params(str(bench.folder / "dh.pem"))
    broken = TLS_HELLO.partition("*** tls")[0] + "*** alert\n"
    peers([TLS_HELLO + TAKE + BYE if level == "may" else broken], context=context)
    bench.rules = TlsRules({"": level})
    zone(bench, "one")
    bench.start(bench.job("bob@example.net"))
    bench.loop.run_until(lambda: not bench.relay.at_work)
    ((_, report),) = bench.reports
    assert report.action == action
    assert report.facts.startswith("tls=TLSv1.2" if level == "may" else "tls=none")


@pytest.mark.parametrize(
    "broken",
    [
        TLS_HELLO.partition("*** tls")[0] + "S: this is no TLS\n*** end\n",
        TLS_HELLO.partition("*** tls")[0] + "*** drop\n",
        TLS_HELLO.partition("S: 220 go")[0] + "*** end\n",
        TLS_HELLO.partition("S: 250-mx\nS: 250-AUTH")[0] + "*** drop\n",
    ],
    ids=["no TLS", "reset in the handshake", "end at STARTTLS", "reset behind the handshake"],
)
def test_tls_that_fails_falls_back_to_plain_text(
    bench: Bench, peers: Peers, server_context: ssl.SSLContext, capfd: Any, broken: str
) -> None:
    plain = HELLO.replace("PIPELINING", "STARTTLS") + STEPWISE + BYE
    peers([broken, plain], context=server_context)
    zone(bench, "one")
    assert bench.run("bob@example.net")[0][1] == "relayed"
    assert "unsecured " in capfd.readouterr().err


@pytest.fixture
def smart(bench: Bench, authority: Any, tmp_path: Path) -> Bench:
    """A bench with a smarthost smart.test at 127.0.0.2, and a login for it."""
    bench.dns.zone["smart.test"] = {"A": ["127.0.0.2"]}
    bench.login = Login("alice", "secret")
    bench.authorities = str(tmp_path / "authority.pem")
    authority.cert_pem.write_to_path(bench.authorities)
    return bench


def test_a_smarthost_with_starttls_and_auth(
    smart: Bench, peers: Peers, server_context: ssl.SSLContext
) -> None:
    peers([TLS_HELLO + AUTH + TAKE + BYE], context=server_context)
    smart.routes = {"": f"smart.test:{smart.port}"}
    assert smart.run("bob@example.net")[0][1] == "relayed"


def test_a_token_that_has_expired_is_replaced_at_once(
    smart: Bench, peers: Peers, server_context: ssl.SSLContext
) -> None:
    hello = TLS_HELLO.replace("AUTH PLAIN", "AUTH XOAUTH2")

    def auth(token: str) -> str:
        raw = f"user=alice\x01auth=Bearer {token}\x01\x01".encode()
        return f"C: AUTH XOAUTH2 {b64encode(raw).decode()}\n"

    refused = hello + auth("old") + "S: 535 5.7.8 expired\n" + BYE
    peers([refused, hello + auth("new") + "S: 235 welcome\n" + TAKE + BYE], context=server_context)
    asked: list[str] = []

    def credentials(_: Any, secret: str = "") -> Login:
        asked.append(secret)
        return Login("alice", "new" if secret == "old" else "old", token=True)

    smart.credentials = credentials
    smart.routes = {"": f"smart.test:{smart.port}"}
    assert smart.run("bob@example.net")[0][1] == "relayed"
    assert asked == ["", "old"]


def test_a_smarthost_with_tls_from_the_first_octet(
    smart: Bench, server_context: ssl.SSLContext
) -> None:
    hello = HELLO.replace("250 PIPELINING", "250-AUTH PLAIN\nS: 250 PIPELINING")
    dialog = script(hello + AUTH + TAKE + BYE)
    with Sink([dialog], server_context, implicit=True, host="127.0.0.2") as sink:
        smart.routes = {"": f"smtps:smart.test:{sink.port}"}
        assert smart.run("bob@example.net")[0][1] == "relayed"
        smart.leave()
        sink.check()


def test_a_password_goes_only_to_whom_it_belongs(
    smart: Bench, peers: Peers, authority: Any
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("evil.test").configure_cert(context)
    peers([TLS_HELLO.partition("*** tls")[0] + "*** end\n"])
    smart.routes = {"": f"smart.test:{smart.port}"}
    ((_, action, _, text),) = smart.run("bob@example.net")
    assert action == "delayed"
    assert "TLS" in text


@pytest.mark.parametrize("name", ["evil.test", "smart.test"])
def test_the_certificate_must_be_the_smarthosts(
    smart: Bench, authority: Any, name: str, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    hello = HELLO.replace("250 PIPELINING", "250-AUTH PLAIN\nS: 250 PIPELINING")
    dialog = script(hello + AUTH + TAKE + BYE)
    with Sink([dialog], context, implicit=True, host="127.0.0.2") as sink:
        smart.routes = {"": f"smtps:smart.test:{sink.port}"}
        ((_, action, status, _),) = smart.run("bob@example.net")
        smart.leave()
    assert (action, status) == (
        ("relayed", "2.0.0") if name == "smart.test" else ("delayed", "4.7.5")
    )


def test_a_route_over_a_socket_in_the_file_system(bench: Bench, tmp_path: Path) -> None:
    path = str(tmp_path / "lmtp")
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen()
    dialog = script((HELLO + TAKE + BYE).replace("EHLO", "LHLO"))
    sink = Sink([dialog])
    sink._server.close()
    sink._server = server
    with sink:
        bench.routes = {"example.net": f"lmtp:{path}"}
        ((_, action, _, text),) = bench.run("bob@example.net")
        bench.leave()
        sink.check()
    assert (action, text) == ("relayed", f"{path} said 250 taken")


def test_a_smarthost_in_etc_hosts_needs_no_dns(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.dns.faults["smart.lan"] = "SERVFAIL"
    hosts = bench.folder / "hosts"
    monkeypatch.setattr(local, "HOSTS", str(hosts))
    hosts.write_text("127.0.0.1 localhost\n127.0.0.2 smart Smart.LAN # ours\n")
    with Taker("127.0.0.2") as taker:
        bench.routes = {"": f"smart.lan:{taker.port}"}
        assert bench.run("bob@example.net")[0][1] == "relayed"
        bench.leave()
    hosts.unlink()
    ((_, action, status, text),) = bench.run("bob@example.com")
    assert (action, status) == ("delayed", "4.4.3")
    assert "SERVFAIL" in text


@pytest.mark.parametrize("host", ["no..such", "x" * 70])
def test_a_smarthost_that_cannot_be_one_is_our_own_trouble(bench: Bench, host: str) -> None:
    bench.routes = {"": host}
    assert bench.run("bob@example.net")[0][1:3] == ("delayed", "4.4.4")


def test_a_smarthost_that_has_no_address_is_our_own_trouble(bench: Bench) -> None:
    bench.routes = {"": "nowhere.test"}
    ((_, action, status, text),) = bench.run("bob@example.net")
    assert (action, status) == ("delayed", "4.4.4")
    assert "nowhere.test" in text
