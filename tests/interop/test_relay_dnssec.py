"""DANE with real DNSSEC: zones that ldns signed, NSD serves and Unbound validates; TLS peers are
Postfix and smtpd-accept. The hosts are network namespaces that the test makes; needs root.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from bench.postfix import Postfix
from conftest import BIN, Site, wait_for_line
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from netns import THERE, can_make_namespaces, inside, two_namespaces
from signed import SignedDns, Zone, missing

pytestmark = pytest.mark.skipif(
    bool(missing()) or not shutil.which("postfix") or not can_make_namespaces(),
    reason=f"needs root, iproute2, postfix and {', '.join(missing()) or 'all of DNSSEC'}",
)

POSTFIX, OURS, CLOSED = THERE
GOOD = """\
ee MX 10 mx-ee
mx-ee A {POSTFIX}
_25._tcp.mx-ee TLSA 3 1 1 {key}
rolled MX 10 mx-rolled
mx-rolled A {POSTFIX}
_25._tcp.mx-rolled TLSA 3 1 1 {other}
_25._tcp.mx-rolled TLSA 3 1 1 {key}
ta MX 10 mx-ta
mx-ta A {OURS}
_25._tcp.mx-ta TLSA 2 0 1 {authority}
name MX 10 mx-name
mx-name A {OURS}
_25._tcp.mx-name TLSA 2 0 1 {authority}
wrong MX 10 mx-wrong
mx-wrong A {POSTFIX}
_25._tcp.mx-wrong TLSA 3 1 1 {other}
second MX 10 mx-wrong
second MX 20 mx-ee
alias MX 10 mx-alias
mx-alias CNAME mx-ee
away MX 10 mx-away
mx-away CNAME mx.plain.test.
_25._tcp.mx-away TLSA 3 1 1 {key}
half MX 10 mx.plain.test.
cname MX 10 mx-cname
mx-cname A {POSTFIX}
_25._tcp.mx-cname CNAME key
key TLSA 3 1 1 {key}
unusable MX 10 mx-unusable
mx-unusable A {POSTFIX}
_25._tcp.mx-unusable TLSA 1 1 1 {other}
none MX 10 mx-none
mx-none A {POSTFIX}
implicit A {POSTFIX}
_25._tcp.implicit TLSA 3 1 1 {key}
broken MX 10 mx.tampered.test.
"""
PLAIN = """\
@ MX 10 mx
mx A {POSTFIX}
_25._tcp.mx TLSA 3 1 1 {other}
"""
LATE = """\
@ MX 10 mx
mx A {POSTFIX}
"""
TAMPERED = """\
@ MX 10 mx
mx A {POSTFIX}
_25._tcp.mx TLSA 3 1 1 {key}
"""


class Case(NamedTuple):
    """What becomes of mail for a domain, by which exchanger, and what TLS was asked for."""

    domain: str
    report: str
    level: str = ""
    host: str = ""
    said: str = ""


CASES = [
    # An end entity's key is all that counts: Postfix' certificate is out of date, for nobody.
    Case("ee.good.test", "relayed 2.0.0", "dane", "mx-ee.good.test"),
    Case("rolled.good.test", "relayed 2.0.0", "dane", "mx-rolled.good.test"),
    Case("implicit.good.test", "relayed 2.0.0", "dane", "implicit.good.test"),
    Case("ta.good.test", "relayed 2.0.0", "dane", "mx-ta.good.test"),
    Case("name.good.test", "delayed 4.7.5", "dane", "mx-name.good.test", "no TLSA record (DANE)"),
    Case("wrong.good.test", "delayed 4.7.5", "dane", "mx-wrong.good.test", "no TLSA record (DANE)"),
    Case("second.good.test", "relayed 2.0.0", "dane", "mx-ee.good.test"),
    Case("alias.good.test", "relayed 2.0.0", "dane", "mx-alias.good.test"),
    Case("away.good.test", "relayed 2.0.0", "dane", "mx-away.good.test"),
    Case("cname.good.test", "relayed 2.0.0", "dane", "mx-cname.good.test"),
    Case("unusable.good.test", "relayed 2.0.0", "encrypt", "mx-unusable.good.test"),
    Case("none.good.test", "relayed 2.0.0", "may", "mx-none.good.test"),
    # RFC 7672 2.2: all on the way has to be signed.
    Case("half.good.test", "relayed 2.0.0", "may", "mx.plain.test"),
    Case("plain.test", "relayed 2.0.0", "may", "mx.plain.test"),
    Case("expired.test", "delayed 4.4.3", said="DNSSEC signatures do not hold"),
    Case("tampered.test", "delayed 4.4.3", said="DNSSEC signatures do not hold"),
    Case("broken.good.test", "delayed 4.4.3", said="DNSSEC signatures do not hold"),
]


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


class World(NamedTuple):
    here: Site
    namespace: str

    def run(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*inside(self.namespace), sys.executable, str(BIN / command), *words],
            input="Subject: by DANE\n\nhello\n", text=True, env=self.here.environ,
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: Any, authority: Any) -> Iterator[World]:
    """A sender with a validating resolver, and a host with Postfix and smtpd-accept."""
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    stranger = type(authority)()
    theirs = stranger.issue_cert("nobody.test", not_before=long_ago, not_after=long_ago)
    certificate = load_pem_x509_certificate(theirs.cert_chain_pems[0].bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    root = load_pem_x509_certificate(authority.cert_pem.bytes())
    facts = {
        "key": digest(key), "other": "ab" * 32, "POSTFIX": POSTFIX, "OURS": OURS,
        "authority": digest(root.public_bytes(Encoding.DER)),
    }  # fmt: skip
    zones = {
        "good.test": Zone(GOOD.format(**facts)),
        "plain.test": Zone(PLAIN.format(**facts), signed=False),
        "expired.test": Zone(LATE.format(**facts), until="20200201"),
        "tampered.test": Zone(TAMPERED.format(**facts), tampered=(facts["key"], facts["other"])),
    }
    folder = tmp_path_factory.mktemp("dnssec")
    for name in ("dns", "here", "there"):
        (folder / name).mkdir()
    here, there = Site(folder / "here"), Site(folder / "there")
    here.set("resolver", "127.0.0.1")
    here.set("tls-memory", "0")  # mail-route tells what DNS says, not what was met
    there.set("me", "mx-ta.good.test")
    there.set("locals", "ta.good.test", "name.good.test")
    there.account("bob")
    ours = authority.issue_cert("mx-ta.good.test")
    there.tls(ours)
    with (there.etc / "certificate.pem").open("ab") as file:
        file.write(authority.cert_pem.bytes())  # what a `2` record names has to be sent
    postfix_root = Path("/tmp") / f"mailtools-dnssec-{os.getpid()}"  # Postfix reads as its user
    pem = folder / "postfix.pem"
    theirs.private_key_and_cert_chain_pem.write_to_path(str(pem))
    with two_namespaces() as (near, far), SignedDns(folder / "dns", zones, inside(near)):
        extra = (
            f"inet_interfaces = {POSTFIX}\nsmtpd_tls_security_level = may\n"
            f"smtpd_tls_chain_files = {pem}\nmynetworks = 192.0.2.0/24\n"
            "default_transport = discard:taken"
        )
        postfix = Postfix(postfix_root, extra=extra, at=f"{POSTFIX}:25", within=inside(far))
        postfix.start()
        try:
            process = subprocess.Popen(
                [*inside(far), sys.executable, str(BIN / "smtpd-accept"), "--listen", f"{OURS}:25"],
                env=there.environ, stderr=subprocess.PIPE,
            )  # fmt: skip
            there.running.append(process)
            wait_for_line(process, "listening")
            yield World(here, near)
        finally:
            there.stop()
            postfix.stop()
            shutil.rmtree(postfix_root, ignore_errors=True)


@pytest.fixture(scope="module")
def sent(world: World) -> tuple[dict[str, list[str]], str]:
    """One message to them all: the report of each domain, and the log."""
    done = world.run(
        "relay-send", "--from", "alice@example.org", *(f"bob@{case.domain}" for case in CASES)
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {row[1].partition("@")[2]: row[2:] for row in rows}, done.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.domain)
def test_what_is_signed_decides(sent: tuple[dict[str, list[str]], str], case: Case) -> None:
    reports, log = sent
    action, status, text = reports[case.domain]
    assert f"{action} {status}" == case.report, (text, log)
    assert case.said in text
    if case.host:
        attempts = [line for line in log.splitlines() if f" peer={case.host}[" in line]
        assert attempts
        assert f" tls_wanted={case.level} " in attempts[-1]
        if action == "relayed":
            assert " tls=TLSv1.3 " in attempts[-1]


LABELS = {
    "dane": "dane: a certificate that their TLSA records name",
    "encrypt": "encrypt: any certificate will do",
    "may": "may: encrypted where they can",
}


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, str]:
    """What mail-route says of each domain."""
    done = world.run("mail-route", *(f"bob@{case.domain}" for case in CASES))
    assert done.returncode == os.EX_TEMPFAIL, (done.stdout, done.stderr)
    parts = re.split(r"^address +bob@", done.stdout, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part for part in parts}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.domain)
def test_mail_route_says_it_before(told: dict[str, str], case: Case) -> None:
    text = told[case.domain]
    if case.level:
        tries = [line for line in text.splitlines() if f"{case.host}[" in line]
        assert LABELS[case.level] in tries[-1]
        assert (", signed (DNSSEC)" in text) == case.domain.endswith(".good.test")
    else:
        assert case.said in text


def test_mail_route_finds_the_wrong_certificate_at_the_door(world: World) -> None:
    done = world.run("mail-route", "--dial", "bob@wrong.good.test")
    assert done.returncode == os.EX_TEMPFAIL
    assert "The certificate matches no TLSA record (DANE)" in done.stdout
