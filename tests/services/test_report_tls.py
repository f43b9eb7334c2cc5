"""What relay-send notes for TLS reports: real sessions with peers of a script, counted."""

import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from relaybench import BYE, HELLO, TAKE, TLS_HELLO, Bench, Peers, zone

from mailtools import log
from mailtools.errors import NoAnswer, TlsTrouble
from mailtools.mail.envelope import REPORT, Envelope, ForwardPath, encode
from mailtools.services.agent import Job
from mailtools.services.relay.mta_sts import StsPolicies
from mailtools.services.relay.tls_rules import TlsRules
from mailtools.services.reports.tls_data import TlsData
from mailtools.store.report_data import Collected, day_of

NOW = 1_795_400_000.0
POLICY = "version: STSv1\r\nmode: {}\r\nmx: {}\r\nmax_age: 1000\r\n"
BROKEN = TLS_HELLO.partition("*** tls")[0] + "*** alert\n"


class Watch:
    """The bench, with reports on and example.net asking for them."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.file: str | Exception = ""
        self.collected = Collected(str(folder / "reports"), "tls", 10**6)
        self.table: dict[str, str] = {}

    def fetch(self, domain: str) -> bytes:
        if isinstance(self.file, Exception):
            raise self.file
        return self.file.encode()

    def begin(self, *hosts: str, asks: bool = True) -> None:
        """Set up the zone and the relay."""
        bench, data = self.bench, TlsData(self.collected, lambda: NOW)
        zone(bench, *hosts)
        if asks:
            record = '"v=TLSRPTv1; rua=mailto:tls@example.net"'
            bench.dns.zone["_smtp._tls.example.net"] = {"TXT": [record]}
        policies = None
        if self.file:
            bench.dns.zone["_mta-sts.example.net"] = {"TXT": ['"v=STSv1; id=1;"']}
            policies = StsPolicies(bench.resolver, self.fetch)
        bench.rules = TlsRules(self.table, policies, data)
        bench.sessions = data

    def noted(self) -> list[tuple[str, str, int]]:
        """What was noted: the kind of policy, the result, how often."""
        found = []
        for domain, facts in self.collected.read(day_of(NOW)).items():
            assert domain == "example.net"
            for policy, texts in facts.items():
                kind = json.loads(policy)["kind"]
                for text, count in texts.items():
                    found.append((kind, json.loads(text).get("result", ""), count))
        return sorted(found)

    def facts(self) -> dict[str, Any]:
        """The one thing that was noted."""
        ((_, facts),) = self.collected.read(day_of(NOW)).items()
        ((policy, texts),) = facts.items()
        ((text, _),) = texts.items()
        return {**json.loads(policy), **json.loads(text)}


@pytest.fixture
def watch(bench: Bench, tmp_path: Path, authority: Any) -> Watch:
    bench.authorities = str(tmp_path / "authority.pem")
    authority.cert_pem.write_to_path(bench.authorities)
    return Watch(bench, tmp_path)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lines.append)
    return lines


def serving(authority: Any, name: str = "one.test", **extra: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name, **extra).configure_cert(context)
    return context


def test_a_session_with_tls_went_well(watch: Watch, peers: Peers, authority: Any) -> None:
    peers([TLS_HELLO + TAKE + TAKE + BYE], context=serving(authority))
    watch.begin("one")
    for _ in range(2):  # the second message goes over the same session
        assert watch.bench.run("bob@example.net")[0][1] == "relayed"
    assert watch.noted() == [("no-policy-found", "", 1)]


def test_without_starttls(watch: Watch, peers: Peers) -> None:
    peers([HELLO + TAKE + BYE])
    watch.begin("one")
    assert watch.bench.run("bob@example.net")[0][1] == "relayed"
    assert watch.noted() == [("no-policy-found", "starttls-not-supported", 1)]
    facts = watch.facts()
    assert (facts["exchanger"], facts["address"]) == ("one.test", "127.0.0.2")
    assert facts["source"].startswith("127.0.0.")


def test_who_does_not_ask_is_not_noted(watch: Watch, peers: Peers) -> None:
    peers([HELLO + TAKE + BYE])
    watch.begin("one", asks=False)
    assert watch.bench.run("bob@example.net")[0][1] == "relayed"
    assert watch.noted() == []


@pytest.mark.parametrize(
    ("certificate", "result"),
    [
        ({"name": "one.test"}, ""),
        ({"name": "other.test"}, "certificate-host-mismatch"),
        ({"name": "one.test", "not_after": "past"}, "certificate-expired"),
        ({"name": "one.test", "stranger": True}, "certificate-not-trusted"),
    ],
)
@pytest.mark.parametrize("mode", ["enforce", "testing"])
def test_mta_sts_is_tested_and_enforced(
    *, watch: Watch, peers: Peers, authority: Any, said: list[str], mode: str,
    certificate: dict[str, Any], result: str,
) -> None:  # fmt: skip
    import datetime

    import trustme

    extra = dict(certificate)
    issuer = trustme.CA() if extra.pop("stranger", False) else authority
    if extra.pop("not_after", ""):
        extra["not_after"] = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    context = serving(issuer, **extra)
    again = [TLS_HELLO + TAKE + BYE] if result and mode == "testing" else []
    first = BROKEN if result else TLS_HELLO + TAKE + BYE
    peers([first, *again], context=context)
    watch.file = POLICY.format(mode, "*.test")
    watch.begin("one")
    ((_, action, _, _),) = watch.bench.run("bob@example.net")
    assert action == ("delayed" if result and mode == "enforce" else "relayed")
    assert watch.noted() == [("sts", result, 1)]
    facts = watch.facts()
    assert facts["lines"] == ["version: STSv1", f"mode: {mode}", "mx: *.test", "max_age: 1000"]
    assert facts["patterns"] == ["*.test"]
    unverified = [line for line in said if line.startswith("unverified ")]
    assert len(unverified) == len(again)


def test_a_handshake_that_breaks(watch: Watch, peers: Peers, said: list[str]) -> None:
    """In testing mode it is tried without checks, then in plaintext."""
    watch.file = POLICY.format("testing", "*.test")
    peers([BROKEN, BROKEN, HELLO + TAKE + BYE], context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    watch.begin("one")
    assert watch.bench.run("bob@example.net")[0][1] == "relayed"
    assert watch.noted() == [("sts", "validation-failure", 1)]
    words = [line.partition(" ")[0] for line in said]
    assert words.count("unverified") == 1
    assert words.count("unsecured") == 1


def test_a_connection_that_breaks_over_starttls(watch: Watch, peers: Peers) -> None:
    """It was offered: whoever breaks it off is no host without TLS."""
    broken = TLS_HELLO.partition("S: 220 go")[0] + "*** end\n"
    peers([broken, HELLO + TAKE + BYE])
    watch.begin("one")
    assert watch.bench.run("bob@example.net")[0][1] == "relayed"
    assert watch.noted() == [("no-policy-found", "validation-failure", 1)]
    assert "Lost the connection" in watch.facts()["reason"]


def secure(bench: Bench, tlsa: str) -> str:
    name = f"_{bench.port}._tcp.one.test"
    bench.dns.zone[name] = {"TLSA": [tlsa]}
    bench.dns.secure |= {"example.net", "one.test", name}
    return name


def test_dane_that_matches_nothing(watch: Watch, peers: Peers, authority: Any) -> None:
    peers([BROKEN], context=serving(authority))
    watch.begin("one")
    secure(watch.bench, "3 1 1 " + "ab" * 32)
    assert watch.bench.run("bob@example.net")[0][1] == "delayed"
    assert watch.noted() == [("tlsa", "certificate-host-mismatch", 1)]
    assert watch.facts()["lines"] == ["3 1 1 " + "ab" * 32]


def test_dane_without_starttls(watch: Watch, peers: Peers) -> None:
    peers([HELLO + BYE])
    watch.begin("one")
    secure(watch.bench, "3 1 1 " + "ab" * 32)
    assert watch.bench.run("bob@example.net")[0][1] == "delayed"
    assert watch.noted() == [("tlsa", "starttls-not-supported", 1)]


def test_records_nobody_can_use(watch: Watch, peers: Peers, authority: Any) -> None:
    peers([TLS_HELLO + TAKE + BYE], context=serving(authority))
    watch.begin("one")
    secure(watch.bench, "1 1 1 " + "ab" * 32)
    assert watch.bench.run("bob@example.net")[0][1] == "relayed"
    assert watch.noted() == [("tlsa", "tlsa-invalid", 1)]


def test_tlsa_records_that_cannot_be_found_out(watch: Watch, peers: Peers) -> None:
    peers()
    watch.begin("one")
    watch.bench.dns.faults[secure(watch.bench, "3 1 1 00")] = "SERVFAIL"
    assert watch.bench.run("bob@example.net")[0][1] == "delayed"
    assert watch.noted() == [("tlsa", "dnssec-invalid", 1)]


def test_dane_that_the_operator_requires(watch: Watch, peers: Peers) -> None:
    peers()
    watch.table = {"example.net": "dane"}
    watch.begin("one")
    assert watch.bench.run("bob@example.net")[0][1] == "delayed"
    assert watch.noted() == [("tlsa", "dane-required", 1)]


@pytest.mark.parametrize(
    ("trouble", "result"),
    [
        (NoAnswer("down"), "sts-policy-fetch-error"),
        (TlsTrouble("expired"), "sts-webpki-invalid"),
        ("nonsense", "sts-policy-invalid"),
    ],
)
def test_a_policy_that_cannot_be_had(
    watch: Watch, peers: Peers, trouble: str | Exception, result: str
) -> None:
    peers([HELLO + TAKE + BYE])
    watch.file = trouble
    watch.begin("one")
    assert watch.bench.run("bob@example.net")[0][1] == "relayed"
    assert watch.noted() == [
        ("no-policy-found", "starttls-not-supported", 1), ("sts", result, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(("mode", "action"), [("enforce", "delayed"), ("testing", "relayed")])
def test_an_exchanger_beside_the_policy(watch: Watch, peers: Peers, mode: str, action: str) -> None:
    peers(*([] if action == "delayed" else [[HELLO + TAKE + BYE]]))
    watch.file = POLICY.format(mode, "mx.other.test")
    watch.begin("one")
    assert watch.bench.run("bob@example.net")[0][1] == action
    assert watch.noted() == [("sts", "validation-failure", 1)]


def test_reports_are_not_noted(watch: Watch, peers: Peers, tmp_path: Path) -> None:
    peers([HELLO + TAKE.replace("alice@example.org", "") + BYE])
    watch.begin("one")
    envelope = Envelope("", (ForwardPath("bob@example.net"),), {}, REPORT)
    (tmp_path / "1").write_bytes(encode(envelope) + b"Subject: hello\n\nText.\n")
    watch.bench.start(Job("1", str(tmp_path / "1"), "", ("bob@example.net",)))
    assert watch.bench.finish()[0][1] == "relayed"
    assert watch.noted() == []


def test_what_goes_in_the_clear_by_its_own_wish_is_not_noted(watch: Watch, peers: Peers) -> None:
    peers([HELLO + TAKE.replace("C: Subject", "C: TLS-Required: No\nC: Subject") + BYE])
    watch.begin("one")
    data = b"TLS-Required: No\nSubject: hello\n\nText.\n"
    assert watch.bench.run("bob@example.net", data=data)[0][1] == "relayed"
    assert watch.noted() == []


def test_a_host_that_is_not_there_says_nothing_of_tls(watch: Watch, peers: Peers) -> None:
    peers()
    watch.begin("one")
    assert watch.bench.run("bob@example.net")[0][1] == "delayed"
    assert watch.noted() == []


def test_a_greeting_that_refuses_says_nothing_of_tls(watch: Watch, peers: Peers) -> None:
    peers(["S: 421 busy\nC: QUIT\nS: 221 bye\n"])
    watch.begin("one")
    assert watch.bench.run("bob@example.net")[0][1] == "delayed"
    assert watch.noted() == []
