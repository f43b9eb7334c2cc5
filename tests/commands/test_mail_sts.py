"""mail-sts: the file it writes, the records it prints, when it refuses; what check tells."""

import copy
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Site, wait_for_line
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from dnsserver import DnsServer
from netns import can_make_namespaces, inside, two_namespaces

MX, REPORTS = "mail.example.org", '"v=TLSRPTv1; rua=mailto:postmaster@example.org"'
ZONE = {"example.org": {"MX": [f"10 {MX}."]}, MX: {"A": ["127.0.0.1"]}}
Sts = Any


@pytest.fixture
def dns(site: Site) -> Iterator[DnsServer]:
    with DnsServer(copy.deepcopy(ZONE)) as server:
        site.set("resolver", server.at)
        site.set("mta-sts-folder", str(site.root / "www"))
        yield server


@pytest.fixture
def sts(site: Site) -> Sts:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = site.run("mail-sts", *arguments)
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


def policy_of(site: Site) -> Path:
    return site.root / "www/mta-sts.example.org/.well-known/mta-sts.txt"


def id_in(text: str) -> str:
    match = re.search(
        r'^(?:; )?_mta-sts\.example\.org\. IN TXT "v=STSv1; id=(\w{1,32});"', text, re.M
    )
    assert match
    return match[1]


def test_the_first_policy_tests(site: Site, dns: DnsServer, sts: Sts) -> None:
    code, said, _ = sts("set", "Example.ORG")
    assert code == 0
    file = policy_of(site)
    assert file.read_bytes() == (
        b"version: STSv1\r\nmode: testing\r\nmx: mail.example.org\r\nmax_age: 86400\r\n"
    )
    assert file.stat().st_mode & 0o777 == 0o644
    first, *records = said.splitlines()
    assert first == f"; {file}: written"
    assert records == [
        f"mta-sts.example.org. IN CNAME {(site.etc / 'me').read_text().strip()}.",
        f'_mta-sts.example.org. IN TXT "v=STSv1; id={id_in(said)};"',
        f"_smtp._tls.example.org. IN TXT {REPORTS}",
    ]


def test_the_id_changes_with_the_policy_alone(site: Site, dns: DnsServer, sts: Sts) -> None:
    first = sts("set", "example.org")[1]
    again = sts("set", "example.org")[1]
    assert "as it was" in again
    assert id_in(again) == id_in(first)
    dns.zone["example.org"]["MX"].append("20 backup.example.net.")
    more = sts("set", "example.org")[1]
    assert "written" in more
    assert id_in(more) != id_in(first)
    assert b"mx: backup.example.net\r\n" in policy_of(site).read_bytes()
    assert "after 86400 seconds" in sts("set", "example.org", "--mode", "none")[1]


def test_records_that_are_there_are_comments(dns: DnsServer, sts: Sts) -> None:
    said = sts("set", "example.org", "--web", "www.example.org", "--max-age", "3d")[1]
    assert "\nmta-sts.example.org. IN CNAME www.example.org.\n" in said
    dns.zone["_mta-sts.example.org"] = {"TXT": [f'"v=STSv1; id={id_in(said)};"']}
    dns.zone["mta-sts.example.org"] = {"CNAME": ["www.example.org."]}
    dns.zone["www.example.org"] = {"A": ["127.0.0.1"]}
    dns.zone["_smtp._tls.example.org"] = {"TXT": [REPORTS]}
    again = sts("set", "example.org")[1]
    assert all(line.startswith("; ") for line in again.splitlines())
    changed = sts("set", "example.org", "--max-age", "4d")[1]
    assert [line for line in changed.splitlines() if not line.startswith(";")] == [
        f'_mta-sts.example.org. IN TXT "v=STSv1; id={id_in(changed)};"'
    ]


def test_nothing_is_enforced_that_would_keep_mail_away(
    site: Site, dns: DnsServer, sts: Sts
) -> None:
    sts("set", "example.org")
    before = policy_of(site).read_bytes()
    code, _, said = sts("set", "example.org", "--mode", "enforce", "--mx", "other.example.org")
    assert code == os.EX_DATAERR
    assert f"{MX} is in DNS, and --mx does not name it" in said
    dns.zone[MX] = {"TXT": ['"no address"']}
    code, _, said = sts("set", "example.org", "--mode", "enforce")
    assert code == os.EX_DATAERR
    assert f"{MX} has no address" in said
    assert policy_of(site).read_bytes() == before
    assert sts("set", "example.org", "--mode", "enforce", "--unchecked")[0] == 0
    assert b"mode: enforce" in policy_of(site).read_bytes()
    assert b"max_age: 1209600" in policy_of(site).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("set",), os.EX_USAGE),
        (("check", "--mode", "none"), os.EX_USAGE),
        (("tlsa", "--wait", "1s"), os.EX_USAGE),
        (("set", "example.org", "--max-age", "soon"), os.EX_USAGE),
        (("set", "example.org", "--max-age", "600d"), os.EX_DATAERR),
        (("set", "example.org", "--mx", "not a name"), os.EX_DATAERR),
        (("set", "example.org", "--reports", "a b@c"), os.EX_USAGE),
        (("set", "../etc"), os.EX_DATAERR),
        (("set", "null.test"), 68),
        (("set", "broken.test"), os.EX_TEMPFAIL),
        (("check", "example.org"), os.EX_DATAERR),
        (("tlsa",), os.EX_CONFIG),
    ],
)
def test_what_is_refused(
    site: Site, dns: DnsServer, sts: Sts, arguments: tuple[str, ...], code: int
) -> None:
    dns.zone["null.test"] = {"MX": ["0 ."]}
    dns.faults["broken.test"] = "SERVFAIL"
    done = sts(*arguments)
    assert (done[0], done[1]) == (code, "")
    assert done[2]
    assert not (site.root / "www").exists()


def test_without_a_folder_it_says_so(site: Site, sts: Sts) -> None:
    code, _, said = sts("set", "example.org")
    assert code == os.EX_CONFIG
    assert "mta-sts-folder: is missing" in said


def test_a_policy_file_that_is_none(site: Site, dns: DnsServer, sts: Sts) -> None:
    sts("set", "example.org")
    policy_of(site).write_text("mode: sometimes\n")
    code, _, said = sts("set", "example.org")
    assert code == os.EX_CONFIG
    assert str(policy_of(site)) in said


def test_check_names_all_that_is_wrong(dns: DnsServer, sts: Sts) -> None:
    said = sts("set", "example.org")[1]
    dns.zone["_mta-sts.example.org"] = {"TXT": ['"v=STSv1; id=old;"']}
    dns.zone["example.org"]["MX"].append("20 new.example.org.")
    code, rows, _ = sts("check")
    assert code == os.EX_DATAERR
    found = {row.split("\t")[1]: row.split("\t")[2] for row in rows.splitlines()}
    assert found["record"] == f"DNS has the id old, the policy here {id_in(said)}"
    assert "has no address" in found["web"]
    assert found["mx"] == "the policy leaves out new.example.org"
    assert found["reports"].startswith("no record at _smtp._tls.example.org")


def test_tlsa_records_are_for_the_keys_of_the_certificates(
    secure_site: Site, authority: Any, sts: Sts
) -> None:
    code, said, _ = sts("tlsa", MX)
    assert code == 0
    chain = (
        secure_site.etc / (secure_site.etc / "tls-certificate").read_text().strip()
    ).read_bytes()
    key = load_pem_x509_certificate(chain).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert said == f"_25._tcp.{MX}. IN TLSA 3 1 1 {hashlib.sha256(spki).hexdigest()}\n"
    other = authority.issue_cert("mx2.example.org")
    other.private_key_and_cert_chain_pem.write_to_path(secure_site.etc / "mx2.pem")
    secure_site.set("tls-certificates", "mx2.example.org: mx2.pem")
    assert sts("tlsa", "mx2.example.org")[1] != said.replace(MX, "mx2.example.org")


SERVERS = """
import sys; sys.path.insert(0, {tests!r})
import functools, http.server, os, ssl, threading
from dnsserver import DnsServer

class Files(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path):
        return {www!r} + "/" + self.headers["Host"] + path

server = http.server.HTTPServer(("127.0.0.1", 443), Files)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({chain!r})
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
zone = {zone!r}
with DnsServer(zone) as dns:
    print("listening", dns.port, file=sys.stderr, flush=True)
    for line in sys.stdin:
        name, text = line.split(" ", 1)
        zone[name] = {{"TXT": [text.strip()]}}
        print("added", file=sys.stderr, flush=True)
"""


@pytest.mark.skipif(not can_make_namespaces(), reason="needs root and iproute2")
def test_published_served_and_enforced(secure_site: Site, authority: Any) -> None:
    """From the first record to enforcing: a real exchanger, web server and DNS, on their ports."""
    site = secure_site
    tests = str(Path(__file__).parents[1])
    chain = site.root / "web.pem"
    web = authority.issue_cert("mta-sts.example.org")
    web.private_key_and_cert_chain_pem.write_to_path(chain)
    authority.cert_pem.write_to_path(site.root / "authority.pem")
    environment = {**site.environ, "SSL_CERT_FILE": str(site.root / "authority.pem")}
    zone = {**ZONE, "mta-sts.example.org": {"A": ["127.0.0.1"]}}
    site.set("mta-sts-folder", str(site.root / "www"))
    code = SERVERS.format(tests=tests, www=str(site.root / "www"), chain=str(chain), zone=zone)
    with two_namespaces() as (here, _):

        def run(command: str, *words: str) -> tuple[int, str]:
            done = subprocess.run(
                [*inside(here), sys.executable, str(Path(tests).parent / "bin" / command), *words],
                env=environment, capture_output=True, text=True,
            )  # fmt: skip
            return done.returncode, done.stdout + done.stderr

        servers = subprocess.Popen(
            [*inside(here), sys.executable, "-c", code],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert servers.stdin
            site.set("resolver", "127.0.0.1:" + wait_for_line(servers, "listening").split()[1])
            said = run("mail-sts", "set", "example.org")[1]
            for line in said.splitlines():
                if not line.startswith(";"):
                    name, text = line.split(". IN TXT ")
                    servers.stdin.write(f"{name} {text}\n".encode())
                    servers.stdin.flush()
                    wait_for_line(servers, "added")
            code_, rows = run("mail-sts", "--wait", "20s", "check", "example.org")
            assert rows == "".join(
                f"example.org\t{what}\tok\n" for what in ("record", "web", "mx", "reports")
            )
            assert code_ == 0
            assert "MTA-STS" not in run("mail-check")[1]
            refreshed(site, run)
            code_, said = run("mail-sts", "set", "example.org", "--mode", "enforce")
            assert code_ == os.EX_DATAERR
            assert f"{MX}[127.0.0.1]" in said  # nobody listens there yet
            enforce_with_an_exchanger(site, here, environment, authority, run)
        finally:
            servers.kill()
            servers.wait()
            servers.stderr and servers.stderr.close()
            servers.stdin and servers.stdin.close()


def refreshed(site: Site, run: Any) -> None:
    """Of two policies that another server kept, one is served still, and one is not any more."""
    folder, now = site.spool / "mta-sts", time.time()
    folder.mkdir()
    text = "version: STSv1\nmode: enforce\nmx: x.test\nmax_age: 604800\n"
    for domain, age in (("example.org", 2 * 86400), ("gone.test", 2 * 86400), ("young.test", 60)):
        (folder / domain).write_text(f"old {now - age + 604800:.0f}\n{text}")
    code, said = run("mail-sts", "refresh")
    assert code == os.EX_TEMPFAIL
    assert re.fullmatch(r"gone\.test\tDNS shows no policy.*\tkept until .* UTC\n", said)
    assert "mx: mail.example.org" in (folder / "example.org").read_text()
    (folder / "gone.test").unlink()
    assert run("mail-sts", "refresh") == (0, "")
    assert run("mail-sts", "--spool", "/nonexistent", "refresh")[0] == os.EX_OSFILE


def enforce_with_an_exchanger(
    site: Site, here: str, environment: dict[str, str], authority: Any, run: Any
) -> None:
    for name, code in (("wrong.example.org", os.EX_DATAERR), (MX, 0)):
        site.tls(authority.issue_cert(name))
        exchanger = subprocess.Popen(
            [*inside(here), sys.executable, str(Path(__file__).parents[2] / "bin/smtpd-accept"),
             "--listen", "127.0.0.1:25"],
            env=environment, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            wait_for_line(exchanger, "listening")
            found, said = run("mail-sts", "set", "example.org", "--mode", "enforce")
            assert found == code, said
            assert ("nothing is written" in said) == bool(code)
        finally:
            exchanger.terminate()
            exchanger.wait()
            exchanger.stderr and exchanger.stderr.close()
    assert b"mode: enforce" in policy_of(site).read_bytes()
    found, rows = run("mail-sts", "check")
    assert found == os.EX_DATAERR  # the id in DNS is the old one
    assert "DNS has the id" in rows
    assert "MTA-STS: DNS has the id" in run("mail-check")[1]
