"""Delivery status notifications, as the standard library's email package reads them."""

from email import message_from_bytes
from email.message import Message
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail import dsn, dsn_wishes
from mailtools.mail.dsn import Notification
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import Report

ARRIVAL = 1795435200.0
ORIGINAL = b"From: alice@example.org\nSubject: hi\nMessage-ID: <1@example.org>\n\nThe body.\n"


def make(
    *reports: Report,
    message: bytes = ORIGINAL,
    to: str = "alice@example.org",
    paths: tuple[ForwardPath, ...] = (ForwardPath("bob@example.net"),),
    until: float = 0.0,
    **parameters: str,
) -> Notification:
    envelope = Envelope(to, paths, {k.replace("_", "-"): v for k, v in parameters.items()})
    told = tuple((ARRIVAL + 60, report) for report in reports)
    return Notification(
        "mail.example.org", "1795435260.M2P3R4", ARRIVAL + 61, to, envelope, ARRIVAL, told,
        message, until,
    )  # fmt: skip


def failed(path: str = "bob@example.net", text: str = "mx said 550 5.1.1 nobody") -> Report:
    return Report(path, "failed", "5.1.1", text)


def parts(notification: Notification) -> tuple[Message, Message, Message, Message]:
    message = message_from_bytes(dsn.compose(notification))
    assert not message.defects
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    explanation, status, returned = message.get_payload()  # type: ignore[misc]
    return message, explanation, status, returned  # type: ignore[return-value]


def test_a_failure_for_people_and_programs() -> None:
    message, explanation, status, returned = parts(make(failed()))
    assert message["From"] == "Mail delivery <MAILER-DAEMON@mail.example.org>"
    assert message["To"] == "<alice@example.org>"
    assert message["Message-ID"] == "<1795435260.M2P3R4@mail.example.org>"
    assert message["In-Reply-To"] == message["References"] == "<1@example.org>"
    assert message["Date"] == "Mon, 23 Nov 2026 12:01:01 +0000"
    assert message["MIME-Version"] == "1.0"
    text = explanation.get_payload()
    assert "<bob@example.net>" in text
    assert "mx said 550 5.1.1 nobody" in text
    assert status.get_content_type() == "message/delivery-status"
    about, path = status.get_payload()  # type: ignore[misc]
    assert about.items() == [  # type: ignore[union-attr]
        ("Reporting-MTA", "dns; mail.example.org"),
        ("Arrival-Date", "Mon, 23 Nov 2026 12:00:00 +0000"),
    ]
    assert path.items() == [  # type: ignore[union-attr]
        ("Final-Recipient", "rfc822; bob@example.net"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; mx"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 nobody"),
        ("Last-Attempt-Date", "Mon, 23 Nov 2026 12:01:00 +0000"),
    ]
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "Subject: hi" in returned.get_payload()
    assert "The body" not in dsn.compose(make(failed())).decode()


def test_what_required_tls_is_told_of_under_tls_alone() -> None:
    asked, plain = make(failed(), REQUIRETLS=""), make(failed())
    assert dsn.envelope_for(asked, b"", "bounce").parameters["REQUIRETLS"] == ""
    assert "REQUIRETLS" not in dsn.envelope_for(plain, b"", "bounce").parameters


@pytest.mark.parametrize(
    ("parameters", "report", "size", "whole"),
    [
        ({}, failed(), 10, False),
        ({"RET": "HDRS"}, failed(), 10, False),
        ({"RET": "full"}, failed(), 10, True),
        ({"RET": "FULL"}, Report("bob@example.net", "delayed", "4.4.1", ""), 10, False),
        ({"RET": "FULL"}, Report("bob@example.net", "delivered", "2.0.0", ""), 10, False),
        ({"RET": "FULL", "REQUIRETLS": ""}, failed(), 10, False),
        ({"RET": "FULL"}, failed(), 300_000, False),
    ],
)
def test_the_whole_message_comes_back_only_when_asked_for(
    parameters: dict[str, str], report: Report, size: int, whole: bool
) -> None:
    body = b"x" * 60 + b"\n"
    message = ORIGINAL + body * (size // len(body))
    _, _, _, returned = parts(make(report, message=message, **parameters))
    if whole:
        assert returned.get_content_type() == "message/rfc822"
        assert returned.get_payload(0)["Subject"] == "hi"  # type: ignore[index, call-overload]
    else:
        assert returned.get_content_type() == "text/rfc822-headers"
        assert "The body" not in returned.get_payload()


def test_a_delay_says_until_when() -> None:
    report = Report("bob@example.net", "delayed", "4.4.1", "No answer from the host")
    message, explanation, status, _ = parts(make(report, until=ARRIVAL + 5 * 86400))
    assert "Delayed" in message["Subject"]
    assert "Sat, 28 Nov 2026 12:00:00 +0000" in explanation.get_payload()
    path = status.get_payload()[1]  # type: ignore[index]
    assert path["Will-Retry-Until"] == "Sat, 28 Nov 2026 12:00:00 +0000"
    assert path["Diagnostic-Code"] == "X-mailtools; No answer from the host"


def test_what_the_sender_gave_comes_back_decoded() -> None:
    path = ForwardPath("bob@example.net", {"ORCPT": "rfc822;Bob+2Bx+40y@example.net"})
    _, _, status, _ = parts(make(failed(), paths=(path,), ENVID="QQ+3D314+0AEvil:+20x"))
    about, recipient = status.get_payload()  # type: ignore[misc]
    assert about["Original-Envelope-Id"] == "QQ=314?Evil: x"  # type: ignore[index, call-overload]
    assert recipient["Original-Recipient"] == "rfc822; Bob+x@y@example.net"  # type: ignore[index, call-overload]
    assert "Evil" not in about  # type: ignore[operator]


def test_addresses_beyond_ascii_have_the_global_form() -> None:
    path = ForwardPath("björn@exämple.net", {"ORCPT": r"utf-8;bj\x{F6}rn@ex\x{E4}mple.net"})
    header = "Subject: grüße\n".encode()
    notification = make(
        failed("björn@exämple.net"), paths=(path,), message=header + b"\nx\n",
        to="ålice@example.org", SMTPUTF8="",
    )  # fmt: skip
    body = dsn.compose(notification)
    assert b"Content-Type: message/global-delivery-status" in body
    assert "Final-Recipient: utf-8; björn@exämple.net\n".encode() in body
    assert "Original-Recipient: utf-8; björn@exämple.net\n".encode() in body
    assert b"Content-Type: message/global-headers" in body
    envelope = dsn.envelope_for(notification, body, "bounce")
    assert envelope.parameters == {"SUBMITTED": "", "BODY": "8BITMIME", "SMTPUTF8": ""}


def test_the_ascii_sender_of_ascii_paths_needs_no_smtputf8() -> None:
    notification = make(failed(), message="Subject: grüße\n\nx\n".encode(), MT_PRIORITY="3")
    body = dsn.compose(notification)
    assert body.isascii()
    returned = message_from_bytes(body).get_payload()[2]  # type: ignore[index]
    assert returned.get_payload(decode=True) == "Subject: grüße\n".encode()
    envelope = dsn.envelope_for(notification, body, "bounce")
    assert envelope == Envelope(
        "",
        (ForwardPath("alice@example.org", {"NOTIFY": "NEVER"}),),
        {"SUBMITTED": "", "MT-PRIORITY": "3"},
        "bounce",
    )


def test_eight_bits_are_declared() -> None:
    notification = make(failed(), message=ORIGINAL + b"gr\xc3\xbc\xc3\x9fe\n", RET="FULL")
    body = dsn.compose(notification)
    message = message_from_bytes(body)
    assert message["Content-Transfer-Encoding"] == "8bit"
    envelope = dsn.envelope_for(notification, body, "bounce")
    assert envelope.parameters == {"SUBMITTED": "", "BODY": "8BITMIME"}


def test_a_boundary_never_stands_in_what_is_returned() -> None:
    evil = ORIGINAL + b"--1795435260.M2P3R4\nContent-Type: text/plain\n\nforged\n"
    _, _, _, returned = parts(make(failed(), message=evil, RET="FULL"))
    assert "forged" in returned.get_payload(0).get_payload()  # type: ignore[union-attr, call-overload]


def test_many_paths_each_have_their_group() -> None:
    reports = [failed(f"u{number}@example.net") for number in range(100)]
    _, _, status, _ = parts(make(*reports))
    groups = status.get_payload()
    assert [group["Final-Recipient"] for group in groups[1:]] == [  # type: ignore[index, union-attr]
        f"rfc822; u{number}@example.net" for number in range(100)
    ]


@given(
    text=st.text(max_size=2000) | st.text(st.just("ß"), min_size=900, max_size=3000),
    path=st.sampled_from(["bob@example.net", "björn@x.test"]),
)
def test_whatever_a_peer_says_the_report_stays_in_form(text: str, path: str) -> None:
    line = failed(path, text).line("7")
    told = failed(path, line.decode().rstrip("\n").split("\t", 4)[4])
    raw = dsn.compose(make(told))
    assert b"\r" not in raw
    assert max(map(len, raw.split(b"\n"))) <= 998
    message = message_from_bytes(raw, policy=default)
    status = message.get_payload()[1]  # type: ignore[index]
    assert status.get_content_maintype() == "message"
    assert raw.count(b"\nAction: failed\n") >= 1


@pytest.mark.parametrize(
    ("peer", "name"),
    [
        ("mx.example.net[192.0.2.9]:25", "mx.example.net"),
        ("mx.example.net", "mx.example.net"),
        ("[192.0.2.9]:25", "[192.0.2.9]"),
        ("Given up, it was tried too long: mx.example.net[192.0.2.9]:25", "mx.example.net"),
        ("[2001:db8::9]:25", "[IPv6:2001:db8::9]"),
    ],
)
def test_the_other_host_has_a_name_as_dns_has_it(peer: str, name: str) -> None:
    report = Report("bob@example.net", "failed", "5.1.1", f"{peer} said 550 5.1.1 nobody")
    group = make_and_read(report)
    assert group["Remote-MTA"] == f"dns; {name}"
    assert group["Diagnostic-Code"] == "smtp; 550 5.1.1 nobody"


def make_and_read(report: Report) -> Message:
    message = message_from_bytes(dsn.compose(make(report)))
    return message.get_payload()[1].get_payload()[1]  # type: ignore[index, union-attr, return-value]


@pytest.mark.parametrize("action", ["delivered", "expanded"])
def test_senders_do_not_learn_who_stands_behind_an_address(action: str) -> None:
    text = "delivered to secret, sent on to hidden@example.com as 1.M2P3R4"
    raw = dsn.compose(make(Report("bob@example.net", action, "2.0.0", text)))
    assert f"\nAction: {action}\n".encode() in raw
    assert b"secret" not in raw
    assert b"hidden" not in raw


def test_a_failure_behind_an_alias_names_the_address_the_sender_knows() -> None:
    known = {"ORCPT": dsn_wishes.original_recipient("list@example.org")}
    report = Report("bad@example.com", "failed", "5.1.1", "nobody")
    raw = dsn.compose(make(report, paths=(ForwardPath("bad@example.com", known),)))
    assert b"<bad@example.com>,\n  to which mail for <list@example.org> is sent on\n" in raw
    assert b"\nOriginal-Recipient: rfc822; list@example.org\n" in raw


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("bob+x@example.org", "rfc822;bob+2Bx@example.org"),
        ('"a b"@example.org', 'rfc822;"a+20b"@example.org'),
        ("b\u00fc+x@example.org", "utf-8;b\\x{FC}\\x{2B}x@example.org"),
    ],
)
def test_an_original_recipient_survives_its_writing(address: str, written: str) -> None:
    assert dsn_wishes.original_recipient(address) == written
    report = Report("bad@example.com", "failed", "5.1.1", "nobody")
    raw = dsn.compose(make(report, paths=(ForwardPath("bad@example.com", {"ORCPT": written}),)))
    assert f"\nOriginal-Recipient: {written.partition(';')[0]}; {address}\n".encode() in raw


@pytest.mark.parametrize(
    ("notify", "report", "wanted"),
    [
        (None, failed(), True),
        ("NEVER", failed(), False),
        (None, Report("b", "delayed", "4.0.0", ""), True),
        ("FAILURE", Report("b", "delayed", "4.0.0", ""), False),
        (None, Report("b", "delivered", "2.0.0", ""), False),
        ("SUCCESS,DELAY", Report("b", "delivered", "2.0.0", ""), True),
        ("SUCCESS", Report("b", "relayed", "2.0.0", ""), False),
        ("SUCCESS", Report("b", "expanded", "2.0.0", ""), True),
        ("SUCCESS", Report("b", "expanded", dsn_wishes.TOLD_BEYOND, ""), False),
        ("SUCCESS", Report("b", "relayed", dsn_wishes.NO_DSN_BEYOND, ""), True),
    ],
)
def test_who_wants_to_hear(notify: str | None, report: Report, wanted: bool) -> None:
    path = ForwardPath("bob@example.net", {"NOTIFY": notify} if notify else {})
    assert dsn_wishes.wanted(report, path) is wanted
