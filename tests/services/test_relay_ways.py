"""Which way a message goes: by its sender, from which address, by which family, past dead hosts."""

import socket
import threading
from pathlib import Path

import pytest
from relaybench import BYE, HELLO, TAKE, Bench, Peers, free_port, script, zone
from smtpsink import Sink, Taker

from mailtools.errors import Failure, Misconfigured, NoAnswer
from mailtools.protocol.smtp.transaction import Login
from mailtools.services.relay.exchangers import Target, submission_hosts
from mailtools.services.relay.families import Families
from mailtools.services.relay.health import Health
from mailtools.services.relay.route import Routes
from mailtools.services.relay.smarthost import Smarthosts
from mailtools.services.relay.source import Sources, parse_source
from mailtools.services.relay.tls_rules import TlsRules

# -- by sender ------------------------------------------------------------------------------------

SENDERS = {
    "alice@example.org": "alice@provider.test@smart.test:587",
    "example.org": "smart.test",
    ".example.org": "sub.test",
    "<>": "bounces.test",
    "example.com": "",
}
ROUTES = {"": "rest.test", "example.net": "gate.test", "example.edu": ""}


@pytest.mark.parametrize(
    ("sender", "to", "name"),
    [
        ("alice@example.org", "b@example.info", "alice@provider.test@smart.test:587"),
        ("Alice@Example.Org", "b@example.info", "alice@provider.test@smart.test:587"),
        ("carol@example.org", "b@example.info", "smart.test:25"),
        ("carol@a.example.org", "b@example.info", "sub.test:25"),
        ("", "b@example.info", "bounces.test:25"),
        ("x@example.com", "b@example.info", "example.info"),
        ("x@example.info", "b@example.info", "rest.test:25"),
        ("alice@example.org", "b@example.net", "gate.test:25"),
        ("alice@example.org", "b@example.edu", "example.edu"),
        ("alice@example.org", "b@[192.0.2.1]", "alice@provider.test@smart.test:587"),
        ("x@example.com", "b@[192.0.2.1]", "192.0.2.1:25"),
    ],
)
def test_the_recipients_domain_goes_first_then_the_sender_then_the_smarthost(
    sender: str, to: str, name: str
) -> None:
    assert Routes(ROUTES, senders=SENDERS).destination(to, sender).name == name


@pytest.mark.parametrize("domain", ["bücher.example", "Bücher.Example", "xn--bcher-kva.example"])
def test_domains_in_letters_of_their_own_are_those_of_dns(domain: str) -> None:
    """In whichever of the two writings a control file has them, and in whichever a path has."""
    for written in ("bücher.example", "xn--bcher-kva.example"):
        routes = Routes(
            {}, senders={f"jörg@{written}": "one.test", f".{written}": "two.test"},
            sources=Sources({f"to {written}": "192.0.2.1", written: "192.0.2.2"}),
        )  # fmt: skip
        assert routes.destination("a@b.test", f"jörg@{domain}").name == "one.test:25"
        assert routes.destination("a@b.test", f"x@y.{domain}").name == "two.test:25"
        assert str(routes.destination("a@b.test", f"x@{domain}").source) == "192.0.2.2"
        assert str(routes.destination(f"a@{domain}", "x@b.test").source) == "192.0.2.1"
        assert TlsRules({f".{written}": "verify"}).static("a.xn--bcher-kva.example") == "verify"


def test_a_fault_names_its_file_and_line() -> None:
    for make, words in (
        (
            lambda: Routes({}, senders={"example.org": "a:b:c"}),
            "sender-routes: example.org: 'a:b:c'",
        ),
        (lambda: Sources({"to example.net": "here"}), "source-addresses: to example.net: 'here'"),
        (lambda: parse_source("192.0.2.1,192.0.2.2"), "second address of its family"),
        (lambda: Families("perhaps"), "ipv6: 'perhaps'"),
    ):
        with pytest.raises(Misconfigured) as found:
            make()
        assert words in found.value.detail


def test_a_host_with_two_logins_is_given_the_one_that_its_route_names(tmp_path: Path) -> None:
    file = tmp_path / "route-credentials"
    file.write_text("smart.test:alice@p.test:one\nsmart.test:bob@p.test:two\n")
    file.chmod(0o600)
    smarthosts = Smarthosts(str(file))

    def login(text: str) -> Login | None:
        route = Routes({"": text}).destination("x@example.net").route
        assert route
        return smarthosts.login(route)

    first, bob = login("smart.test:587"), login("bob@p.test@smart.test:587")
    assert first
    assert bob
    assert (first.name, first.secret, bob.name, bob.secret) == (
        "alice@p.test",
        "one",
        "bob@p.test",
        "two",
    )
    with pytest.raises(Failure) as found:
        login("carol@p.test@smart.test")
    assert not found.value.permanent


def test_mail_of_two_senders_goes_to_two_smarthosts(bench: Bench) -> None:
    with Taker("127.0.0.2") as one, Taker("127.0.0.3") as two:
        bench.senders = {
            "alice@example.org": f"[127.0.0.2]:{one.port}",
            "example.com": f"[127.0.0.3]:{two.port}",
        }
        for sender in ("alice@example.org", "x@example.com"):
            bench.start(bench.job("bob@example.net", sender=sender))
        assert {row[1] for row in bench.finish()} == {"relayed"}
        bench.leave()
    assert [sender for sender, _, _ in one.messages] == ["alice@example.org"]
    assert [sender for sender, _, _ in two.messages] == ["x@example.com"]


def test_a_senders_dead_smarthost_is_not_held_against_the_domain(bench: Bench) -> None:
    bench.senders = {"alice@example.org": f"[127.0.0.9]:{free_port()}"}
    ((_, action, status, text),) = bench.run("bob@example.net")
    assert (action, status) == ("delayed", "4.4.0")
    assert "refused" in text


# -- submission hosts by SRV ----------------------------------------------------------------------


def test_srv_records_name_the_submission_hosts(bench: Bench) -> None:
    bench.dns.zone["_submissions._tcp.example.com"] = {
        "SRV": [
            "20 0 465 far.example.com.",
            "10 1 465 light.example.com.",
            "10 9 4650 heavy.example.com.",
            "0 0 465 mail.example.net.",
        ]
    }
    resolver = bench.relay._planner.resolver
    assert submission_hosts("example.com", resolver, lambda: 0.5) == [
        ("heavy.example.com", 4650),
        ("light.example.com", 465),
        ("far.example.com", 465),
    ]
    bench.dns.zone["_submissions._tcp.example.net"] = {"SRV": ["0 0 0 ."]}
    with pytest.raises(NoAnswer):
        submission_hosts("example.net", resolver)


def test_a_host_elsewhere_is_believed_where_dnssec_vouches_for_it(bench: Bench) -> None:
    name = "_submissions._tcp.example.com"
    bench.dns.zone[name] = {"SRV": ["0 0 465 mail.example.net."]}
    bench.dns.secure.add(name)
    found = submission_hosts("example.com", bench.relay._planner.resolver)
    assert found == [("mail.example.net", 465)]


# -- from which address ---------------------------------------------------------------------------


def test_a_sender_has_its_own_address_and_greeting(bench: Bench) -> None:
    hello = HELLO.replace("relay.example.org", "mail8.example.org")
    with Sink([script(hello + TAKE + BYE)], host="127.0.0.2") as sink:
        bench.port = sink.port
        bench.sources = {"example.org": "127.0.0.8 mail8.example.org", "": "127.0.0.7"}
        zone(bench, "one")
        assert [row[1] for row in bench.run("bob@example.net")] == ["relayed"]
        bench.leave()
        sink.check()
    assert sink.peers == ["127.0.0.8"]


@pytest.mark.parametrize(
    ("sender", "domain", "source"),
    [
        ("a@example.org", "example.info", "192.0.2.1"),
        ("A@EXAMPLE.org", "example.info", "192.0.2.1"),
        ("a@example.org", "example.net", "192.0.2.3"),
        ("", "example.info", "192.0.2.2"),
        ("x@example.edu", "example.info", "192.0.2.4,2001:db8::4 four.example.org"),
    ],
)
def test_the_source_is_chosen_by_where_it_goes_then_by_sender(
    sender: str, domain: str, source: str
) -> None:
    sources = Sources(
        {
            "example.org": "192.0.2.1",
            "<>": "192.0.2.2",
            "to example.net": "192.0.2.3",
            "": "192.0.2.4,2001:db8::4 four.example.org",
        }
    )
    assert str(sources.find(sender, domain)[0]) == source


def test_a_family_the_source_lacks_is_not_used(bench: Bench, peers: Peers) -> None:
    peers([HELLO + TAKE + BYE])
    zone(bench, "one")
    bench.dns.zone["one.test"]["AAAA"] = ["::1"]
    bench.sources = {"": "127.0.0.8"}
    ((_, action, _, text),) = bench.run("bob@example.net")
    assert (action, "127.0.0.2" in text) == ("relayed", True)


def test_a_source_without_the_only_family_is_our_own_trouble(bench: Bench) -> None:
    bench.port = free_port()
    zone(bench, "one")
    bench.sources = {"": "::1"}
    ((_, action, status, text),) = bench.run("bob@example.net")
    assert (action, status) == ("delayed", "4.4.0")
    assert "can be reached from ::1" in text


def test_an_address_that_is_not_ours_is_our_own_trouble(bench: Bench) -> None:
    with Taker("127.0.0.2") as taker:
        bench.port = taker.port
        zone(bench, "one")
        bench.sources = {"": "192.0.2.77"}
        ((_, action, status, _),) = bench.run("bob@example.net")
        assert (action, status) == ("delayed", "4.3.0")
        assert taker.connections == 0


# -- by which family ------------------------------------------------------------------------------

BOTH = [Target("mx.test", "2001:db8::25", 25), Target("mx.test", "192.0.2.25", 25)]
NAME = "8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


@pytest.mark.parametrize(
    ("word", "ptr", "forward", "used"),
    [
        ("auto", "mail.test", "2001:db8::8", True),
        ("auto", "", "", False),
        ("auto", "mail.test", "2001:db8::9", False),
        ("auto", "SERVFAIL", "", True),
        ("yes", "", "", True),
        ("no", "mail.test", "2001:db8::8", False),
    ],
)
def test_ipv6_is_for_those_whose_address_has_a_name(
    bench: Bench, word: str, ptr: str, forward: str, used: bool
) -> None:
    if ptr == "SERVFAIL":
        bench.dns.faults[NAME] = ptr
    elif ptr:
        bench.dns.zone[NAME] = {"PTR": [f"{ptr}."]}
        bench.dns.zone[ptr] = {"AAAA": [forward]}
    families = Families(word, lambda _: "2001:db8::8")
    planner = bench.relay._planner
    left = families.fitting(BOTH, lambda: planner.resolver, None)
    assert [target.address for target in left] == [
        *(["2001:db8::25"] if used else []),
        "192.0.2.25",
    ]


def test_ipv6_is_used_where_nothing_else_leads_there(bench: Bench) -> None:
    families = Families("no", lambda _: "2001:db8::8")
    assert families.fitting(BOTH[:1], lambda: bench.relay._planner.resolver, None) == BOTH[:1]


def test_a_missing_name_is_said_once(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    families = Families("auto", lambda _: "2001:db8::8")
    for _ in range(3):
        families.fitting(BOTH, lambda: bench.relay._planner.resolver, None)
    assert capfd.readouterr().err.count("avoided address=2001:db8::8") == 1


# -- past the dead --------------------------------------------------------------------------------


def test_a_dead_address_is_tried_by_one_while_the_others_wait(bench: Bench) -> None:
    """A listener whose backlog is full answers nothing: only its first caller finds that out."""
    with Taker("127.0.0.3") as taker:
        dead = socket.socket()
        dead.bind(("127.0.0.2", taker.port))
        bench.port = taker.port
        zone(bench, "one", "two")
        made: list[str] = []
        make = bench.relay and bench.pool.make

        def noting(target, manner, destination):  # type: ignore[no-untyped-def]
            made.append(target.address)
            return make(target, manner, destination)

        bench.pool.make = noting  # type: ignore[method-assign]
        for _ in range(10):
            bench.start(bench.job("bob@example.net"))
        rows = bench.finish()
        assert {row[1] for row in rows} == {"relayed"}
        assert made.count("127.0.0.2") == 1
        for _ in range(10):  # nor is it asked again by those who come later
            bench.start(bench.job("bob@example.net"))
        assert {row[1] for row in bench.finish()} == {"relayed"}
        assert made.count("127.0.0.2") == 1
        bench.leave()
        dead.close()


def test_the_only_address_is_tried_again_by_each_attempt(bench: Bench, peers: Peers) -> None:
    bench.port = free_port()
    zone(bench, "one")
    assert [row[1] for row in bench.run("bob@example.net")] == ["delayed"]
    with Sink([script(HELLO + TAKE + BYE)], host="127.0.0.2", port=bench.port) as sink:
        assert [row[1] for row in bench.run("bob@example.net")] == ["relayed"]
        bench.leave()
        sink.check()


def test_what_is_known_of_an_address() -> None:
    now = [0.0]
    health = Health(lambda: now[0])
    place = ("192.0.2.1", 25, "")
    first, second = health.enter(place), health.enter(place)
    assert (first.there, first.value, second.there) == (True, None, False)
    health.failed(place, NoAnswer("nobody"))
    assert isinstance(second.value, NoAnswer)
    assert health.avoided(place)
    now[0] = 61.0
    assert not health.avoided(place)
    assert health.enter(place).there  # a single probe
    third = health.enter(place)
    assert not third.there
    health.failed(place, NoAnswer())
    now[0] = 122.0
    assert health.avoided(place)  # the second time for longer
    now[0] = 200.0
    fourth = health.enter(place)
    health.reached(place)
    assert fourth.value is None
    assert not health.avoided(place)
    assert [health.enter(place).there for _ in range(3)] == [True] * 3


# -- beside the loop ------------------------------------------------------------------------------


def test_a_large_message_does_not_hold_up_the_others(bench: Bench) -> None:
    """Its text is encoded anew for a peer without 8BITMIME, while the others' mail flows."""
    done = threading.Event()
    with Taker("127.0.0.2", offers=("PIPELINING",)) as taker:
        bench.port = taker.port
        zone(bench, "one")
        large = b"Subject: x\nContent-Type: text/plain\n\n" + ("ü" * 30 + "\n").encode() * 40000
        bench.start(bench.job("bob@example.net", data=large))
        turns = []

        def count() -> None:
            turns.append(1)
            if not done.is_set():
                bench.loop.soon(count)

        bench.loop.soon(count)
        bench.loop.run_until(lambda: not bench.relay.at_work)
        done.set()
        assert {row[1] for row in bench.finish()} == {"relayed"}
        bench.leave()
    ((_, _, wire),) = taker.messages
    assert b"quoted-printable" in wire or b"base64" in wire
    assert len(turns) > 20
