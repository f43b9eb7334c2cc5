"""Twice the input takes about twice the time: messages that are odd, peers that are hostile."""

import shutil
import tempfile
from pathlib import Path

import pytest
from growing import grows_linearly
from smtp_fake import FakeSession

from mailtools.mail.address_list import parse_address_list
from mailtools.mail.binary_mime import text_form
from mailtools.mail.envelope import decode as decode_envelope
from mailtools.mail.mime import header_pairs, scan
from mailtools.mail.mime_fields import read_mime_fields
from mailtools.mail.mime_words import decode_words
from mailtools.mail.qualify import qualify
from mailtools.mail.utf7 import decode as decode_utf7
from mailtools.protocol.dotted import ChunkReader, DotReader, dot_stuffed
from mailtools.protocol.imap.listing import matcher
from mailtools.protocol.imap.server import ImapServer
from mailtools.protocol.imap.structure import Structure, envelope
from mailtools.protocol.smtp.encodings import seven_bit
from mailtools.protocol.smtp.server import SmtpServer
from mailtools.protocol.smtp.session import Settings
from mailtools.services.imap.mailbox import ImapSession
from mailtools.services.submit.inject import split
from mailtools.store import journal


def drive(engine, data, step=1 << 16):
    """Say `data` in pieces, and take all that is answered."""
    for start in range(0, len(data), step):
        engine.receive(data[start : start + step])
        while engine.output():
            pass


def smtp(data, step=1 << 16):
    """Talk to the SMTP server as one who is trusted."""
    settings = Settings("mail.example.org", 1 << 30, 10**6, errors=10**9, junk=10**9)
    server = SmtpServer(FakeSession(trusted=True), settings._replace(synchronous=False))
    drive(server, b"EHLO a\r\n" + data, step)


ENVELOPE = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<bob@example.org>\r\n"


class Mailbox:
    """A Maildir of one message, as IMAP shows it."""

    def __init__(self, message=b"Subject: x\n\nx\n"):
        self.folder = Path(tempfile.mkdtemp(prefix="growth-"))
        for name in ("cur", "new", "tmp"):
            (self.folder / name).mkdir()
        (self.folder / "cur" / "1700000000.M1P1.host:2,").write_bytes(message)

    def talk(self, *commands, step=1 << 16):
        """Say commands, then remove it all."""
        try:
            session = ImapSession(str(self.folder), append_limit=1 << 24)
            engine = ImapServer(None, session=session)
            for command in (b"SELECT INBOX", *commands):
                drive(engine, b"a " + command + b"\r\n", step)
        finally:
            shutil.rmtree(self.folder)


def mime(message):
    """Scan a message, and write its structure."""
    root = scan(message)
    pairs = header_pairs(message[: root.body])
    Structure(lambda part: header_pairs(message[part.start : part.body]), extended=True).write(root)
    envelope(pairs)
    read_mime_fields(pairs, inside=False)


def dotted(data, step=4096):
    """Read dot-stuffed text, and write it again."""
    reader = DotReader()
    text = [reader.feed(data[start : start + step]) for start in range(0, len(data), step)]
    for _ in dot_stuffed(text):
        pass


def chunks(data, step):
    """Read text by BDAT."""
    reader = ChunkReader()
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])


def nested(n):
    """Multiparts in multiparts."""
    parts = (
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (i, i) for i in range(n // 10)
    )
    return b"".join(parts) + b"\nx\n"


CASES = {
    "mime: nested": lambda n: mime(nested(n)),
    "mime: messages in messages": lambda n: mime(b"Content-Type: message/rfc822\n\n" * (n // 5)),
    "mime: parts": lambda n: mime(
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * n
    ),
    "mime: delimiters that are none": lambda n: mime(nested(200) + b"--b--b1x\n--c\n" * n),
    "mime: a long boundary": lambda n: mime(
        b"Content-Type: multipart/mixed; boundary=" + b"b" * n + b"\n\n" + b"--bb\n" * n
    ),
    "mime: fields": lambda n: mime(b"Content-Type: text/plain\n" * n + b"\nx"),
    "mime: parameters": lambda n: mime(b"Content-Type: text/plain" + b"; a=b" * n + b"\n\nx"),
    "mime: pieces": lambda n: mime(
        b"Content-Type: a/b" + b"".join(b"; a*%d*=%%20" % i for i in range(n)) + b"\n\nx"
    ),
    "mime: comments": lambda n: mime(b"Content-Type: (" + b"(" * n + b"\n\nx"),
    "mime: quotes": lambda n: mime(b'Content-Type: a/b; c="' + b'\\"' * n + b"\n\nx"),
    "mime: folding": lambda n: mime(b"Subject: x" + b"\n x" * n + b"\n\nx"),
    "mime: blank lines": lambda n: mime(b"\n" * (20 * n)),
    "addresses": lambda n: parse_address_list(b"a <b@c>, " * n),
    "addresses: comments": lambda n: parse_address_list(b"(" * n + b")" * n + b"a@b"),
    "addresses: open comments": lambda n: parse_address_list(b"(a" * n),
    "addresses: quotes": lambda n: parse_address_list(b'"' + b"\\a" * n),
    "addresses: many quotes": lambda n: parse_address_list(b'"a" ' * n),
    "addresses: brackets": lambda n: parse_address_list(b"<" * n),
    "addresses: routes": lambda n: parse_address_list(b"<" + b"@a," * n + b":a@b>"),
    "addresses: groups": lambda n: parse_address_list(b"g: a@b; " * n),
    "addresses: words": lambda n: parse_address_list(b"a " * n + b"<a@b>"),
    "addresses: qualified": lambda n: qualify(b"a, (c) " * n, b"example.org"),
    "words": lambda n: decode_words(b"=?utf-8?q?=C3=BC?= " * n),
    "words: open": lambda n: decode_words(b"=?utf-8?q?" * n),
    "words: question marks": lambda n: decode_words(b"=?" + b"?" * n),
    "utf-7": lambda n: decode_utf7("&" * n + "&AOk-" * n),
    "rewriting: nested": lambda n: seven_bit(nested(n) + b"\xfc\n"),
    "rewriting: parts": lambda n: seven_bit(
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n\xfc\n" * n
    ),
    "rewriting: binary": lambda n: text_form(
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n\r\0\n" * n
    ),
    "envelope": lambda n: decode_envelope(
        b"mailtools-queue 1\nreverse-path a@b\n" + b"forward-path c@d NOTIFY=NEVER\n" * n + b"\n"
    ),
    "journal": lambda n: journal.decode(b"1700000000\ta@b\tdelayed\t4.4.1\tno answer\n" * n),
    "journal: paths": lambda n: journal.decode(
        b"".join(b"1700000000\ta%d@b\trelayed\t2.0.0\tok\n" % i for i in range(n))
    ),
    "dots": lambda n: dotted(b"." * (20 * n)),
    "dots: lines": lambda n: dotted(b"..\r\n" * (20 * n)),
    "dots: small pieces": lambda n: dotted(b"\r\n.\r" * n, 1),
    "dots: CRs mended": lambda n: DotReader(mend=True).feed(b"\r" * n),
    "chunks: CRs mended": lambda n: ChunkReader(mend=True).feed(b"\r" * n, last=True),
    "sendmail: CRs": lambda n: split(b"x: y\n\n" + b"\r" * n),
    "dots: line ends": lambda n: dotted(b"\r\n" * (20 * n), 7),
    "chunks: small pieces": lambda n: chunks(b"\r\n" * n, 1),
    "smtp: a long line": lambda n: smtp(b"x" * (20 * n), 1),
    "smtp: commands": lambda n: smtp(b"NOOP\r\n" * n),
    "smtp: recipients": lambda n: smtp(ENVELOPE + b"RCPT TO:<bob@example.org>\r\n" * (n // 10)),
    "smtp: parameters": lambda n: smtp(b"MAIL FROM:<a@b>" + b" A=b" * 900 + b"\r\n" * n),
    "smtp: a message in small pieces": lambda n: smtp(
        ENVELOPE + b"DATA\r\n" + b"x\r\n" * n + b".\r\n", 3
    ),
    "smtp: chunks of one octet": lambda n: smtp(ENVELOPE + b"BDAT 1\r\nx" * n),
    "imap: parentheses": lambda n: Mailbox().talk(b"SEARCH " + b"(" * n + b"ALL" + b")" * n),
    "imap: negations": lambda n: Mailbox().talk(b"SEARCH " + b"NOT " * n + b"ALL"),
    "imap: keys": lambda n: Mailbox().talk(b"SEARCH" + b" SEEN" * n),
    "imap: texts": lambda n: Mailbox().talk(b"SEARCH" + b" SUBJECT a" * (n // 10)),
    "imap: ranges": lambda n: Mailbox().talk(b"FETCH " + b"1:*," * n + b"1 FLAGS"),
    "imap: numbers": lambda n: Mailbox().talk(
        b"SEARCH " + b",".join(b"%d" % (2 * i) for i in range(1, n))
    ),
    "imap: items": lambda n: Mailbox().talk(b"FETCH 1 (" + b"UID " * n + b"FLAGS)"),
    "imap: sections": lambda n: Mailbox().talk(b"FETCH 1 (" + b"BODY[] " * (n // 10) + b"FLAGS)"),
    "imap: field names": lambda n: Mailbox(b"X: y\n" * 500 + b"\nx").talk(
        b"FETCH 1 BODY[HEADER.FIELDS (" + b"a " * n + b"b)]"
    ),
    "imap: header lines": lambda n: Mailbox(b"X: y\n" * n + b"\nx").talk(
        b"FETCH 1 BODY[HEADER.FIELDS (a b x)]", b"SEARCH HEADER x y"
    ),
    "imap: structure": lambda n: Mailbox(nested(n)).talk(b"FETCH 1 BODYSTRUCTURE"),
    "imap: parts": lambda n: Mailbox(
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * n
    ).talk(b"FETCH 1 (BODYSTRUCTURE BODY[%d])" % n),
    "imap: addresses": lambda n: Mailbox(b"To: " + b"a@b, " * n + b"\n\n").talk(
        b"FETCH 1 ENVELOPE"
    ),
    "imap: flags": lambda n: Mailbox().talk(b"STORE 1 +FLAGS (" + b"x " * n + b"y)"),
    "imap: a literal in small pieces": lambda n: Mailbox().talk(
        b"SEARCH SUBJECT {%d+}\r\n" % n + b"x" * n, step=1
    ),
    "imap: many literals": lambda n: Mailbox().talk(b"SEARCH" + b" SUBJECT {1+}\r\nx" * (n // 10)),
    "imap: a long line": lambda n: Mailbox().talk(b"NOOP" + b" " * (10 * n), step=1),
    "imap: append in small pieces": lambda n: Mailbox().talk(
        b"APPEND INBOX {%d+}\r\n" % n + b"x" * n, step=1
    ),
    "imap: patterns": lambda n: matcher("", "*%a" * 10)("a" * n),
    "imap: long patterns": lambda n: matcher("", "%*" * n)("a" * 20),
    "imap: list": lambda n: Mailbox().talk(b'LIST "" (' + b"% " * n + b"*)"),
}


@pytest.mark.parametrize("name", CASES)
def test_growth(name):
    assert grows_linearly(CASES[name], 8000)
