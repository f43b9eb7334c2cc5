"""Received reports: what is in use is read, what is hostile is refused by name, nothing raises."""

import base64
import gzip
import io
import json
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail import dmarc_report, tls_report
from mailtools.mail.dmarc_report import Feedback, Published, Sent, Signed
from mailtools.mail.dmarc_report import Row as Written
from mailtools.mail.tls_report import Applied, Session, TlsReport
from mailtools.services.reports import compose, read_dmarc, read_tls, read_unpack
from mailtools.services.reports.read import of_bytes, of_stream, once
from mailtools.services.reports.read_names import chosen, failing, namer
from mailtools.services.reports.read_table import tables
from mailtools.services.reports.read_unpack import Room, gunzip
from mailtools.services.reports.read_values import (
    Complaint,
    Fault,
    Incoming,
    Mail,
    Sessions,
    from_json,
    to_json,
)

OLD = """<?xml version="1.0" encoding="windows-1252"?>
<feedback xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>
 <report_metadata>
  <org_name>B\xfccher &amp; more</org_name><email>dmarc@example.net</email>
  <report_id>example.org:1</report_id>
  <date_range><begin>1764028800</begin><end>1764115199</end></date_range>
 </report_metadata>
 <policy_published><domain>Example.ORG</domain><adkim>r</adkim><p>reject</p><pct>100</pct>
 </policy_published>
 <record><row><source_ip>192.0.2.7</source_ip><count>120</count><policy_evaluated>
   <disposition>none</disposition><dkim>pass</dkim><spf>fail</spf></policy_evaluated></row>
  <identifiers><header_from>example.org</header_from></identifiers>
  <auth_results><dkim><domain>example.org</domain><result>pass</result></dkim></auth_results>
 </record>
 <record><row><source_ip>2001:DB8:0:0::9</source_ip><count>4</count><policy_evaluated>
   <disposition>reject</disposition><dkim>fail</dkim><spf>fail</spf></policy_evaluated></row>
  <identifiers><header_from>example.org</header_from></identifiers>
  <auth_results><spf><domain>list.example.com</domain><result>pass</result></spf></auth_results>
 </record>
</feedback>
""".encode("windows-1252")

TLSRPT = {
    "organization-name": "Example Inc",
    "date-range": {
        "start-datetime": "2025-11-25T00:00:00Z",
        "end-datetime": "2025-11-25T23:59:59Z",
    },
    "report-id": "t1",
    "policies": [
        {
            "policy": {"policy-type": "sts", "policy-domain": "example.org"},
            "summary": {
                "total-successful-session-count": 300,
                "total-failure-session-count": 5,
            },
            "failure-details": [
                {
                    "result-type": "certificate-expired",
                    "receiving-mx-hostname": "mx1.example.org",
                    "failed-session-count": 3,
                }
            ],
        }
    ],
}

ARF = b"""From: fbl@example.net
Subject: FW: Buy
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary=b

--b
Content-Type: text/plain

This is a report.
--b
Content-Type: message/feedback-report

Feedback-Type: auth-failure
Auth-Failure: dmarc
User-Agent: Some/1.0
Version: 1
Original-Mail-From: <evil@example.com>
Original-Rcpt-To: <carol@example.net>
Arrival-Date: Tue, 25 Nov 2025 10:00:00 +0000
Source-IP: 203.0.113.9
Reported-Domain: example.org
Delivery-Result: reject
Incidents: 3

--b
Content-Type: text/rfc822-headers

From: Bank <info@example.org>
Subject: =?utf-8?q?B=C3=BCcher?=
Message-ID: <m1@example.com>

--b--
"""


def read(data: bytes) -> tuple[list[Incoming], list[str]]:
    found = list(of_bytes("f", data))
    return (
        [each for each in found if isinstance(each, Incoming)],
        [f"{each.name}: {each.text}" for each in found if isinstance(each, Fault)],
    )


def only(data: bytes) -> Incoming:
    (report,), faults = read(data)
    assert not faults
    return report


def fault(data: bytes) -> str:
    reports, (text,) = read(data)
    assert not reports
    return text


def attached(data: bytes, name: str) -> bytes:
    import base64

    return (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\n"
        b"Content-Type: text/plain\r\n\r\n{hello}\r\n--b\r\nContent-Type: application/octet-stream;"
        + f' name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'.encode()
        + base64.encodebytes(data)
        + b"\r\n--b--\r\n"
    )


def zipped(*files: tuple[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return memory.getvalue()


def test_an_old_aggregate_report() -> None:
    report = only(OLD)
    assert (report.reporter, report.domain, report.day) == (
        "B\xfccher & more",
        "example.org",
        "2025-11-25",
    )
    assert report.policy == "p=reject"
    first, second = report.rows
    assert first == Mail("192.0.2.7", "example.org", 120, "none", "pass", "fail", ("example.org",))
    assert isinstance(second, Mail)
    assert (second.source, second.passed, second.sent) == (
        "2001:db8::9",
        False,
        ("list.example.com",),
    )


@pytest.mark.parametrize(
    "packed",
    [
        gzip.compress(OLD), gzip.compress(OLD[:99]) + gzip.compress(OLD[99:]),
        zipped(("r.xml", OLD)), attached(gzip.compress(OLD), "r.xml.gz"),
        attached(zipped(("r.xml", OLD)), "r.zip"), attached(OLD, "r.xml"), b"\r\n" + OLD,
    ],
)  # fmt: skip
def test_however_it_is_packed(packed: bytes) -> None:
    assert only(packed) == only(OLD)


def test_what_we_write_is_read() -> None:
    row = Written(
        "192.0.2.1", "pass", "pass", "fail", "example.com", "a.test", "", (("forwarded", "x"),),
        (Signed("example.com", "s", "pass"),), Sent("a.test", "fail"),
    )  # fmt: skip
    written = dmarc_report.write(
        Feedback("we", "a@we.test", "1", 1764028800, 1764115199, "example.com",
                 Published("reject", np="quarantine"), ((row, 7),))
    )  # fmt: skip
    report = only(written)
    assert (report.reporter, report.id, report.policy) == ("we", "1", "p=reject np=quarantine")
    assert report.rows == (
        Mail("192.0.2.1", "example.com", 7, "pass", "pass", "fail", ("example.com",), (),
             ("forwarded",)),
    )  # fmt: skip
    sessions = ((Session(), 9), (Session("certificate-expired", "mx.test", "192.0.2.3"), 2))
    applied = Applied("example.com", "sts", ("version: STSv1",), ("mx.test",))
    plain = tls_report.write(
        TlsReport("we", "a@we.test", "2", "2025-11-25", ((applied, sessions),))
    )
    subject = compose.Subject(compose.TLS, "example.com", "2025-11-25")
    sent = compose.Report(
        subject, "2", "we!x.json.gz", "application/tlsrpt+gzip", plain, gzip.compress(plain), 11
    )
    reporter = compose.Reporter("mail.we.test", "we", "a@we.test")
    for data in (plain, compose.message(reporter, sent, ["x@example.com"], 0.0)):
        assert only(data).rows == (
            Sessions("sts", "example.com", "", 9),
            Sessions("sts", "example.com", "certificate-expired", 2, "mx.test"),
        )


def test_a_tls_report_that_does_not_tell_of_all_failures() -> None:
    report = only(json.dumps(TLSRPT).encode())
    assert [(row.failure, row.number) for row in report.rows if isinstance(row, Sessions)] == [
        ("", 300),
        ("certificate-expired", 3),
        ("not-told", 2),
    ]
    assert (report.domain, report.day) == ("example.org", "2025-11-25")


def test_a_failure_report() -> None:
    report = only(ARF)
    assert report.rows == (
        Complaint("auth-failure", "dmarc", "203.0.113.9", "evil@example.com", "carol@example.net",
                  "B\xfccher", "<m1@example.com>", 3),
    )  # fmt: skip
    assert (report.domain, report.day, report.policy) == ("example.org", "2025-11-25", "reject")


BOMB = b"""<?xml version="1.0"?><!DOCTYPE feedback [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><feedback><report_metadata><org_name>&b;</org_name>
</report_metadata></feedback>"""
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE feedback [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<feedback><report_metadata><org_name>&x;</org_name></report_metadata></feedback>"""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (BOMB, "DOCTYPE"),
        (OUTSIDE, "DOCTYPE"),
        (b"<feedback>&x;</feedback>", "broken: undefined entity"),
        (b"<feedback>" + b"<a>" * 50, "inside one another"),
        (b"<feedback><record>" + b"<a/>" * 9999 + b"</record></feedback>", "more than 2000"),
        (b"<html><body/></html>", "root is <html>"),
        (b"<feedback/>", "no DMARC report"),
        (b'<?xml version="1.0" encoding="klingon"?><feedback/>', "XML"),
        (OLD[:400], "XML is broken"),
        (b"{", "JSON is broken"),
        (b"[" * 9 + b"{", "no report in it"),
        (b'{"policies": ' + b"[" * 100_000, "JSON is broken"),
        (b'{"a": 1}', "no policies"),
        (gzip.compress(OLD, mtime=0)[:-200], "cut short"),
        (gzip.compress(OLD, mtime=0)[:10] + b"\xff" * 20, "broken"),
        (gzip.compress(b"hello", mtime=0), "neither XML nor JSON"),
        (zipped(("r.xml", OLD))[:-30], "zip archive is broken"),
        (zipped(*((f"{n}.xml", OLD) for n in range(60))), "more than 50 files"),
        (b"Subject: hi\n\nno report\n", "no report in it"),
        (b"", "no report in it"),
        (ARF.replace(b"Feedback-Type", b"X"), "no Feedback-Type"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, why: str) -> None:
    text = fault(data)
    assert text.startswith("f: ")
    assert why in text


def test_bombs_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_unpack, "UNPACKED_MOST", 100_000)
    for packed in (gzip.compress(b"<" * 10**7), zipped(("a", b"<" * 10**7))):
        assert len(packed) < 20_000
        assert "larger than 100000 octets" in fault(packed)
    with pytest.raises(read_unpack.Unreadable):
        gunzip(gzip.compress(b"x" * 60_000) * 2, Room())


@pytest.mark.parametrize("pack", [gzip.compress, lambda text: zipped(("a", text))])
def test_many_bombs_in_a_message_are_one(
    monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(read_unpack, "UNPACKED_MOST", 100_000)
    part = base64.encodebytes(pack(b"<feedback>" + b" " * 40_000)).decode()
    head = "Content-Type: application/gzip; name=a.gz\nContent-Transfer-Encoding: base64\n\n"
    text = "Content-Type: multipart/mixed; boundary=b\n\n" + f"--b\n{head}{part}\n" * 5 + "--b--\n"
    said = [each.text for each in of_bytes("f", text.encode()) if isinstance(each, Fault)]
    assert ["larger than" in each for each in said] == [False, False, True, True, True]


def test_an_absurd_day_is_none_and_the_report_is_read_again() -> None:
    text = b'{"policies": [], "date-range": {"start-datetime": "6204-01-01T00:00:00Z"}}'
    arf = (
        b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/feedback-report"
        b"\n\nFeedback-Type: abuse\nArrival-Date: Mon, 1 Jan 9999 00:00:00 +0000\n--b--\n"
    )
    for data in (text, arf):
        (report,) = of_bytes("f", data)
        assert isinstance(report, Incoming)
        assert (report.begin, report.day) == (0.0, "-")
        assert from_json(to_json(report).encode()) == report


def test_records_that_are_left_out_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_dmarc, "ROWS_MOST", 50)
    good = "<record><row><count>1</count></row></record>"
    text = f"<feedback>{good}{'<record/>' * 100}{good}</feedback>".encode()
    found = list(of_bytes("f", text))
    assert isinstance(found[0], Incoming)
    assert len(found[0].rows) == 1
    assert "more than 50 records" in found[0].faults[-1]
    monkeypatch.setattr(read_dmarc, "ELEMENTS_MOST", 90)
    assert "more than 90 elements" in fault(b"<feedback>" + b"<x/>" * 100 + b"</feedback>")


def test_a_tls_report_that_would_fill_the_memory_is_not_read() -> None:
    bomb = gzip.compress(b'{"policies":[' + b"{}," * (read_tls.JSON_MOST // 3) + b"{}]}")
    assert len(bomb) < 100_000
    (fault,) = of_bytes("bomb", bomb)
    assert isinstance(fault, Fault)
    assert "larger than a TLS report" in fault.text


@pytest.mark.parametrize("number", ["-1", "9" * 400, "10000000000000", "many", "", "1e9", "\u0663"])
def test_absurd_numbers_cost_their_record_only(number: str) -> None:
    (report,), faults = read(OLD.replace(b">4<", f">{number}<".encode("windows-1252", "ignore")))
    assert len(report.rows) == 1
    assert "a record is left out" in faults[0]
    broken = json.dumps(TLSRPT).replace(
        "300", number if number.isascii() and number.isdigit() else "true"
    )
    (tls,), faults = read(broken.encode())
    assert tls.rows == ()
    assert "a policy is left out: total-successful-session-count" in faults[0]


def test_a_report_in_a_schema_that_never_ends_and_one_cut_short() -> None:
    (report,), faults = read(b'<x:schema xmlns:x="http://x.test">' + OLD.partition(b"?>\n")[2])
    assert len(report.rows) == 2
    assert "broken: no element found" in faults[0]
    (report,), faults = read(OLD[:-250])
    assert [row.number for row in report.rows] == [120]
    assert "what stands before that counts" in faults[0]


def test_octets_that_are_no_utf_8() -> None:
    text = OLD.replace(b"windows-1252", b"UTF-8").replace(b"<header_from>", b"<header_from>\x91")
    report = only(text)
    assert isinstance(report.rows[0], Mail)
    assert report.rows[0].author == "\ufffdexample.org"


def test_what_they_write_cannot_play_with_a_terminal() -> None:
    evil = OLD.replace(b"more", b"\x9b31m&#x1b;").replace(b"example.org</h", b"a&#x85;b&#x202e;</h")
    (report,), _ = read(evil.replace(b"&#x1b;", b""))
    shown = "\n".join(tables([report], 0, lambda _: ""))
    assert all(c.isprintable() or c == "\n" for c in shown)


def test_as_a_line_and_back() -> None:
    for data in (OLD, json.dumps(TLSRPT).encode(), ARF):
        report = only(data)
        assert from_json(to_json(report).encode()) == report


def test_lines_of_append_and_one_that_was_torn() -> None:
    line = to_json(only(OLD)).encode()
    found = list(of_stream("log", io.BytesIO(line + b"\n" + line[:50] + b"\n" + line)))
    assert found == [
        only(OLD),
        Fault("log:2", "the line is no report, or was cut short"),
        only(OLD),
    ]
    assert len(list(once(found))) == 2


@given(st.binary() | st.builds(lambda a, b: a + b, st.sampled_from([
    b"<feedback>", b"\x1f\x8b\x08\0", b"PK\x03\x04", b'{"policies":', b'{"mailtools-report": 1',
    b"Content-Type: message/feedback-report\n\n", gzip.compress(OLD)[:60], OLD[:700],
]), st.binary()))  # fmt: skip
def test_nothing_raises(data: bytes) -> None:
    for must in (False, True):
        found = list(of_stream("x", io.BytesIO(data), must=must))
        reports = [each for each in found if isinstance(each, Incoming)]
        list(tables(reports, 2, lambda _: ""))
    assert found or not must


@given(st.integers(0, len(OLD)), st.binary(max_size=4))
def test_no_damage_raises(place: int, noise: bytes) -> None:
    for whole in (OLD, json.dumps(TLSRPT).encode(), ARF, gzip.compress(OLD), zipped(("r", OLD))):
        list(of_bytes("x", whole[:place] + noise + whole[place + 1 :]))


def test_tables() -> None:
    shown = list(tables([only(OLD), only(json.dumps(TLSRPT).encode()), only(ARF)], 20, names))
    assert shown[0] == (
        "DMARC: 1 report of 1 reporter on example.org, 2025-11-25 to 2025-11-25: 124 messages, "
        "97% pass"
    )
    assert "example.org  2025-11-25       124   120     4  none 120, reject 4" in shown
    rows = [line for line in shown if line.startswith(("192.0.2.7", "2001:db8::9"))]
    assert rows[0].endswith("bounces to list.example.com")  # failures first
    assert rows[1].startswith("192.0.2.7 mx.example.org")
    assert any("305 sessions, 98% went well" in line for line in shown)
    assert "  certificate-expired: renew its certificate" in shown
    assert any(line.startswith("2025-11-25  example.org  auth-failure dmarc") for line in shown)


def names(address: str) -> str:
    return "mx.example.org" if address == "192.0.2.7" else ""


def test_only_so_many_rows() -> None:
    shown = list(tables([only(OLD)], 1, lambda _: ""))
    assert shown[-1] == "  and 1 more source: --most 0"


def test_choosing() -> None:
    report = only(OLD)
    assert list(chosen([report], ["Example.org."], 0)) == [report]
    assert list(chosen([report._replace(domain="a.example.org")], ["example.org"], 0))
    assert not list(chosen([report], ["xample.org"], 0))
    assert not list(chosen([report], [], report.end + 1))
    assert [row.number for row in failing(report).rows] == [4]


def test_names_must_lead_back() -> None:
    from mailtools.net.dns import Answer

    zone = {
        ("7.2.0.192.in-addr.arpa", "PTR"): ("mx.example.org",),
        ("mx.example.org", "A"): ("192.0.2.7",),
        ("8.2.0.192.in-addr.arpa", "PTR"): ("mx.example.org",),
    }
    name_of = namer(lambda name, kind: Answer(zone.get((name, kind), ())))
    assert [name_of(ip) for ip in ("192.0.2.7", "192.0.2.8", "-")] == ["mx.example.org", "", ""]
