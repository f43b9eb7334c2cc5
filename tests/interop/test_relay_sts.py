"""MTA-STS from end to end: policies on a real web server, exchangers that keep to them or do not.

DNS, the web server and the exchangers (smtpd-accept) have hosts and ports of their own, in network
namespaces that the test makes; needs root.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import BIN, Site, wait_for_line
from netns import THERE, can_make_namespaces, inside, two_namespaces

pytestmark = pytest.mark.skipif(not can_make_namespaces(), reason="needs root and iproute2")

GOOD, WRONG, WEB = THERE
POLICY = "version: STSv1\r\nmode: {}\r\nmx: {}\r\nmax_age: 604800\r\n"

NEAR = """
import json, sys
sys.path.insert(0, {tests!r})
from dnsserver import DnsServer
with DnsServer(json.loads({zone!r}), port=53) as dns:
    print("listening", file=sys.stderr, flush=True)
    for line in sys.stdin:
        dns.zone.pop(line.strip(), None)
        print("removed", file=sys.stderr, flush=True)
"""
FAR = """
import json, socket, ssl, sys, threading
answers, chains = json.load(open({facts!r}))
contexts = {{}}
for name, path in chains.items():
    contexts[name] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    contexts[name].load_cert_chain(path)
def choose(tls, name, _):
    tls.context = contexts.get(name, contexts["wrong"])
front = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
front.load_cert_chain(chains["wrong"])
front.sni_callback = choose
def serve(sock):
    try:
        with front.wrap_socket(sock, server_side=True) as tls:
            asked = b""
            while b"\\r\\n\\r\\n" not in asked:
                asked += tls.recv(4096)
            host = asked.partition(b"Host: ")[2].partition(b"\\r\\n")[0].decode()
            known = asked.startswith(b"GET /.well-known/mta-sts.txt ")
            tls.sendall(answers[host].encode() if known else b"HTTP/1.1 404 No\\r\\n\\r\\n")
    except OSError:
        pass
server = socket.create_server(({web!r}, 443))
print("listening", file=sys.stderr, flush=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


def page(text: str, status: str = "200 OK", more: str = "") -> str:
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n{more}Connection: close\r\n\r\n{text}"


class Case(NamedTuple):
    """A domain: its exchangers, what the web server says, and what becomes of mail."""

    domain: str
    mx: str
    answer: str
    report: str
    level: str
    said: str = ""


TAKEN, WAITS, UNLISTED = "relayed 2.0.0", "delayed 4.7.5", "not in the MTA-STS policy"
ENFORCE = page(POLICY.format("enforce", "*.mx.test"))
NONE = page(POLICY.format("none", "x.test"))
TESTING = page(POLICY.format("testing", "*.mx.test"))
CASES = [
    Case("enforced.test", "10 a.mx.test.", ENFORCE, TAKEN, "verify"),
    Case("wrong.test", "10 wrong.mx.test.", ENFORCE, WAITS, "verify", "ostname mismatch"),
    Case("second.test", "10 wrong.mx.test.,20 a.mx.test.", ENFORCE, TAKEN, "verify"),
    Case("unlisted.test", "10 other.test.", ENFORCE, WAITS, "", UNLISTED),
    Case("deeper.test", "10 x.a.mx.test.", ENFORCE, WAITS, "", UNLISTED),
    Case("tested.test", "10 wrong.mx.test.", TESTING, TAKEN, "may"),
    Case("none.test", "10 wrong.mx.test.", NONE, TAKEN, "may"),
    # What cannot be had is no policy (RFC 8461 3.3).
    Case("badweb.test", "10 wrong.mx.test.", ENFORCE, TAKEN, "may", "mta-sts.badweb.test: "),
    Case("moved.test", "10 wrong.mx.test.",
         page("", "301 Moved", "Location: https://mta-sts.enforced.test/.well-known/mta-sts.txt\r\n"),
         TAKEN, "may", "said 301"),
    Case("large.test", "10 wrong.mx.test.",
         page(POLICY.format("enforce", "*.mx.test") + "x: y\r\n" * 20_000), TAKEN, "may",
         "more than 65536 octets"),
    Case("nonsense.test", "10 wrong.mx.test.", page("<html>"), TAKEN, "may", "no"),
]  # fmt: skip


class World(NamedTuple):
    site: Site
    near: str
    dns: Any
    environ: dict[str, str]

    def run(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*inside(self.near), sys.executable, str(BIN / command), *words],
            input="Subject: by MTA-STS\n\nhello\n", text=True, env=self.environ,
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip

    def send(self, *domains: str) -> tuple[dict[str, list[str]], str]:
        """Give each domain's report, and the log."""
        paths = [f"bob@{domain}" for domain in domains]
        done = self.run("relay-send", "--from", "alice@example.org", *paths)
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        return {row[1].partition("@")[2]: row[2:] for row in rows}, done.stderr

    def forget(self, name: str) -> None:
        """Take a name out of DNS."""
        self.dns.stdin.write(f"{name}\n".encode())
        self.dns.stdin.flush()
        wait_for_line(self.dns, "removed")


def zone_of(cases: list[Case]) -> dict[str, dict[str, list[str]]]:
    zone: dict[str, dict[str, list[str]]] = {
        "a.mx.test": {"A": [GOOD]}, "x.a.mx.test": {"A": [GOOD]}, "wrong.mx.test": {"A": [WRONG]},
        "other.test": {"A": [GOOD]},
    }  # fmt: skip
    for case in cases:
        zone[case.domain] = {"MX": case.mx.split(",")}
        zone[f"_mta-sts.{case.domain}"] = {"TXT": ['"v=STSv1; id=1;"']}
        zone[f"mta-sts.{case.domain}"] = {"A": [WEB]}
    return zone


@pytest.fixture(scope="module")
def world(tmp_path_factory: Any, authority: Any) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sts")
    chains = {}
    for case in CASES:
        name = f"mta-sts.{case.domain}"
        issued = authority.issue_cert("other.test" if case.domain == "badweb.test" else name)
        chains[name] = str(folder / f"{name}.pem")
        issued.private_key_and_cert_chain_pem.write_to_path(chains[name])
    chains["wrong"] = chains["mta-sts.badweb.test"]
    authority.cert_pem.write_to_path(folder / "authority.pem")
    sites = {}
    for name in ("here", "good", "wrong"):
        (folder / name).mkdir()
        sites[name] = Site(folder / name)
    here = sites.pop("here")
    here.set("resolver", "127.0.0.1")
    here.set("tls-memory", "0")
    answers = {f"mta-sts.{case.domain}": case.answer for case in CASES}
    near_code = NEAR.format(tests=str(Path(__file__).parents[1]), zone=json.dumps(zone_of(CASES)))
    (folder / "facts").write_text(json.dumps([answers, chains]))
    far_code = FAR.format(facts=str(folder / "facts"), web=WEB)
    running = []

    def start(namespace: str, *words: str, env: Any = None) -> Any:
        running.append(
            subprocess.Popen(
                [*inside(namespace), sys.executable, *words],
                stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=env,
            )
        )  # fmt: skip
        wait_for_line(running[-1], "listening")
        return running[-1]

    with two_namespaces() as (near, far):
        try:
            dns = start(near, "-c", near_code)
            start(far, "-c", far_code)
            for (name, site), address in zip(sites.items(), (GOOD, WRONG), strict=True):
                site.set("me", f"{name}.mx.test")
                site.set("locals", *(case.domain for case in CASES))
                site.account("bob")
                site.tls(authority.issue_cert("a.mx.test" if name == "good" else "wrong.test"))
                command = [str(BIN / "smtpd-accept"), "--listen", f"{address}:25"]
                start(far, *command, env=site.environ)
            environ = {**here.environ, "SSL_CERT_FILE": str(folder / "authority.pem")}
            yield World(here, near, dns, environ)
        finally:
            for process in running:
                process.kill()
                process.wait()
                process.stdin and process.stdin.close()
                process.stderr and process.stderr.close()


@pytest.fixture(scope="module")
def sent(world: World) -> tuple[dict[str, list[str]], str]:
    return world.send(*(case.domain for case in CASES))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.domain)
def test_what_a_policy_does(sent: tuple[dict[str, list[str]], str], case: Case) -> None:
    reports, log = sent
    action, status, text = reports[case.domain]
    assert f"{action} {status}" == case.report, (text, log)
    assert case.said in (text if action == "delayed" else log)
    level = [line for line in log.splitlines() if line.startswith(("relayed", "attempted"))]
    assert level
    if case.level:
        assert any(f"tls_wanted={case.level} " in line for line in level)


def test_mail_route_says_it_before(world: World) -> None:
    told = world.run(
        "mail-route", "bob@enforced.test", "bob@unlisted.test", "bob@large.test"
    ).stdout
    assert "mta-sts   enforce for *.mx.test" in told
    assert "TLS verify: a valid certificate for that name" in told
    assert "put off   4.7.5 other.test is not in the MTA-STS policy of unlisted.test" in told
    assert "no policy could be had: https://mta-sts.large.test" in told


def test_what_was_seen_before_an_attacker_came_counts(
    world: World, sent: tuple[dict[str, list[str]], str]
) -> None:
    """Neither DNS nor the web server is needed for a policy that is kept."""
    assert sent[0]["wrong.test"][0] == "delayed"
    world.forget("_mta-sts.wrong.test")
    world.forget("mta-sts.wrong.test")
    reports, log = world.send("wrong.test")
    assert reports["wrong.test"][:2] == ["delayed", "4.7.5"], log
    os.unlink(world.site.spool / "mta-sts" / "wrong.test")
    reports, log = world.send("wrong.test")
    assert reports["wrong.test"][0] == "relayed", log
