"""Strangers as clients of smtpd-accept: swaks, curl, msmtp, smtp-source."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, Site

MESSAGE = b"From: alice@example.org\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\n.dot\r\n"


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program}")


def run(*command: str, **extra: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **extra)


def messages(site: Site) -> list[bytes]:
    found = sorted((site.queue / "new").iterdir())
    return [path.read_bytes().partition(b"\n\n")[2] for path in found]


@pytest.fixture
def server(secure_site: Site) -> Server:
    for user in ("alice", "bob"):
        secure_site.account(user)
    return secure_site.listen("smtpd-accept", "--submission")


@pytest.fixture
def trust(authority: Any, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return path


@needs("swaks")
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_submits(secure_site: Site, server: Server, trust: Path, mechanism: str) -> None:
    done = run(
        "swaks", "--server", f"{server.host}:{server.port}", "--tls", "--tls-verify",
        "--tls-ca-path", str(trust), "--auth", mechanism, "--auth-user", "alice",
        "--auth-password", "secret", "--from", "alice@example.org", "--to", "bob@example.org",
        "--add-header", "X-Test: 1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (message,) = messages(secure_site)
    assert b"\nX-Test: 1\n" in message
    assert b" with ESMTPSA id " in message


@needs("swaks")
def test_swaks_is_refused_without_a_login(secure_site: Site, server: Server) -> None:
    done = run(
        "swaks", "--server", f"{server.host}:{server.port}", "--from", "alice@example.org",
        "--to", "bob@example.org", "--pipeline",
    )  # fmt: skip
    assert done.returncode == 23, done.stdout
    assert messages(secure_site) == []


@needs("curl")
def test_curl_submits(secure_site: Site, server: Server, trust: Path, tmp_path: Path) -> None:
    (tmp_path / "message").write_bytes(MESSAGE)
    done = run(
        "curl", "-sS", "--url", f"smtp://{server.host}:{server.port}", "--ssl-reqd",
        "--cacert", str(trust), "--user", "alice:secret", "--mail-from", "alice@example.org",
        "--mail-rcpt", "bob@example.org", "--mail-rcpt", "eve@example.net",
        "--upload-file", str(tmp_path / "message"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (message,) = messages(secure_site)
    assert message.endswith(b"\n\n.dot\n")


@needs("msmtp")
def test_msmtp_submits(secure_site: Site, server: Server, trust: Path) -> None:
    done = run(
        "msmtp", f"--host={server.host}", f"--port={server.port}", "--tls=on", "--auth=plain",
        f"--tls-trust-file={trust}", "--user=alice", "--passwordeval=echo secret",
        "--from=alice@example.org", "bob@example.org", input=MESSAGE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(messages(secure_site)) == 1


@needs("smtp-source")
def test_many_sessions_at_a_time_lose_nothing(site: Site) -> None:
    site.account("bob")
    server = site.listen("smtpd-accept", "--limit", "20")
    done = run(
        "smtp-source", "-s", "20", "-m", "300", "-l", "3000", "-f", "alice@example.com",
        "-t", "bob@example.org", f"{server.host}:{server.port}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = messages(site)
    assert len(found) == 300
    assert all(len(message) >= 3000 for message in found)
