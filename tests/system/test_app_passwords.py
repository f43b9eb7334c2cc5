"""App passwords in real sessions: what each opens, from where, until when, till revoked."""

import imaplib
import poplib
import smtplib
import socket

import pytest
from conftest import Server, Site


class Imap(imaplib.IMAP4):
    """An IMAP client behind a proxy, at an address of its own."""

    def __init__(self, server: Server, client: str) -> None:
        self.there, self.client = server.address, client
        super().__init__(*server.address, timeout=30)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        sock = socket.create_connection(self.there, timeout)
        sock.sendall(f"PROXY TCP4 {self.client} 192.0.2.1 5 143\r\n".encode())
        return sock


@pytest.fixture
def servers(site: Site) -> dict[str, Server]:
    site.account("alice")
    site.set("plaintext-login", "yes")
    site.set("proxies", "127.0.0.1")
    return {"imap": site.listen("imapd")}


def added(site: Site, name: str, *options: str) -> str:
    done = site.run("mail-account", "app-password", "add", "alice", name, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def opens(server: Server, password: str, client: str = "192.0.2.9") -> bool:
    reader = Imap(server, client)
    try:
        return bool(reader.login("alice", password)[0] == "OK")
    except imaplib.IMAP4.error:
        return False
    finally:
        reader.shutdown()


def last_use(site: Site, name: str) -> str:
    lines = site.run("mail-account", "app-password", "list", "alice").stdout.decode().splitlines()
    return next(row[-1] for row in (line.split("\t") for line in lines) if row[0] == name)


def test_from_where_until_when_and_till_revoked(site: Site, servers: dict[str, Server]) -> None:
    phone = added(site, "phone", "--networks", "192.0.2.0/24")
    old = added(site, "old", "--expires", "2020-01-01")
    assert last_use(site, "phone") == "never"
    assert opens(servers["imap"], phone)
    assert opens(servers["imap"], phone.replace("-", " ").capitalize())
    assert last_use(site, "phone").endswith("Z imap 192.0.2.9")
    assert not opens(servers["imap"], phone, "198.51.100.9")
    assert not opens(servers["imap"], old)
    assert last_use(site, "old") == "never"
    assert opens(servers["imap"], "secret", "198.51.100.9")  # the account's own is no narrower
    assert site.run("mail-account", "app-password", "remove", "alice", "phone").returncode == 0
    assert not opens(servers["imap"], phone)


def test_each_is_for_its_services(site: Site) -> None:
    site.account("alice")
    site.set("plaintext-login", "yes")
    imap, pop3 = site.listen("imapd"), site.listen("pop3d")
    submission = site.listen("smtpd-accept", "--submission")
    passwords = {
        name: added(site, name, "--services", name) for name in ("imap", "pop3", "submission")
    }
    for name, password in passwords.items():
        let_in = set()
        with imaplib.IMAP4(*imap.address, timeout=30) as reader:
            try:
                reader.login("alice", password)
                let_in.add("imap")
            except imaplib.IMAP4.error:
                pass
        pop = poplib.POP3(*pop3.address, timeout=30)
        pop.user("alice")
        try:
            pop.pass_(password)
            let_in.add("pop3")
        except poplib.error_proto:
            pass
        pop.close()
        with smtplib.SMTP(*submission.address, timeout=30) as smtp:
            try:
                smtp.login("alice", password)
                let_in.add("submission")
            except smtplib.SMTPAuthenticationError:
                pass
        assert let_in == {name}
