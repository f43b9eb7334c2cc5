"""POP3 transcripts: alice's password is secret; her maildrop holds two messages."""

from pathlib import Path
from typing import Any

from mailtools.errors import BadCredentials, NoSuchMessage
from mailtools.protocol.pop3.server import Pop3Server
from mailtools.protocol.sasl import server as sasl

MESSAGES = [b"Subject: one\n\nfirst\n.dot\n", b"Subject: two\n\na\nb\n"]


class FakeDrop:
    """Her maildrop, in memory."""

    def __init__(self) -> None:
        self.sizes = [len(text) + text.count(b"\n") for text in MESSAGES]

    def uid(self, index: int) -> str:
        return f"{index + 1:08x}4d7c6d00"

    def read(self, index: int) -> list[bytes]:
        if index >= len(MESSAGES):
            raise NoSuchMessage
        return [MESSAGES[index]]

    def update(self, removed: set[int], retrieved: set[int]) -> None:
        """Nothing lasts here."""

    def release(self) -> None:
        """No lock."""


class FakeSite:
    """The one account."""

    mechanisms = ("PLAIN", "LOGIN")
    apop = False

    def __init__(self) -> None:
        self.authority: Any = self

    def authenticate(self, credentials: sasl.Credentials) -> str:
        if credentials[:2] == ("alice", "secret"):
            return "alice"
        raise BadCredentials

    def scram_keys(self, login: str, mechanism: str) -> Any:
        raise BadCredentials

    def open(self, identity: str, /) -> FakeDrop:
        return FakeDrop()


def engine(options: dict[str, str]) -> Pop3Server:
    if "preauth" in options:
        return Pop3Server(None, drop=FakeDrop())
    return Pop3Server(
        FakeSite(),
        host="mail.example.org",
        tls="tls" in options,
        plaintext_login="tls" not in options,
    )


def process(site: Any, options: dict[str, str]) -> list[str]:
    maildir: Path = site.account("alice")
    for name in ("tmp", "new", "cur"):
        (maildir / name).mkdir(parents=True)
    for number, text in enumerate(MESSAGES):
        (maildir / "new" / f"170000000{number}.M1P1R1.h").write_bytes(text)
    (maildir / "dovecot-uidlist").write_text("3 V1300000000 N1 G0123456789abcdef0123456789abcdef\n")
    return ["pop3d", "--maildir", str(maildir)] if "preauth" in options else ["pop3d"]
