"""IMAP transcripts: alice's mailbox with three messages, and her password, which is secret.

Options: `login` begins before the login, else the session is alice's already; `tls` and `secure`:
TLS can be started, or is on; `limit=N` octets of an appended message.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mailtools.errors import BadCredentials
from mailtools.protocol.imap.server import ImapServer
from mailtools.protocol.sasl.server import Password
from mailtools.services.imap.mailbox import ImapSession

MESSAGES = {
    "cur/1700000001.M1P1.host,S=174,W=181:2,S": """\
Date: Mon, 7 Feb 1994 21:52:25 -0800
From: Fred Foobar <foobar@blurdybloop.example>
Subject: afternoon meeting
To: mooch@owatagu.example
Message-Id: <1@x.example>

Hello Joe
""",
    "new/1700000002.M2P1.host": """\
Date: Tue, 8 Feb 1994 09:00:00 +0100
From: =?iso-8859-1?Q?J=F6rg?= <joerg@example.org>
To: list: a@example.com, "B, C" <bc@example.com>;
Subject: =?utf-8?B?R3LDvMOfZQ==?=
MIME-Version: 1.0
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Sch=F6ne Gr=FC=DFe
""",
    "new/1700000003.M3P1.host": """\
From: alice@example.org
Subject: parts
Date: Wed, 9 Feb 1994 12:00:00 GMT
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="b1"

preamble
--b1
Content-Type: text/plain

one
--b1
Content-Type: message/rfc822

Subject: inner
Content-Type: multipart/alternative; boundary="b2"

--b2

two
--b2
Content-Type: application/octet-stream; name="x.bin"
Content-Transfer-Encoding: base64
Content-Disposition: attachment; filename="x.bin"

AAEC
--b2--
--b1--
epilogue
""",
}
UIDS = """\
3 V1700000000 N12 G0123456789abcdef0123456789abcdef
5 :1700000001.M1P1.host,S=174,W=181
10 :1700000002.M2P1.host
11 :1700000003.M3P1.host
"""


def fill(path: Path) -> None:
    """Make the mailbox."""
    for name in ("cur", "new", "tmp"):
        (path / name).mkdir(parents=True)
    for number, (name, text) in enumerate(MESSAGES.items(), 1):
        (path / name).write_text(text)
        os.utime(path / name, (760000000 + number, 760000000 + number))
    (path / "dovecot-uidlist").write_text(UIDS)


class Site:
    """Lets alice in."""

    mechanisms = ("PLAIN", "LOGIN")

    def __init__(self, session: ImapSession) -> None:
        self.authority = self
        self._session = session

    def authenticate(self, credentials: Any) -> str:
        if isinstance(credentials, Password) and credentials.password == "secret":
            return credentials.login
        raise BadCredentials

    def open(self, identity: Any, /) -> ImapSession:
        return self._session


def engine(options: dict[str, str]) -> ImapServer:
    folder = TemporaryDirectory()
    path = Path(folder.name) / "Maildir"
    fill(path)
    session = ImapSession(str(path), append_limit=int(options.get("limit", 1000)))
    made = ImapServer(
        Site(session),
        host="mail.example.org",
        tls="tls" in options,
        secure="secure" in options,
        session=None if "login" in options else session,
    )
    made.folder = folder  # type: ignore[attr-defined]  # it stays as long as the engine
    return made


def process(site: Any, options: dict[str, str]) -> list[str]:
    path = site.account("alice")
    fill(path)
    site.set("message-size", options.get("limit", "1000"))
    return ["imapd"] if "login" in options else ["imapd", "--maildir", str(path)]
