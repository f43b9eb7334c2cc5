"""A site for a test: control folder, queue and Maildirs under one folder, and the real commands."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
BIN = ROOT / "bin"

settings.register_profile(
    "mailtools", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.load_profile("mailtools")


@dataclass
class Server:
    """A listener of ours: its process and where it listens."""

    process: subprocess.Popen[bytes]
    host: str
    port: int

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    def log_line(self, start: str) -> str:
        """Wait for a log line that begins so, and give it."""
        return wait_for_line(self.process, start)


@dataclass
class Site:
    """Everything a mail host has on disk, and its commands as processes."""

    root: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.etc = self.root / "etc"
        self.spool = self.root / "spool"
        self.homes = self.root / "homes"
        for folder in (self.etc, self.spool, self.homes):
            folder.mkdir()
        self.set("me", "mail.example.org")
        self.set("locals", "example.org")
        self.set("maildir", f"{self.homes}/%u/Maildir")
        if os.geteuid() == 0:
            self.set("mailbox-owner", "root")

    @property
    def queue(self) -> Path:
        return self.spool / "queue"

    def set(self, name: str, *lines: str) -> Path:
        """Write a control file."""
        path = self.etc / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def account(self, name: str, password: str = "secret") -> Path:
        """Add an account, and give the path of its Maildir."""
        with (self.etc / "accounts").open("a") as file:
            file.write(f"{name}:{{PLAIN}}{password}\n")
        (self.etc / "accounts").chmod(0o600)
        return self.homes / name / "Maildir"

    def messages(self, name: str) -> list[bytes]:
        """All messages in an account's Maildir, new ones first."""
        maildir = self.homes / name / "Maildir"
        return [p.read_bytes() for sub in ("new", "cur") for p in sorted((maildir / sub).glob("*"))]

    @property
    def environ(self) -> dict[str, str]:
        return {
            **os.environ,
            "MAILTOOLS_ETC": str(self.etc),
            "MAILTOOLS_SPOOL": str(self.spool),
            "PATH": f"{BIN}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        }

    def run(
        self, command: str, *arguments: str, input: bytes = b"", **extra: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, with `input` on a pipe; what it printed is captured."""
        return subprocess.run(
            [sys.executable, str(BIN / command), *arguments],
            input=input,
            capture_output=True,
            env=extra.pop("env", self.environ),
            timeout=extra.pop("timeout", 60),
            check=False,
            **extra,
        )

    def start(self, command: str, *arguments: str, **extra: Any) -> subprocess.Popen[bytes]:
        """Start a command that stays; it is killed when the test ends."""
        process = subprocess.Popen(
            [sys.executable, str(BIN / command), *arguments],
            env=extra.pop("env", self.environ),
            stderr=extra.pop("stderr", subprocess.PIPE),
            stdin=extra.pop("stdin", subprocess.DEVNULL),
            **extra,
        )
        self.running.append(process)
        return process

    def listen(self, command: str, *arguments: str, host: str = "127.0.0.1") -> Server:
        """Start a server on a port of its own choice."""
        process = self.start(command, "--listen", f"{host}:0", *arguments)
        line = wait_for_line(process, "listening ")
        match = re.search(r"address=\S+:([0-9]+)", line)
        assert match, line
        return Server(process, host, int(match[1]))

    def tls(self, certificate: Any) -> None:
        """Give the servers a certificate (see the fixture `authority`)."""
        path = self.etc / "certificate.pem"
        path.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        key = self.etc / "key.pem"
        key.write_bytes(certificate.private_key_pem.bytes())
        self.set("tls-certificate", str(path))
        self.set("tls-key", str(key))

    def stop(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()


def wait_for_line(process: subprocess.Popen[bytes], start: str) -> str:
    """Read a process' stderr up to a line that begins so."""
    assert process.stderr
    seen = []
    for raw in process.stderr:
        line = raw.decode("utf-8", "replace").rstrip("\n")
        if line.startswith(start):
            return line
        seen.append(line)
    raise AssertionError(f"no line {start!r} from the process:\n" + "\n".join(seen))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A mail host in a folder of its own."""
    made = Site(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def open_site() -> Iterator[Site]:
    """The same where whoever root becomes can go in: pytest's own folder is root's alone."""
    root = Path(tempfile.mkdtemp(prefix="mailtools-"))
    root.chmod(0o755)
    made = Site(root)
    yield made
    made.stop()
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def authority() -> Any:
    """A certificate authority for the tests."""
    trustme = pytest.importorskip("trustme")
    return trustme.CA()


@pytest.fixture
def secure_site(site: Site, authority: Any) -> Site:
    """A mail host that has a certificate for its name and for loopback."""
    site.tls(authority.issue_cert("mail.example.org", "localhost", "127.0.0.1"))
    return site
