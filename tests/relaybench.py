"""A relay in the test's own process, with its DNS, and peers that follow scripts."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import transcript
from dnsserver import DnsServer
from smtpsink import Sink

from mailtools.mail.envelope import Envelope, ForwardPath, encode
from mailtools.mail.report import Report
from mailtools.net.dns import Resolver
from mailtools.net.loop import Loop
from mailtools.protocol.smtp.transaction import Login
from mailtools.services.agent import Job
from mailtools.services.relay.agent import RelayAgent
from mailtools.services.relay.connections import Pool
from mailtools.services.relay.families import Families
from mailtools.services.relay.relay import Relay
from mailtools.services.relay.route import Routes, parse_route
from mailtools.services.relay.signing import Signing
from mailtools.services.relay.source import Sources
from mailtools.services.relay.tls_floor import TlsFloor
from mailtools.services.relay.tls_policy import Contexts
from mailtools.services.relay.tls_rules import TlsRules

MESSAGE = b"Subject: hello\n\nText.\n"
SAID = "Subject: hello\r\nText.\r\n"


@dataclass
class Bench:
    """A relay in this process, its DNS, and jobs from entries in a folder."""

    folder: Path
    dns: DnsServer
    port: int = 25
    routes: dict[str, str] = field(default_factory=dict)
    via: str = ""
    login: Login | None = None
    credentials: Any = None
    authorities: str = ""
    slots: int = 20
    rules: TlsRules | None = None
    sessions: Any = None
    senders: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, tuple[str, ...]] = field(default_factory=dict)
    families: Families | None = None
    signing: Signing | None = None
    floor: TlsFloor | None = None
    dns_timeout: float = 0.5

    def __post_init__(self) -> None:
        self.loop = Loop()
        self.reports: list[tuple[str, Report]] = []
        self.count = 0
        self._relay: Relay | None = None

    def resolver(self) -> Resolver:
        return Resolver(self.dns.at, timeout=self.dns_timeout, attempts=1)

    @property
    def relay(self) -> Relay:
        if self._relay is None:
            contexts = Contexts(self.authorities)
            self.pool = Pool(self.loop, "relay.example.org", contexts.context, slots=self.slots)
            via = parse_route(self.via) if self.via else None
            self._relay = Relay(
                self.loop,
                self.pool,
                Routes(self.routes, via=via, senders=self.senders, sources=Sources(self.sources)),
                self.resolver,
                credentials=self.credentials or ((lambda *_: self.login) if self.login else None),
                rules=self.rules,
                sessions=self.sessions,
                signing=self.signing,
                ignored=self.ignored,
                families=self.families,
                floor=self.floor,
                port=self.port,
            )
        return self._relay

    def job(
        self,
        *paths: str,
        data: bytes = MESSAGE,
        parameters: Any = None,
        sender: str = "alice@example.org",
    ) -> Job:
        self.count += 1
        envelope = Envelope(sender, tuple(ForwardPath(path) for path in paths), parameters or {})
        file = self.folder / str(self.count)
        file.write_bytes(encode(envelope) + data)
        return Job(str(self.count), str(file), sender, paths)

    def start(self, job: Job) -> None:
        self.relay.start(job, lambda report: self.reports.append((job.name, report)))

    def finish(self) -> list[tuple[str, str, str, str]]:
        """Wait for all reports; give path, action, status, text of each, sorted."""
        self.loop.run_until(lambda: not self.relay.at_work)
        found = [
            (report.forward_path, report.action, report.status, report.text)
            for _, report in self.reports
        ]
        self.reports.clear()
        return sorted(found)

    def run(self, *paths: str, **extra: Any) -> list[tuple[str, str, str, str]]:
        self.start(self.job(*paths, **extra))
        return self.finish()

    def leave(self) -> None:
        if self._relay is not None:
            RelayAgent(self.loop, self.pool, self._relay)._say_goodbye()


def script(text: str) -> transcript.Transcript:
    """Read a dialog written in a test; `GO` stands for a transaction that is relayed."""
    path = Path("in the test")
    made = transcript.Transcript(path)
    for line in map(str.strip, text.strip().splitlines()):
        if line.startswith("***"):
            made.turns.append(transcript.Turn(line[3:].strip()))
        else:
            transcript._add(made, line, line[0] == "C")
    return made


HELLO = """S: 220 mx
C: EHLO relay.example.org
S: 250-mx
S: 250 PIPELINING
"""
TAKE = """C: MAIL FROM:<alice@example.org>
C: RCPT TO:<bob@example.net>
C: DATA
S: 250 ok
S: 250 ok
S: 354 go
C: Subject: hello
C:
C: Text.
C: .
S: 250 taken
"""
TLS_HELLO = """S: 220 mx
C: EHLO relay.example.org
S: 250-mx
S: 250 STARTTLS
C: STARTTLS
S: 220 go
*** tls
C: EHLO relay.example.org
S: 250-mx
S: 250-AUTH PLAIN
S: 250 PIPELINING
"""
STEPWISE = """C: MAIL FROM:<alice@example.org>
S: 250 ok
C: RCPT TO:<bob@example.net>
S: 250 ok
C: DATA
S: 354 go
C: Subject: hello
C:
C: Text.
C: .
S: 250 taken
"""
LATER = """C: MAIL FROM:<alice@example.org>
C: RCPT TO:<bob@example.net>
C: DATA
S: 250 ok
S: 450 4.2.0 later
S: 503 no
"""
NEVER = LATER.replace("450 4.2.0 later", "550 5.1.1 never")
BYE = """C: QUIT
S: 221 bye
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def zone(bench: Bench, *hosts: str, domain: str = "example.net") -> None:
    """Give a domain exchangers at 127.0.0.2, 127.0.0.3 …, in this order."""
    bench.dns.zone[domain] = {"MX": [f"{n}0 {host}.test." for n, host in enumerate(hosts, 1)]}
    for number, host in enumerate(hosts, 2):
        bench.dns.zone[f"{host}.test"] = {"A": [f"127.0.0.{number}"]}


Peers = Callable[..., list[Sink]]
