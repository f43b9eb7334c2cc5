"""Engines and what stands in front of them: whatever a peer says, an answer or a Failure."""

import contextlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from smtp_fake import FakeSession

from mailtools.errors import BadCredentials, Failure
from mailtools.mail.envelope import ForwardPath
from mailtools.protocol.dotted import DotReader
from mailtools.protocol.engine import Engine
from mailtools.protocol.imap.server import ImapServer
from mailtools.protocol.milter.answers import Answer
from mailtools.protocol.milter.client import Dialog, MilterClient, new_body
from mailtools.protocol.milter.wire import BadPacket, PacketReader
from mailtools.protocol.pop3.server import Pop3Server
from mailtools.protocol.proxy import parse_proxy
from mailtools.protocol.sasl import client as sasl_client
from mailtools.protocol.sasl import scram
from mailtools.protocol.sasl import server as sasl
from mailtools.protocol.smtp.client import SmtpClient
from mailtools.protocol.smtp.server import SmtpServer
from mailtools.protocol.smtp.session import Settings
from mailtools.protocol.smtp.transaction import Login, Tls, Transaction, message_of
from mailtools.services.imap.mailbox import ImapSession

OUTPUT_MOST = 64 << 20  # octets that an input of some thousand may call for


def drive(engine: Engine, data: bytes, step: int) -> bytes:
    """Say `data` in pieces of `step` octets; give all that the engine says."""
    said = bytearray()
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    for piece in [None, *pieces, b""]:
        if piece is not None:
            engine.receive(piece)
        while chunk := engine.output():
            said += chunk
            assert len(said) < OUTPUT_MOST, "the answers grow without end"
        if engine.wants_tls:
            engine.tls_started()
    assert engine.closed, "the peer is gone, and the engine goes on"
    return bytes(said)


def parted(data: bytes) -> tuple[int, bytes, int]:
    """Take the first octet for choices; how large the pieces are depends on the length."""
    return (data[0] if data else 0), data[1:], (1 << 16, 7, 100)[len(data) % 3]


def smtp_server(data: bytes) -> None:
    """The SMTP and LMTP server engine: any dialog, in pieces."""
    how, dialog, step = parted(data)
    session = FakeSession(trusted=bool(how & 1), auth=bool(how & 2), secure=bool(how & 4))
    settings = Settings(
        name="mail.example.org",
        size=5000,
        lmtp=bool(how & 8),
        submission=bool(how & 16),
        qualify="example.org" if how & 32 else "",
        starttls=bool(how & 64),
        synchronous=False,
    )
    said = drive(SmtpServer(session, settings), dialog, step)
    assert all(line[:3].isdigit() for line in said.splitlines()), said
    for sink in session.sinks:
        assert sink.state in ("committed", "aborted"), "a message was left open"
        assert b"\r" not in sink.text or how & 128 or b"BDAT" in dialog.upper()


def smtp_client(data: bytes) -> None:
    """The SMTP and LMTP client's script: any replies."""
    how, dialog, step = parted(data)
    login = Login("alice", "secret", token=bool(how & 2), plaintext=True) if how & 1 else None
    tls = (Tls.NEVER, Tls.MAY, Tls.MUST)[how // 64 % 3]
    engine = SmtpClient(
        "relay.example.org", "peer", tls=tls, secured=bool(how & 4), lmtp=bool(how & 8), login=login
    )
    paths = tuple(ForwardPath(f"{name}@example.net", {"NOTIFY": "NEVER"}) for name in "ab")
    text = "Subject: ü\n\nü\n.\n".encode() if how & 16 else b"Subject: x\n\nx\n"
    parameters = {"SMTPUTF8": ""} if how & 32 else {"RET": "HDRS"}
    engine.send(Transaction("alice@example.org", paths, message_of(text), parameters))
    with contextlib.suppress(Failure):
        drive(engine, dialog, step)
    found = [outcome.report.forward_path for outcome in engine.collect()]
    assert len(found) == len(set(found)) <= 2, "two reports for one path"


class Drop:
    """A maildrop of two messages."""

    messages = (b"Subject: one\n\nfirst\n.dot\n", b"Subject: two\n\n" + b"a\n" * 50)
    sizes = tuple(len(text) + text.count(b"\n") for text in messages)

    def uid(self, index: int) -> str:
        """Give the unique-id."""
        return f"uid{index}"

    def read(self, index: int) -> Iterable[bytes]:
        """Give a message."""
        return [self.messages[index]]

    def update(self, removed: set[int], retrieved: set[int]) -> None:
        """Take note of nothing."""

    def release(self) -> None:
        """Let go of nothing."""


class Site:
    """alice and her password, for all protocols."""

    mechanisms = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER", "EXTERNAL")
    apop = False
    keys = scram.derive("secret", b"salt", 1, "sha256")

    def __init__(self, opened: Callable[[], Any]) -> None:
        """Take what gives the maildrop or the session of alice."""
        self.authority = self
        self._opened = opened

    def authenticate(self, credentials: sasl.Credentials) -> str:
        """Let alice in."""
        if credentials[:2] == ("alice", "secret"):
            return "alice"
        raise BadCredentials

    def scram_keys(self, login: str, mechanism: str) -> scram.ScramKeys:
        """Give the keys of anybody."""
        return self.keys

    def open(self, identity: object) -> Any:
        """Give what is hers."""
        return self._opened()


def pop3(data: bytes) -> None:
    """The POP3 engine: any dialog, in pieces."""
    how, dialog, step = parted(data)
    drop = Drop() if how & 1 else None
    engine = Pop3Server(Site(Drop), secure=bool(how & 2), tls=bool(how & 4), drop=drop)
    said = drive(engine, dialog, step)
    assert said.startswith(b"+OK")
    assert said.endswith(b"\r\n")


WEIRD = (
    b"Content-Type: multipart/mixed; boundary=b\nSubject: =?utf-8?q?=C3=BC?=\n\n--b\n\nx\n"
    b'--b\nContent-Type: message/rfc822\n\nFrom: "a\\"b" <a@b>, g: c@d;\n\nx\n--b--\n'
)
_folder: list[Path] = []
_runs = itertools.count()


def mailbox() -> ImapSession:
    """Give a session on a Maildir of three messages, made anew now and then."""
    if next(_runs) % 200 == 0:
        if _folder:
            shutil.rmtree(_folder.pop())
        _folder.append(Path(tempfile.mkdtemp(prefix="fuzz-imap-", dir=memory())))
        for name in ("cur", "new", "tmp"):
            (_folder[0] / name).mkdir()
        for number in range(3):
            (_folder[0] / "cur" / f"{1700000000 + number}.M1P1.host:2,").write_bytes(WEIRD)
    return ImapSession(str(_folder[0]), append_limit=1000)


def memory() -> str | None:
    """Give a folder that is memory, where there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def imap(data: bytes) -> None:
    """The IMAP engine on a real Maildir: any dialog, in pieces."""
    how, dialog, step = parted(data)
    if how & 1:
        engine = ImapServer(Site(mailbox), secure=bool(how & 2), tls=bool(how & 4))
    else:
        engine = ImapServer(None, session=mailbox())
        dialog = b"a SELECT INBOX\r\n" + dialog
    said = drive(engine, dialog, step)
    assert said.startswith(b"* ")


def proxy(data: bytes) -> None:
    """PROXY headers, versions 1 and 2: any octets, and each beginning of them."""
    for end in {len(data), len(data) // 2, min(len(data), 16)}:
        with contextlib.suppress(Failure):
            found = parse_proxy(data[:end])
            assert found is None or 0 < found[1] <= end


MECHANISMS = (*Site.mechanisms, "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "NTLM")


def sasl_server(data: bytes) -> None:
    """SASL's servers: any responses."""
    how, rest, _ = parted(data)
    with contextlib.suppress(Failure):
        exchange = sasl.start(MECHANISMS[how % len(MECHANISMS)], Site(Drop), nonce="abc")
        for response in rest.split(b"\n"):
            if exchange.respond(response) is None:
                assert exchange.identity == "alice"
                break


def sasl_clients(data: bytes) -> None:
    """SASL's clients: any challenges."""
    how, rest, _ = parted(data)
    names = (*sasl_client.BY_PASSWORD, *sasl_client.BY_TOKEN)
    with contextlib.suppress(Failure):
        client = sasl_client.start(names[how % len(names)], "alice", "secret", nonce="abc")
        for challenge in rest.split(b"\n")[:20]:
            if b"i=" in challenge and len(challenge) > 30:
                continue  # many iterations take time, as they should
            client.respond(challenge)
        client.finish()


def dotted(data: bytes) -> None:
    """Dot-stuffed text: however it is cut, the same text or the same refusal."""

    def read(step: int) -> object:
        reader, text = DotReader(), b""
        try:
            for at in range(0, len(data), step):
                text += reader.feed(data[at : at + step])
                if reader.finished:
                    break
        except Failure as failure:
            return failure.text
        return reader.finished, text if reader.finished else b""

    whole = read(max(1, len(data)))
    for step in (1, 3) if len(data) < 500 else (97,):
        assert read(step) == whole


def milter(data: bytes) -> None:
    """The milter protocol: whatever packets a milter sends, at any step."""
    reader = PacketReader(1 << 20)
    with contextlib.suppress(BadPacket, EOFError):
        reader.feed(data)
        client = MilterClient()

        def hear(dialog: Dialog) -> Answer:
            next(dialog)
            while True:
                packet = reader.take()
                if packet is None:
                    raise EOFError
                try:
                    dialog.send(packet)
                except StopIteration as end:
                    return end.value

        hear(client.negotiate())
        header = [(b"From", b" a@b.test"), (b"Subject", b" x")]
        found = hear(client.message(header, b"text\n" * 20, {"i": "id"}))
        new_body(found.changes)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "smtp-server": smtp_server,
    "smtp-client": smtp_client,
    "pop3": pop3,
    "imap": imap,
    "proxy": proxy,
    "sasl-server": sasl_server,
    "sasl-client": sasl_clients,
    "dotted": dotted,
    "milter": milter,
}

OPTIONS = b"\0\0\0\x0dO" + b"\0\0\0\6" + b"\0\0\1\xff" + bytes(4)
SEEDS: dict[str, tuple[bytes, ...]] = {
    "milter": (
        OPTIONS + b"\0\0\0\1c" * 12,
        OPTIONS + b"\0\0\0\1c" * 4 + b"\0\0\0\6hX\0 y\0" + b"\0\0\0\5m\0\0\0\1S\0\0\0\0\3bxx",
        OPTIONS + b"\0\0\0\x0fy550 5.7.1 no\0" + b"\0\0\0\4q no\0\0\0\0\1a",
    ),
    "proxy": (
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + bytes(36),
    ),
    "sasl-server": (b"\0\0alice\0secret", b"\x02n,,n=alice,r=x\nc=biws,r=xabc,p=AAAA"),
    "sasl-client": (b"\0r=abcx,s=c2FsdA==,i=1\nv=AAAA",),
    "dotted": (b"a\r\n..b\r\n.\r\n",),
    "imap": (
        b"\0a FETCH 1:* (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (From)]<0.5> BODYSTRUCTURE)\r\n",
        b"\0a SEARCH OR (NOT SUBJECT {1+}\r\nx) UID 1:3,* RETURN (ALL)\r\n",
        b"\0a APPEND INBOX (\\Seen) {3+}\r\nabc\r\nb STORE 1 +FLAGS (x)\r\nc EXPUNGE\r\n",
        b"\0a LIST (SUBSCRIBED) \"\" (% *) RETURN (CHILDREN STATUS (MESSAGES))\r\n",
    ),
    "smtp-server": ((b"\x05EHLO a\r\nMAIL FROM:<a@b> SIZE=1\r\nRCPT TO:<bob@example.org>\r\n"
                    b"BDAT 3 LAST\r\nabcQUIT\r\n"),),
}  # fmt: skip
