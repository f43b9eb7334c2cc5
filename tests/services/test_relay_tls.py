"""What is asked of TLS: the operator's table, DANE, MTA-STS, and the message itself."""

import hashlib
import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from relaybench import BYE, HELLO, TAKE, TLS_HELLO, Bench, Peers, free_port, zone
from smtpsink import Sink

from mailtools.errors import ConnectionDied, DnsTrouble, Misconfigured, NoAnswer, TlsTrouble
from mailtools.net import https
from mailtools.net.dns import Answer
from mailtools.services.relay.exchangers import Target
from mailtools.services.relay.mta_sts import RETRY, StsPolicies
from mailtools.services.relay.tls_policy import Level
from mailtools.services.relay.tls_rules import TlsRules
from mailtools.trust.mta_sts import AGE_MOST
from mailtools.trust.tls_required import TlsWish

NOT_TLS = TLS_HELLO.partition("*** tls")[0] + "*** tls\n*** end\n"


# -- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "level"),
    [
        ("example.net", Level.VERIFY),
        ("a.example.net", Level.ENCRYPT),
        ("b.a.example.net", Level.ENCRYPT),
        ("example.org", Level.NONE),
        ("example.com", None),
    ],
)
def test_the_table_by_domain_and_parent(domain: str, level: Level | None) -> None:
    rules = TlsRules({"example.net": "verify", ".example.net": "encrypt", "Example.org": "none"})
    assert rules.static(domain) == level


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(Misconfigured) as caught:
        TlsRules({"example.net": "sometimes"})
    assert "example.net: 'sometimes'" in caught.value.detail


@pytest.mark.parametrize(
    ("level", "offers", "action", "status"),
    [
        ("none", True, "relayed", "2.0.0"),
        ("may", False, "relayed", "2.0.0"),
        ("encrypt", False, "delayed", "4.7.4"),
        ("verify", False, "delayed", "4.7.4"),
    ],
)
def test_each_level_without_tls(
    *, bench: Bench, peers: Peers, level: str, offers: bool, action: str, status: str
) -> None:
    hello = HELLO.replace("250 PIPELINING", "250-STARTTLS\nS: 250 PIPELINING") if offers else HELLO
    peers([hello + (TAKE if action == "relayed" else "") + BYE])
    zone(bench, "one")
    bench.rules = TlsRules({"": level})
    ((_, *got, _),) = bench.run("bob@example.net")
    assert got == [action, status]


@pytest.mark.parametrize(
    ("level", "name", "action"),
    [
        ("encrypt", "other.test", "relayed"),
        ("verify", "one.test", "relayed"),
        ("verify", "other.test", "delayed"),
    ],
)
def test_each_level_with_tls(
    *,
    bench: Bench,
    peers: Peers,
    authority: Any,
    tmp_path: Path,
    level: str,
    name: str,
    action: str,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    bench.authorities = str(tmp_path / "authority.pem")
    authority.cert_pem.write_to_path(bench.authorities)
    started = peers([TLS_HELLO + TAKE + BYE], context=context)
    zone(bench, "one")
    bench.rules = TlsRules({"example.net": level})
    ((_, got, _, text),) = bench.run("bob@example.net")
    assert got == action
    if action == "delayed":
        assert "TLS handshake failed" in text
        forgive(started)


def forgive(started: list[Sink]) -> None:
    """A client that goes away in the handshake is what the test wants."""
    for sink in started:
        sink._thread.join(10)
        assert isinstance(sink.fault, ssl.SSLError | OSError | AssertionError)
        sink.fault = None


# -- DANE -----------------------------------------------------------------------------------------


@pytest.fixture
def certificate(authority: Any) -> Any:
    return authority.issue_cert("one.test")


def spki(certificate: Any) -> bytes:
    loaded = load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
    return loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def secure(bench: Bench, tlsa: str) -> None:
    """Give one.test, the exchanger of example.net, TLSA records under DNSSEC."""
    zone(bench, "one")
    name = f"_{bench.port}._tcp.one.test"
    bench.dns.zone[name] = {"TLSA": [tlsa]}
    bench.dns.secure |= {"example.net", "one.test", name}


def serving(certificate: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def test_dane_trusts_the_key_that_dns_names(
    bench: Bench, peers: Peers, certificate: Any, capfd: Any
) -> None:
    peers([TLS_HELLO + TAKE + BYE], context=serving(certificate))
    secure(bench, "3 1 1 " + hashlib.sha256(spki(certificate)).hexdigest())
    assert bench.run("bob@example.net")[0][1] == "relayed"
    assert "tls=TLSv1.3 tls_wanted=dane" in capfd.readouterr().err


def test_dane_trusts_the_authority_that_dns_names(
    bench: Bench, peers: Peers, certificate: Any, authority: Any
) -> None:
    peers([TLS_HELLO + TAKE + BYE], context=serving(certificate))
    der = load_pem_x509_certificate(authority.cert_pem.bytes()).public_bytes(Encoding.DER)
    secure(bench, "2 0 0 " + der.hex())
    assert bench.run("bob@example.net")[0][1] == "relayed"


def test_dane_with_another_key_waits_and_never_goes_in_the_clear(
    bench: Bench, peers: Peers, certificate: Any
) -> None:
    started = peers([TLS_HELLO + TAKE + BYE], context=serving(certificate))
    secure(bench, "3 1 1 " + "ab" * 32)
    ((_, action, status, text),) = bench.run("bob@example.net")
    assert (action, status) == ("delayed", "4.7.5")
    assert "DANE" in text
    forgive(started)


def test_dane_without_starttls_waits(bench: Bench, peers: Peers) -> None:
    peers([HELLO + BYE])
    secure(bench, "3 1 1 " + "ab" * 32)
    ((_, *got, _),) = bench.run("bob@example.net")
    assert got == ["delayed", "4.7.4"]


def test_records_nobody_can_use_still_ask_for_encryption(bench: Bench, peers: Peers) -> None:
    peers([HELLO + BYE])
    secure(bench, "1 1 1 " + "ab" * 32)
    ((_, *got, _),) = bench.run("bob@example.net")
    assert got == ["delayed", "4.7.4"]


def test_tlsa_records_that_cannot_be_found_out_delay(bench: Bench) -> None:
    bench.port = free_port()
    secure(bench, "3 1 1 " + "ab" * 32)
    bench.dns.faults[f"_{bench.port}._tcp.one.test"] = "SERVFAIL"
    ((_, *got, _),) = bench.run("bob@example.net")
    assert got == ["delayed", "4.4.3"]


@pytest.mark.parametrize("insecure", ["example.net", "one.test", "tlsa"])
def test_without_dnssec_all_the_way_tlsa_means_nothing(
    bench: Bench, peers: Peers, insecure: str
) -> None:
    peers([HELLO + TAKE + BYE])
    secure(bench, "3 1 1 " + "ab" * 32)
    name = f"_{bench.port}._tcp.one.test" if insecure == "tlsa" else insecure
    bench.dns.secure.discard(name)
    assert bench.run("bob@example.net")[0][1] == "relayed"


def test_dane_by_the_table_waits_where_there_are_no_records(bench: Bench) -> None:
    bench.port = free_port()
    zone(bench, "one")
    bench.rules = TlsRules({"example.net": "dane"})
    ((_, *got, _),) = bench.run("bob@example.net")
    assert got == ["delayed", "4.7.4"]


@pytest.mark.parametrize("behind", [True, False])
def test_an_alias_has_tlsa_records_where_it_leads_or_where_it_is(
    bench: Bench, peers: Peers, certificate: Any, capfd: Any, *, behind: bool
) -> None:
    """RFC 7672 2.2.2: of an alias into a zone without DNSSEC, the alias itself is vouched for."""
    peers([TLS_HELLO + TAKE + BYE], context=serving(certificate))
    secure(bench, "3 1 1 " + "ab" * 32)
    bench.dns.zone["example.net"] = {"MX": ["10 alias.test."]}
    bench.dns.zone["alias.test"] = {"CNAME": ["one.test."]}
    record = "3 1 1 " + hashlib.sha256(spki(certificate)).hexdigest()
    name = f"_{bench.port}._tcp." + ("one.test" if behind else "alias.test")
    bench.dns.zone[name] = {"TLSA": [record]}
    bench.dns.secure |= {name, "alias.test/CNAME", *(["alias.test"] if behind else [])}
    assert bench.run("bob@example.net")[0][1] == "relayed"
    assert "tls_wanted=dane" in capfd.readouterr().err


@pytest.mark.parametrize(("level", "good"), [("", True), ("", False), ("dane", False)])
def test_the_host_of_a_route_proves_itself_by_dane(
    bench: Bench, peers: Peers, certificate: Any, capfd: Any, *, level: str, good: bool
) -> None:
    started = peers([TLS_HELLO + TAKE + BYE], context=serving(certificate))
    digest = hashlib.sha256(spki(certificate)).hexdigest() if good else "ab" * 32
    secure(bench, f"3 1 1 {digest}")
    bench.routes = {"": f"one.test:{bench.port}"}
    bench.rules = TlsRules({"one.test": level} if level else {})
    ((_, action, status, _),) = bench.run("bob@example.net")
    assert (action, status) == (("relayed", "2.0.0") if good else ("delayed", "4.7.5"))
    assert "tls_wanted=dane" in capfd.readouterr().err
    if not good:
        forgive(started)


def test_dane_by_the_table_for_a_route_waits_where_there_are_no_records(bench: Bench) -> None:
    bench.dns.zone["one.test"] = {"A": ["127.0.0.2"]}
    bench.routes = {"": "one.test:25", "example.com": "127.0.0.2"}
    bench.rules = TlsRules({"one.test": "dane", "127.0.0.2": "dane"})
    for address in ("bob@example.net", "bob@example.com"):
        ((_, *got, _),) = bench.run(address)
        assert got == ["delayed", "4.7.4"]


# -- MTA-STS --------------------------------------------------------------------------------------

POLICY = "version: STSv1\r\nmode: {}\r\nmx: {}\r\nmax_age: 1000\r\n"


class Texts:
    """DNS that knows TXT records only, and a web server: what `StsPolicies` asks."""

    def __init__(self) -> None:
        self.id: Any = "v=STSv1; id=1;"
        self.file: Any = POLICY.format("enforce", "*.example.net")
        self.fetched = 0

    def lookup(self, name: str, rrtype: str) -> Answer:
        assert (name, rrtype) == ("_mta-sts.example.net", "TXT")
        if isinstance(self.id, Exception):
            raise self.id
        return Answer((self.id,) if self.id else ())

    def fetch(self, domain: str) -> bytes:
        self.fetched += 1
        if isinstance(self.file, Exception):
            raise self.file
        return str(self.file).encode()


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def texts() -> Texts:
    return Texts()


def policies(texts: Texts, clock: Clock, folder: str = "") -> StsPolicies:
    return StsPolicies(lambda: texts, texts.fetch, folder, clock)


def test_a_policy_that_nobody_renewed_for_a_year_goes(texts: Texts, tmp_path: Path) -> None:
    clock = Clock()
    clock.time = 1_700_000_000.0
    for name, age in (("gone.test", AGE_MOST + 1), ("kept.test", AGE_MOST - 1)):
        (tmp_path / name).write_text("1 2\n")
        os.utime(tmp_path / name, (clock() - age, clock() - age))
    assert policies(texts, clock, str(tmp_path)).policy("example.net")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["example.net", "kept.test", "swept"]


def test_a_policy_is_fetched_once_and_again_when_its_id_changes(texts: Texts) -> None:
    known = policies(texts, Clock())
    for _ in range(3):
        policy = known.policy("example.net")
        assert policy
        assert policy.mx == ("*.example.net",)
    assert texts.fetched == 1
    texts.id, texts.file = "v=STSv1; id=2;", POLICY.format("testing", "mx.example.net")
    policy = known.policy("example.net")
    assert policy
    assert policy.mode == "testing"
    assert texts.fetched == 2


@pytest.mark.parametrize("trouble", ["", DnsTrouble("SERVFAIL"), "v=STSv1; id=!", "v=other"])
def test_what_was_known_counts_while_dns_says_nothing(texts: Texts, trouble: Any) -> None:
    clock = Clock()
    known = policies(texts, clock)
    assert known.policy("example.net")
    texts.id = trouble
    assert known.policy("example.net")
    clock.time += 1001
    assert known.policy("example.net") is None


@pytest.mark.parametrize("trouble", [NoAnswer("down"), "nonsense", "version: STSv1\n"])
def test_what_was_known_counts_while_the_web_says_nothing(texts: Texts, trouble: Any) -> None:
    clock = Clock()
    known = policies(texts, clock)
    assert known.policy("example.net")
    texts.id, texts.file = "v=STSv1; id=2;", trouble
    assert known.policy("example.net")
    assert known.policy("example.net")
    assert texts.fetched == 2  # not again at once
    clock.time += RETRY + 1
    assert known.policy("example.net")
    assert texts.fetched == 3


def test_policies_outlive_the_process(texts: Texts, tmp_path: Path) -> None:
    folder, clock = str(tmp_path / "mta-sts"), Clock()
    first = policies(texts, clock, folder).policy("example.net")
    texts.id = DnsTrouble("an attacker")
    assert policies(texts, clock, folder).policy("example.net") == first
    clock.time += 1001
    assert policies(texts, clock, folder).policy("example.net") is None
    (tmp_path / "mta-sts" / "example.net").write_text("torn")
    assert policies(texts, clock, folder).policy("example.net") is None


def test_a_policy_is_fetched_again_long_before_it_expires(texts: Texts, tmp_path: Path) -> None:
    clock, folder = Clock(), str(tmp_path / "mta-sts")
    texts.file = texts.file.replace("max_age: 1000", "max_age: 604800")
    known = policies(texts, clock, folder)
    for _ in range(4):
        assert known.policy("example.net")
        clock.time += 23 * 3600
    assert texts.fetched == 2
    other = policies(texts, clock, folder)
    assert list(other.aged()) == ["example.net"]
    assert other.policy("example.net")
    assert not other.aged()
    assert texts.fetched == 3
    clock.time += 3600
    assert known.policy("example.net")  # what another process fetched is not fetched again
    assert texts.fetched == 3
    # While that fails, the kept one counts: to its end, which was put off each time.
    texts.file = NoAnswer("blocked")
    clock.time += 6 * 86400
    assert known.policy("example.net")
    clock.time += 86400
    assert known.policy("example.net") is None


def test_a_short_policy_is_fetched_again_at_half_time(texts: Texts) -> None:
    clock = Clock()
    known = policies(texts, clock)
    for _ in range(5):
        assert known.policy("example.net")
        clock.time += 300
    assert texts.fetched == 3  # at 0, 600 and 1200 of 1000


def test_one_of_many_fetches_a_policy(texts: Texts) -> None:
    known = policies(texts, Clock())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(known.policy, ["example.net"] * 20))
    assert all(found)
    assert texts.fetched == 1


def test_a_policy_of_none_is_none(texts: Texts) -> None:
    texts.file = "version: STSv1\nmode: none\nmax_age: 1000\n"
    known = policies(texts, Clock())
    for _ in range(3):
        assert known.policy("example.net") is None
    assert texts.fetched == 1
    rules = TlsRules({}, known)
    ((_, policy),) = rules.plan("example.net", [Target("x", "192.0.2.1", 25)], Insecure(), DEFAULT)
    assert policy.level is Level.MAY


class Insecure:
    """A resolver without DNSSEC."""

    def exchangers(self, domain: str) -> Answer:
        return Answer()

    def tlsa_hosts(self, host: str) -> tuple[str, ...]:
        raise AssertionError("nobody asks where the MX records are not secure")

    def lookup(self, name: str, rrtype: str) -> Answer:
        raise AssertionError("nobody asks where the MX records are not secure")


DEFAULT, REQUIRED, OPTIONAL = TlsWish.DEFAULT, TlsWish.REQUIRED, TlsWish.OPTIONAL
GOOD, EVIL = Target("mx.example.net", "192.0.2.1", 25), Target("mx.evil.test", "192.0.2.2", 25)


@pytest.mark.parametrize(
    ("mode", "wish", "levels"),
    [
        ("enforce", DEFAULT, {"mx.example.net": "verify"}),
        ("enforce", OPTIONAL, {"mx.example.net": "may", "mx.evil.test": "may"}),
        ("enforce", REQUIRED, {"mx.example.net": "verify"}),
        ("testing", DEFAULT, {"mx.example.net": "may", "mx.evil.test": "may"}),
        ("testing", REQUIRED, {"mx.example.net": "verify"}),
    ],
)
def test_a_policy_says_whom_to_trust(
    texts: Texts, mode: str, wish: TlsWish, levels: dict[str, str]
) -> None:
    texts.file = POLICY.format(mode, "*.example.net")
    rules = TlsRules({}, policies(texts, Clock()))
    planned = rules.plan("example.net", [EVIL, GOOD], Insecure(), wish)
    assert {target.host: policy.level for target, policy in planned} == levels


def test_an_enforced_policy_that_fits_nobody_delays(texts: Texts) -> None:
    rules = TlsRules({}, policies(texts, Clock()))
    with pytest.raises(TlsTrouble, match="MTA-STS") as caught:
        rules.plan("example.net", [EVIL], Insecure(), DEFAULT)
    assert not caught.value.permanent


def test_the_table_goes_before_mta_sts(texts: Texts) -> None:
    rules = TlsRules({"example.net": "may"}, policies(texts, Clock()))
    planned = rules.plan("example.net", [EVIL], Insecure(), DEFAULT)
    assert [policy.level for _, policy in planned] == ["may"]
    assert texts.fetched == 0


# -- what a message asks --------------------------------------------------------------------------


def test_a_message_may_go_in_the_clear_by_its_own_wish(bench: Bench, peers: Peers) -> None:
    peers([HELLO + TAKE.replace("C: Subject", "C: TLS-Required: No\nC: Subject") + BYE])
    secure(bench, "3 1 1 " + "ab" * 32)
    data = b"TLS-Required: No\nSubject: hello\n\nText.\n"
    assert bench.run("bob@example.net", data=data)[0][1] == "relayed"


def test_a_message_that_requires_tls_does_not_go_in_the_clear(bench: Bench, peers: Peers) -> None:
    peers([HELLO + BYE])
    zone(bench, "one")
    bench.dns.secure.add("example.net/MX")
    ((_, *got, _),) = bench.run("bob@example.net", parameters={"REQUIRETLS": ""})
    assert got == ["delayed", "4.7.4"]


def test_a_message_that_requires_tls_goes_on_to_an_exchanger_that_does_it(
    bench: Bench, peers: Peers, authority: Any, tmp_path: Path
) -> None:
    """However many there are that do not: they say nothing of the domain."""
    hosts = ["one", "two", "three", "four"]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*(f"{host}.test" for host in hosts)).configure_cert(context)
    bench.authorities = str(tmp_path / "authority.pem")
    authority.cert_pem.write_to_path(bench.authorities)
    able = TLS_HELLO.replace("S: 250-AUTH PLAIN", "S: 250-REQUIRETLS")
    taken = TAKE.replace("<alice@example.org>", "<alice@example.org> REQUIRETLS")
    peers(*[[TLS_HELLO + BYE]] * 3, [able + taken + BYE], context=context)
    zone(bench, *hosts)
    bench.dns.secure.add("example.net/MX")
    ((_, action, _, text),) = bench.run("bob@example.net", parameters={"REQUIRETLS": ""})
    assert (action, text.partition("[")[0]) == ("relayed", "four.test")


def test_tls_that_fails_at_two_exchangers_leaves_the_third(
    bench: Bench, peers: Peers, authority: Any
) -> None:
    hosts = ["one", "two", "three"]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("three.test").configure_cert(context)
    bench.rules = TlsRules({"": "encrypt"})
    peers([HELLO + BYE], [HELLO + BYE], [TLS_HELLO + TAKE + BYE], context=context)
    zone(bench, *hosts)
    ((_, action, _, text),) = bench.run("bob@example.net")
    assert (action, text.partition("[")[0]) == ("relayed", "three.test")


@pytest.mark.parametrize("asked", [False, True])
def test_a_message_that_requires_tls_goes_to_nobody_whom_only_an_answer_names(
    *, bench: Bench, asked: bool
) -> None:
    """RFC 8689 4.2.1: whoever forges DNS has a certificate for his own name."""
    bench.port = 2525
    zone(bench, "one")
    if asked:
        bench.dns.zone["_mta-sts.example.net"] = {"TXT": ['"v=STSv1; id=1;"']}

        def fetch(_: str) -> bytes:
            raise NoAnswer("it may come back")

        bench.rules = TlsRules({}, StsPolicies(bench.resolver, fetch))
    ((_, *got, text),) = bench.run("bob@example.net", parameters={"REQUIRETLS": ""})
    assert got == (["delayed", "4.7.5"] if asked else ["failed", "5.7.10"])
    assert "neither DNSSEC nor MTA-STS vouches for the exchangers of example.net" in text


@pytest.mark.parametrize("table", [{}, {"example.net": "verify"}])
def test_who_is_named_without_dns_may_have_what_requires_tls(table: dict[str, str]) -> None:
    """The domain itself, where it has no MX; and whom the operator says he knows."""
    host = "mx.example.net" if table else "example.net"
    rules = TlsRules(table)
    planned = rules.plan("example.net", [Target(host, "192.0.2.1", 25)], Insecure(), REQUIRED)
    assert [policy.level for _, policy in planned] == ["verify"]


@pytest.mark.parametrize("able", [True, False])
def test_a_bounce_of_one_that_required_tls_goes_without_rather_than_not_at_all(
    *, bench: Bench, peers: Peers, authority: Any, tmp_path: Path, able: bool
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("one.test" if able else "other.test").configure_cert(context)
    bench.authorities = str(tmp_path / "authority.pem")
    authority.cert_pem.write_to_path(bench.authorities)
    hello = TLS_HELLO.replace("S: 250-AUTH PLAIN", "S: 250-REQUIRETLS") if able else TLS_HELLO
    taken = TAKE.replace("<alice@example.org>", "<> REQUIRETLS" if able else "<>")
    # A name that is not proven costs a connection; the next one does not ask for it.
    broken = TLS_HELLO.partition("*** tls")[0] + "*** alert\n"
    peers([hello + taken + BYE] if able else [broken, hello + taken + BYE], context=context)
    zone(bench, "one")
    ((_, action, _, _),) = bench.run("bob@example.net", sender="", parameters={"REQUIRETLS": ""})
    assert action == "relayed"


def test_a_bounce_of_one_that_required_tls_goes_in_the_clear_at_last(
    bench: Bench, peers: Peers
) -> None:
    peers([HELLO + TAKE.replace("<alice@example.org>", "<>") + BYE])
    zone(bench, "one")
    ((_, action, _, _),) = bench.run("bob@example.net", sender="", parameters={"REQUIRETLS": ""})
    assert action == "relayed"


def test_messages_that_ask_for_different_things_share_no_connection(
    bench: Bench, peers: Peers
) -> None:
    free = TAKE.replace("C: Subject", "C: TLS-Required: No\nC: Subject")
    peers([HELLO + free + BYE, HELLO + BYE])
    zone(bench, "one")
    bench.dns.secure.add("example.net/MX")
    data = b"TLS-Required: No\nSubject: hello\n\nText.\n"
    assert bench.run("bob@example.net", data=data)[0][1] == "relayed"
    bench.start(bench.job("bob@example.net", parameters={"REQUIRETLS": ""}))
    # The peer serves one connection after the other: let go of the first.
    bench.pool.quit()
    ((_, *got, _),) = bench.finish()
    assert got == ["delayed", "4.7.4"]


# -- HTTPS ----------------------------------------------------------------------------------------


class Web:
    """An HTTPS server for one request."""

    def __init__(self, context: ssl.SSLContext, answer: bytes) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._context, self._answer = context, answer
        self.asked = b""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        sock, _ = self._server.accept()
        try:
            with self._context.wrap_socket(sock, server_side=True) as tls:
                while b"\r\n\r\n" not in self.asked:
                    self.asked += tls.recv(4096)
                tls.sendall(self._answer)
        except OSError:
            pass
        finally:
            sock.close()

    def close(self) -> None:
        self._thread.join(10)
        self._server.close()


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n0\r\n\r\n",
            b"hel",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://evil.test/\r\n\r\n", "said 302"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "said 404"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101, "more than 100 octets"),
        (b"nonsense\r\n\r\n", "mta-sts.test"),
    ],
)
def test_a_file_by_https(authority: Any, answer: bytes, result: Any) -> None:
    web = Web(serving(authority.issue_cert("mta-sts.test")), answer)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def get() -> bytes:
        # The first address does not answer; the second does.
        return https.fetch(
            "mta-sts.test", "/x", ["127.0.0.9", "127.0.0.1"], context, port=web.port, most=100
        )

    try:
        if isinstance(result, bytes):
            assert get() == result
            assert web.asked.startswith(b"GET /x HTTP/1.1\r\nHost: mta-sts.test\r\n")
        else:
            with pytest.raises((NoAnswer, https.ConnectionDied), match=result):
                get()
    finally:
        web.close()


def test_a_web_server_must_prove_its_name(authority: Any) -> None:
    web = Web(serving(authority.issue_cert("other.test")), b"")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with pytest.raises(TlsTrouble, match=r"mta-sts\.test"):
        https.fetch("mta-sts.test", "/x", ["127.0.0.1"], context, port=web.port)
    web.close()


@pytest.mark.parametrize("drips", [False, True])
def test_a_handshake_has_an_end(drips: bool) -> None:
    """A web server that says nothing, or a TLS record octet by octet, is given up on."""
    record = b"\x16\x03\x03\x40\x00" + b"x" * 1000
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            sock, _ = server.accept()
            with sock:
                for octet in record if drips else b"":
                    try:
                        sock.sendall(bytes((octet,)))
                    except OSError:
                        return
                    if over.wait(0.02):
                        return
                over.wait(10)

        over = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        context = ssl.create_default_context()
        try:
            with pytest.raises(ConnectionDied, match="handshake took too long"):
                https.fetch("x.test", "/", ["127.0.0.1"], context, port=port, timeout=0.3)
        finally:
            over.set()
            thread.join(10)


def test_a_web_server_that_takes_a_report_in_sips_is_given_up_on(
    authority: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "ANSWER_TIME", 0.3)
    monkeypatch.setattr(https, "SLOWEST", 10**9)
    over = threading.Event()
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()

        def sip() -> None:
            sock, _ = server.accept()
            with serving(authority.issue_cert("x.test")).wrap_socket(sock, server_side=True) as tls:
                try:
                    while not over.wait(0.05):
                        tls.recv(500)
                except OSError:
                    pass

        thread = threading.Thread(target=sip)
        thread.start()
        context = ssl.create_default_context()
        authority.configure_trust(context)
        port = server.getsockname()[1]
        try:
            with pytest.raises(ConnectionDied, match="timed out"):
                https.post(
                    "x.test", "/", ["127.0.0.1"], context,
                    body=b"x" * 10**7, kind="application/tlsrpt+gzip", port=port,
                )  # fmt: skip
        finally:
            over.set()
            thread.join(10)


def test_no_web_server_is_no_answer() -> None:
    with pytest.raises(NoAnswer, match="no address"):
        https.fetch("mta-sts.test", "/", [], ssl.create_default_context())
