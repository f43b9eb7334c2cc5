"""Twice the input takes about twice the time: what strangers bring in, and what they report."""

import base64
import gzip
import json

import pytest
from growing import grows_linearly

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.redact import redact_header
from mailtools.protocol.milter.answers import BodyReplaced
from mailtools.protocol.milter.wire import PacketReader
from mailtools.protocol.qmtp.package import TextReader
from mailtools.services.reception.intake import Intake, message_id
from mailtools.services.reception.mending import authors, mend_header
from mailtools.services.reception.milter.changes import Draft
from mailtools.services.reception.received import Hop
from mailtools.services.reports.failure_message import read_incident
from mailtools.services.reports.read import of_bytes


class Entries:
    """A queue that forgets."""

    id, size = "1700000000.M000001P1R1", 0

    def begin(self, envelope, id_=""):
        return self

    def write(self, data):
        pass

    def commit(self, *, held=""):
        return self.id

    def abort(self):
        pass


HOP = Hop("a.test", "192.0.2.1", "", "mail.example.org", "ESMTP")
ENVELOPE = Envelope("a@a.test", (ForwardPath("bob@example.org"),))


def taken(message, size=4096, *, binary=False):
    """A message on its way into the queue, in pieces of a size."""
    sink = Intake(Entries(), ENVELOPE, HOP, hops=100, facts={}, binary=binary)
    for start in range(0, len(message), size):
        sink.write(message[start : start + size])
    sink.commit()


def mended(header):
    """What a mail client's header becomes."""
    list(authors(header))
    mend_header(header, id_="1", domain="example.org", reverse_path="a@example.org")


def shown(message):
    """What milters see."""
    draft = Draft(message, Entries.id, ENVELOPE)
    return draft.header, draft.text


def changed(body):
    """What a milter makes of a message."""
    Draft(b"X: y\n\nx\n", Entries.id, ENVELOPE).apply([BodyReplaced(body)])


def packets(data, size):
    """What a milter says, in pieces."""
    reader = PacketReader()
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        while reader.take():
            pass


def packages(data, size, *, crlf):
    """A package of QMTP, in pieces."""
    reader = TextReader(crlf=crlf)
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size], last=start + size >= len(data))


def reports(data):
    """What somebody reports."""
    for each in of_bytes("x", data):
        str(each)


def xml(inner):
    return (
        b"<feedback><report_metadata><org_name>x</org_name></report_metadata>%b</feedback>" % inner
    )


ROW = (
    b"<record><row><source_ip>192.0.2.1</source_ip><count>1</count></row>"
    b"<identifiers><header_from>a.test</header_from></identifiers></record>"
)


def tls(policies):
    return json.dumps({"organization-name": "x", "policies": policies}).encode()


def parts(kind, body, n):
    """A message of many parts."""
    part = b"--b\nContent-Type: %b\nContent-Transfer-Encoding: base64\n\n%b\n" % (
        kind, base64.encodebytes(body),
    )  # fmt: skip
    return b"Content-Type: multipart/report; boundary=b\n\n" + part * n


CASES = {
    "intake: a header in small pieces": lambda n: taken(b"X: y\n" * n + b"\nx\n", 2),
    # large from the start: what the caches hold is copied too fast to be seen
    "intake: a header without end": lambda n: taken(b"x" * (400 * n), 1),
    "intake: Received": lambda n: taken(b"Received: from a by b; x\n" * n + b"\nx\n"),
    "intake: binary in small pieces": lambda n: taken(b"X: y\n\n" + b"\0\r\n" * n, 1, binary=True),
    "intake: Message-ID": lambda n: message_id(b"Message-ID:" + b" \t" * n + b"\n"),
    "intake: no Message-ID": lambda n: message_id(b"Message-ID: \n" * n),
    "mending: fields": lambda n: mended(b"From: a@b.test\n" + b"X: y\n" * n),
    "mending: addresses": lambda n: mended(b"From: " + b"a@b.test, " * n + b"\n"),
    "mending: To": lambda n: mended(b"From: a@b.test\n" + b"To: a, b (c)\n" * n),
    "milters: fields": lambda n: shown(b"X: y\n" * n + b"\nx\n"),
    "milters: folding": lambda n: shown(b"X: y\n" + b"\ty\n" * n + b"\nx\n"),
    "milters: packets": lambda n: packets(b"\0\0\0\1c" * n, 3),
    "milters: a long packet": lambda n: packets((10 * n).to_bytes(4) + b"c" * 10 * n, 7),
    "qmtp: lines": lambda n: packages(b"\n" * n, 1, crlf=False),
    "qmtp: line ends": lambda n: packages(b"\r\n" * n, 1, crlf=True),
    "milters: CRs of a new body": lambda n: changed(b"\r" * n),
    "redaction: quotes": lambda n: redact_header(b'Subject: "' + b'\\"' * n + b"\n", b"k"),
    "redaction: addresses": lambda n: redact_header(b"To: " + b"a@b.test, " * n + b"\n", b"k"),
    "redaction: signs": lambda n: redact_header(b"Subject: " + b"a@" * n + b"\n", b"k"),
    "redaction: words": lambda n: redact_header(b"Subject: " + b"a." * n + b"\n", b"k"),
    "redaction: fields": lambda n: redact_header(b"X: a@b.test\n" * n, b"k"),
    "reports: rows": lambda n: reports(xml(ROW * n)),
    "reports: rows without a number": lambda n: reports(xml(b"<record/>" * n)),
    "reports: elements in a row": lambda n: reports(xml(b"<record>" + b"<a/>" * n + b"</record>")),
    "reports: elements inside one another": lambda n: reports(xml(b"<a>" * n)),
    "reports: texts": lambda n: reports(xml(b"<error>" + b"x &amp; " * n + b"</error>")),
    "reports: one tag": lambda n: reports(b"<feedback" + b" a" * n),
    "reports: attributes": lambda n: reports(
        b"<feedback %b>" % b" ".join(b"a%d='1'" % i for i in range(n))
    ),
    "reports: lists": lambda n: reports(b"[" * n),
    "reports: policies": lambda n: reports(tls([{"policy": {}}] * n)),
    "reports: details": lambda n: reports(
        tls([{"policy": {}, "failure-details": [{"failed-session-count": 1}] * n}])
    ),
    "reports: numbers": lambda n: reports(b'{"policies": [], "a": ' + b"9" * n + b"}"),
    "reports: packed parts": lambda n: reports(
        parts(b"application/gzip", gzip.compress(xml(ROW)), n // 10)
    ),
    "reports: complaints": lambda n: reports(parts(b"message/feedback-report", b"x", n // 10)),
    "reports: fields of a complaint": lambda n: reports(
        parts(b"message/feedback-report", b"Feedback-Type: abuse\n" * n, 1)
    ),
    "reports: an incident": lambda n: read_incident('{"signed": [' + "[]," * n + "[]]}"),
}


@pytest.mark.parametrize("name", CASES)
def test_growth(name):
    assert grows_linearly(CASES[name], 8000)
