"""Real mail clients against a real imapd: mbsync, curl, mutt, imaplib; over TLS and pipes."""

import imaplib
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, Site


@pytest.fixture
def mailbox(secure_site: Site) -> Path:
    """Alice's mailbox, with three messages in it."""
    path = secure_site.account("alice")
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    for number in range(3):
        message = EmailMessage()
        message["Subject"] = f"Message {number}"
        message["From"] = "bob@example.net"
        message["Date"] = f"Tue, {number + 1} Jul 2025 10:00:00 +0000"
        message.set_content(f"This is number {number}.\n")
        (path / "new" / f"{1700000000 + number}.M1P1.host").write_bytes(message.as_bytes())
    return path


@pytest.fixture
def server(secure_site: Site, mailbox: Path) -> Server:
    return secure_site.listen("imapd")


@pytest.fixture
def tls_server(secure_site: Site, mailbox: Path) -> Server:
    return secure_site.listen("imapd", "--tls")


@pytest.fixture
def ca(authority: Any, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def imap(tls_server: Server, ca: Path) -> Iterator[imaplib.IMAP4_SSL]:
    context = ssl.create_default_context(cafile=str(ca))
    client = imaplib.IMAP4_SSL("localhost", tls_server.port, ssl_context=context, timeout=30)
    client.login("alice", "secret")
    yield client
    client.logout()


def need(program: str) -> str:
    path = shutil.which(program)
    if not path:
        pytest.skip(f"{program} is not installed")
    return path


# -- imaplib --------------------------------------------------------------------------------------


def test_imaplib_reads_writes_and_removes(imap: imaplib.IMAP4_SSL, mailbox: Path) -> None:
    assert imap.select("INBOX") == ("OK", [b"3"])
    assert imap.search(None, "SUBJECT", '"Message 1"') == ("OK", [b"2"])
    _, data = imap.fetch("1", "(BODY[TEXT])")
    assert isinstance(data[0], tuple)
    assert data[0][1] == b"This is number 0.\r\n"
    status, said = imap.append("INBOX", "\\Seen", None, b"Subject: new\r\n\r\nx\r\n")
    assert status == "OK"
    assert b"APPENDUID" in said[0]
    assert imap.store("2", "+FLAGS", "\\Deleted")[0] == "OK"
    assert imap.expunge() == ("OK", [b"2"])
    assert len(list((mailbox / "cur").iterdir())) + len(list((mailbox / "new").iterdir())) == 3
    assert imap.create("Work")[0] == "OK"
    assert imap.uid("COPY", "1:*", "Work")[0] == "OK"
    assert imap.status("Work", "(MESSAGES)") == ("OK", [b"Work (MESSAGES 3)"])


def test_imaplib_starttls(server: Server, ca: Path) -> None:
    with imaplib.IMAP4("localhost", server.port, timeout=30) as client:
        assert "LOGINDISABLED" in client.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
            client.login("alice", "secret")
        client.starttls(ssl.create_default_context(cafile=str(ca)))
        assert "AUTH=PLAIN" in client.capabilities
        client.authenticate("PLAIN", lambda _: b"\0alice\0secret")
        assert client.select("INBOX", readonly=True)[0] == "OK"


def test_a_wrong_password(tls_server: Server, ca: Path) -> None:
    context = ssl.create_default_context(cafile=str(ca))
    client = imaplib.IMAP4_SSL("localhost", tls_server.port, ssl_context=context, timeout=60)
    with client, pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        client.login("alice", "wrong")


# -- curl -----------------------------------------------------------------------------------------


def curl(server: Server, ca: Path, path: str, *options: str) -> bytes:
    url = f"imaps://localhost:{server.port}/{path}"
    arguments = ["--silent", "--show-error", "--cacert", str(ca), "--user", "alice:secret", url]
    return subprocess.run(
        [need("curl"), *arguments, *options], capture_output=True, timeout=60, check=True
    ).stdout


def test_curl(tls_server: Server, ca: Path, tmp_path: Path, mailbox: Path) -> None:
    assert b"INBOX" in curl(tls_server, ca, "")
    assert b"This is number 1." in curl(tls_server, ca, "INBOX;MAILINDEX=2")
    assert b"Subject: Message 2" in curl(tls_server, ca, "INBOX;UID=3;SECTION=HEADER")
    assert b"SEARCH 1" in curl(tls_server, ca, "INBOX?SUBJECT%20%22Message%200%22")
    message = tmp_path / "message"
    message.write_bytes(b"Subject: uploaded\r\n\r\nby curl\r\n")
    curl(tls_server, ca, "INBOX", "--upload-file", str(message))
    found = [p.read_bytes() for p in mailbox.glob("*/*") if p.parent.name in ("new", "cur")]
    assert b"Subject: uploaded\n\nby curl\n" in found


# -- mbsync ---------------------------------------------------------------------------------------


def mbsync(tmp_path: Path, account: str) -> None:
    config = tmp_path / "mbsyncrc"
    near = tmp_path / "near"
    near.mkdir(exist_ok=True)
    config.write_text(
        f"IMAPAccount far\n{account}\n\nIMAPStore far\nAccount far\n\n"
        f"MaildirStore near\nPath {near}/\nInbox {near}/INBOX\nSubFolders Verbatim\n\n"
        "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\n"
        f"SyncState {tmp_path}/state/\n"
    )
    (tmp_path / "state").mkdir(exist_ok=True)
    done = subprocess.run(
        [need("mbsync"), "-c", str(config), "all"], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


def tls_word() -> str:
    """The setting's name changed in mbsync 1.5."""
    said = subprocess.run([need("mbsync"), "--version"], capture_output=True, check=True).stdout
    return "SSLType" if b" 1.4" in said else "TLSType"


def texts(folder: Path) -> list[bytes]:
    return sorted(
        b"\n".join(line for line in path.read_bytes().split(b"\n") if b"X-TUID" not in line)
        for name in ("new", "cur")
        for path in (folder / name).iterdir()
    )


def sync_both_ways(tmp_path: Path, account: str, mailbox: Path) -> None:
    mbsync(tmp_path, account)
    near = tmp_path / "near" / "INBOX"
    assert texts(near) == texts(mailbox)
    # Something is flagged, removed and added on the near side, and in a new folder.
    first, second, *_ = sorted(path for path in near.glob("*/1*"))
    first.rename(near / "cur" / f"{first.name.partition(':')[0]}:2,FS")
    second.unlink()
    (near / "new" / "1800000000.new.near").write_bytes(b"Subject: from near\n\nx\n")
    for name in ("cur", "new", "tmp"):
        (tmp_path / "near" / "Work" / name).mkdir(parents=True)
    (tmp_path / "near" / "Work" / "new" / "1800000001.w.near").write_bytes(b"Subject: w\n\nw\n")
    mbsync(tmp_path, account)
    assert texts(near) == texts(mailbox)
    assert len(texts(mailbox)) == 3
    assert texts(mailbox / ".Work") == [b"Subject: w\n\nw\n"]
    assert any(path.name.endswith(":2,FS") for path in (mailbox / "cur").iterdir())
    mbsync(tmp_path, account)
    assert texts(near) == texts(mailbox)


def test_mbsync_over_tls(tls_server: Server, ca: Path, tmp_path: Path, mailbox: Path) -> None:
    account = (
        f"Host localhost\nPort {tls_server.port}\nUser alice\nPass secret\n"
        f"{tls_word()} IMAPS\nCertificateFile {ca}"
    )
    sync_both_ways(tmp_path, account, mailbox)


def by_pipe(site: Site, mailbox: Path) -> str:
    """A shell command that is a session on the mailbox."""
    imapd = Path(__file__).parents[2] / "bin" / "imapd"
    return f"PATH={site.environ['PATH']} {imapd} --etc {site.etc} --maildir {mailbox}"


def test_mbsync_through_a_pipe(secure_site: Site, tmp_path: Path, mailbox: Path) -> None:
    sync_both_ways(tmp_path, f'Tunnel "{by_pipe(secure_site, mailbox)}"', mailbox)


# -- offlineimap ----------------------------------------------------------------------------------


def test_offlineimap_through_a_pipe(secure_site: Site, tmp_path: Path, mailbox: Path) -> None:
    program = need("offlineimap")
    near = tmp_path / "near"
    tunnel = by_pipe(secure_site, mailbox)
    config = tmp_path / "offlineimaprc"
    config.write_text(
        f"[general]\naccounts = a\nmetadata = {tmp_path}/meta\nui = quiet\n"
        "[Account a]\nlocalrepository = near\nremoterepository = far\n"
        f"[Repository near]\ntype = Maildir\nlocalfolders = {near}\n"
        f"[Repository far]\ntype = IMAP\nremoteuser = alice\npreauthtunnel = {tunnel}\n"
    )

    def sync() -> None:
        done = subprocess.run(
            [program, "-o", "-c", str(config)], capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode()

    sync()
    assert len(texts(near / "INBOX")) == 3
    first, second, *_ = sorted(near.glob("INBOX/*/[0-9]*"))
    first.rename(near / "INBOX" / "cur" / f"{first.name.partition(':')[0]}:2,RS")
    second.unlink()
    (near / "INBOX" / "new" / "1800000000_0.1.near").write_bytes(
        b"Subject: from near\nDate: Tue, 1 Jul 2025 10:00:00 +0000\nMessage-ID: <n@near>\n\nx\n"
    )
    sync()
    assert len(texts(mailbox)) == 3
    assert any(b"from near" in text for text in texts(mailbox))
    assert any(path.name.endswith(":2,RS") for path in (mailbox / "cur").iterdir())


# -- mutt -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["mutt", "neomutt"])
def test_mutt_saves_and_deletes(
    program: str, tls_server: Server, ca: Path, tmp_path: Path, mailbox: Path
) -> None:
    keys = (
        "<first-entry><copy-message>=Saved<enter><last-entry><flag-message>"
        "<first-entry><delete-message><sync-mailbox><quit>"
    )
    script = "\n".join(
        (
            f"set folder=imaps://localhost:{tls_server.port}/",
            "set imap_user=alice imap_pass=secret",
            "set spoolfile=+INBOX",
            f"set certificate_file={ca} ssl_starttls=no",
            f"set tmpdir={tmp_path}",
            "set sort=mailbox-order confirmappend=no confirmcreate=no delete=yes quit=yes",
            "set mark_old=no wait_key=no",
            f"push '{keys}'",
        )
    )
    config = tmp_path / "muttrc"
    config.write_text(script + "\n")
    terminal = need("script")  # mutt wants a terminal
    environ = {"HOME": str(tmp_path), "TERM": "xterm", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    subprocess.run(
        [terminal, "-qec", f"{need(program)} -n -F {config}", "/dev/null"],
        env=environ, timeout=60, check=True, stdin=subprocess.DEVNULL, capture_output=True,
    )  # fmt: skip
    left = texts(mailbox)
    assert len(left) == 2
    assert not any(b"Message 0" in text for text in left)
    assert [b"Message 0" in text for text in texts(mailbox / ".Saved")] == [True]
    assert any("F" in path.name.partition(":2,")[2] for path in (mailbox / "cur").iterdir())


def test_a_port_is_all_that_is_needed(server: Server) -> None:
    with socket.create_connection(server.address, 30) as connection:
        assert connection.recv(4096).startswith(b"* OK [CAPABILITY IMAP4rev1 ")
