"""What strangers bring in and report: nothing but a Failure is raised."""

import contextlib
import gzip
from collections.abc import Callable

from mailtools.errors import Failure
from mailtools.mail.address import Address, parse_address
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.fields import fields, split_message
from mailtools.mail.redact import redact_header
from mailtools.protocol.milter.answers import HeaderAdded, HeaderChanged, HeaderInserted
from mailtools.services.reception.judgement import is_dsn
from mailtools.services.reception.mending import authors, mend_header
from mailtools.services.reception.milter.changes import Draft
from mailtools.services.reports.failure_message import read_incident
from mailtools.services.reports.read import of_bytes
from mailtools.services.reports.read_table import tables
from mailtools.services.reports.read_values import Incoming, from_json, to_json
from mailtools.trust.batv import is_proved, tagged, untagged
from mailtools.trust.dnsbl import check_address, parse_list

ID = "1700000000.M000001P1R1"
ENVELOPE = Envelope("a@a.test", (ForwardPath("bob@example.org"),))


def reports(data: bytes) -> None:
    """Received reports: what is read can be shown, written and read again."""
    found = [each for each in of_bytes("x", data) if isinstance(each, Incoming)]
    for line in tables(found, 0, lambda _: ""):
        assert line.isprintable()
    for each in found:
        again = from_json(to_json(each).encode())
        assert again is not None
        assert again.rows == each.rows
    read_incident(data.decode("latin-1"))


def packed_reports(data: bytes) -> None:
    """The same in gzip."""
    reports(gzip.compress(data, 1))


def redaction(data: bytes) -> None:
    """Headers that go out with failure reports: ASCII, and no local-part stays."""
    redact_header(split_message(data)[0], b"key").decode("ascii")


def mending(data: bytes) -> None:
    """Headers of mail clients: mended, each field is one still, but for those nobody may see."""
    header = split_message(data)[0]
    with contextlib.suppress(Failure):
        list(authors(header))
    mended = mend_header(header, id_=ID, domain="example.org", reverse_path="a@example.org")
    own = split_message(mended)[0]  # behind a line that is no field there is text
    before = [field.key for field in fields(header) if field.key not in (b"bcc", b"resent-bcc")]
    after = [field.key for field in fields(own)]
    assert b"bcc" not in after
    assert after[: len(before)] == before or len(own) < len(mended)


def milter_changes(data: bytes) -> None:
    """Messages that milters change: ours stays ours, and a message is still one."""
    place, name, value, message = (
        data[:1] or b"\0",
        b"X-" + data[1:3].hex().encode(),
        data[3:40],
        data[40:],
    )
    ours = f"Received: x id {ID}\n".encode()
    draft = Draft(ours + message, ID, ENVELOPE)
    assert draft.text == ours + message or not message.endswith(b"\n")
    before = len(draft.header)
    draft.apply(
        [
            HeaderAdded(name, value),
            HeaderInserted(place[0], name, value),
            HeaderChanged(place[0] % 3 + 1, b"Subject", value),
        ]
    )
    assert len(draft.header) >= before + 1
    assert ours in draft.text
    is_dsn(message)


def batv(data: bytes) -> None:
    """BATV: a tag comes off again, and only ours prove anything."""
    with contextlib.suppress(Failure):
        address = parse_address(data.decode("utf-8", "surrogateescape"))
        assert not is_proved(address, [b"secret"], 0) or untagged(address)
        sent = tagged(address, b"secret", 10**9)
        assert untagged(sent) == address
        assert is_proved(sent, [b"secret"], 10**9)
        if sent.local.isascii():  # elsewhere small and large letters are no pairs
            assert is_proved(Address(sent.local.swapcase(), sent.domain), [b"secret"], 10**9)


class Said:
    """What DNS says: one text, whatever is asked."""

    exists, secure = True, False

    def __init__(self, *records: str) -> None:
        self.records = records


def lists(data: bytes) -> None:
    """Lists of clients, as they are configured."""
    with contextlib.suppress(Failure):
        found = parse_list(data.decode("latin-1"))
        check_address("192.0.2.1", [found], lambda *_: Said("127.0.0.2", "127.255.255.254"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    "reports": reports,
    "packed-reports": packed_reports,
    "redaction": redaction,
    "mending": mending,
    "milter-changes": milter_changes,
    "batv": batv,
    "lists": lists,
}

XML = (
    b"<?xml version='1.0'?><feedback><report_metadata><org_name>x</org_name><date_range><begin>1"
    b"</begin><end>2</end></date_range></report_metadata><policy_published><domain>a.test</domain>"
    b"<p>none</p></policy_published><record><row><source_ip>192.0.2.1</source_ip><count>1</count>"
    b"<policy_evaluated><disposition>none</disposition></policy_evaluated></row><identifiers>"
    b"<header_from>a.test</header_from></identifiers></record></feedback>"
)
JSON = (
    b'{"organization-name": "x", "date-range": {"start-datetime": "2026-01-01T00:00:00Z"}, '
    b'"policies": [{"policy": {"policy-type": "sts", "policy-domain": "a.test"}, "summary": '
    b'{"total-successful-session-count": 1, "total-failure-session-count": 2}, '
    b'"failure-details": [{"result-type": "x", "failed-session-count": 1}]}]}'
)
ARF = (
    b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/feedback-report\n\n"
    b"Feedback-Type: abuse\nIncidents: 2\nSource-IP: 192.0.2.1\nArrival-Date: Mon, 1 Jan 2024 "
    b"00:00:00 +0000\n--b\nContent-Type: message/rfc822\n\nFrom: a@b.test\nSubject: =?utf-8?q?x?=\n"
    b"\n--b--\n"
)

SEEDS: dict[str, tuple[bytes, ...]] = {
    "reports": (XML, JSON, ARF),
    "packed-reports": (XML, JSON),
    "redaction": (
        b"From: a <a@b.test>\nReceived: from x for <a@b.test>; d\nDKIM-Signature: d=x\n\n",
    ),
    "mending": (b'From: "a" <a>, b\nSender: c\nBcc: d\nTo: e (f), g: h;\nSubject: x\n y\n\nz',),
    "milter-changes": (b"\1abHello\n there" + b" " * 30 + b"Subject: x\nFrom: a@b.test\n\nbody\n",),
    "batv": (b"bob@example.org", b"prvs=0123abcdef=bob@example.org"),
    "lists": (b"zen.test=127.0.0.[2..11;14]*-2",),
}
