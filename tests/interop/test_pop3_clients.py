"""POP3 clients of other makers fetch and remove from pop3d: fetchmail, getmail6, curl, mpop."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, Site

HEADER = b"From: bob@example.net\nTo: alice@example.org\nMessage-ID: <%d@example.net>\n\n"
MESSAGES = [HEADER % 1 + b".a dot\n..two\nend\n", HEADER % 2 + b"\nno line end"]


@pytest.fixture
def served(secure_site: Site, authority: Any) -> tuple[Site, Server, Path, Path]:
    """A site that serves alice's two messages: it, its listener, her Maildir, the CA's file."""
    maildir = secure_site.account("alice")
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True)
    for number, message in enumerate(MESSAGES):
        (maildir / "new" / f"170000000{number}.M1P1R1.h").write_bytes(message)
    ca = secure_site.root / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    return secure_site, secure_site.listen("pop3d"), maildir, ca


def need(program: str) -> str:
    found = shutil.which(program)
    if not found:
        pytest.skip(f"{program} is not installed")
    return found


def run(*command: str, **extra: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20, check=False, **extra
    )


def left(maildir: Path) -> int:
    return sum(len(list((maildir / name).iterdir())) for name in ("new", "cur"))


def body(message: bytes) -> bytes:
    return message.replace(b"\r\n", b"\n").partition(b"\n\n")[2].rstrip(b"\n")


def test_curl_lists_and_retrieves(served: tuple[Site, Server, Path, Path]):
    _, server, maildir, ca = served
    url = f"pop3://localhost:{server.port}/"
    options = ("--silent", "--show-error", "--ssl-reqd", "--cacert", str(ca), "-u", "alice:secret")
    listed = run(need("curl"), *options, url)
    sizes = [len(message) + message.count(b"\n") for message in MESSAGES]
    assert listed.stdout.split() == [b"1", b"%d" % sizes[0], b"2", b"%d" % sizes[1]], listed.stderr
    got = run("curl", *options, url + "1")
    assert got.stdout.replace(b"\r\n", b"\n") == MESSAGES[0]
    gone = run("curl", *options, "--request", "DELE 1", "--head", url)
    assert gone.returncode == 0, gone.stderr
    assert left(maildir) == 1


def test_fetchmail_fetches_once(served: tuple[Site, Server, Path, Path]):
    site, server, maildir, _ = served
    out = site.root / "out"
    out.mkdir()
    rc = site.root / "fetchmailrc"
    rc.write_text(
        f"""set idfile "{site.root}/ids"
poll localhost service {server.port} protocol POP3 uidl
  user "alice" password "secret" sslproto "TLS1.2+" no sslcertck keep
  mda "sh -c 'cat > {out}/$$'"
"""
    )
    rc.chmod(0o600)
    home = {**os.environ, "HOME": str(site.root), "FETCHMAILHOME": str(site.root)}
    command = (need("fetchmail"), "-f", str(rc), "--nosyslog", "--pidfile", str(site.root / "pid"))
    first = run(*command, env=home)
    assert first.returncode == 0, (first.stdout, first.stderr)
    got = sorted(body(path.read_bytes()) for path in out.iterdir())
    assert got == sorted(body(message) for message in MESSAGES)
    again = run(*command, env=home)
    assert again.returncode == 1, (again.stdout, again.stderr)  # no new mail
    assert left(maildir) == 2


def test_getmail_fetches_and_deletes(served: tuple[Site, Server, Path, Path]):
    site, _, maildir, ca = served
    program = shutil.which("getmail") or need("getmail6")
    target = site.root / "got"
    target.mkdir()
    implicit = site.listen("pop3d", "--tls")
    rc = site.root / "getmailrc"
    rc.write_text(
        f"""[retriever]
type = SimplePOP3SSLRetriever
server = localhost
port = {implicit.port}
username = alice
password = secret
ca_certs = {ca}
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat > {target}/$$")
unixfrom = false
allow_root_commands = true
[options]
delete = true
received = false
delivered_to = false
"""
    )
    done = run(program, "--getmaildir", str(site.root), "--rcfile", str(rc))
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert sorted(body(path.read_bytes()) for path in target.iterdir()) == sorted(
        body(message) for message in MESSAGES
    )
    assert left(maildir) == 0


def test_mpop_fetches_pipelined(served: tuple[Site, Server, Path, Path]):
    site, server, maildir, ca = served
    target = site.root / "got"
    for name in ("tmp", "new", "cur"):
        (target / name).mkdir(parents=True)
    done = run(
        need("mpop"), "-C", "/dev/null", "--host=localhost", f"--port={server.port}",
        "--user=alice", "--passwordeval=echo secret", "--tls=on", "--tls-starttls=on",
        f"--tls-trust-file={ca}", "--pipelining=on", "--keep=off", "--received-header=off",
        f"--uidls-file={site.root}/uidls", f"--delivery=maildir,{target}",
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert len(list((target / "new").iterdir())) == 2
    assert left(maildir) == 0
