"""What smtpd-accept notes for DMARC reports: one message judged, one row."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mailtools import log
from mailtools.errors import Failure, PolicyRefused, QueueFull
from mailtools.mail.dmarc_report import Row, Sent, Signed
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.fields import split_message
from mailtools.net.dns import Answer
from mailtools.services.reception.belief import Belief
from mailtools.services.reception.intake import Intake
from mailtools.services.reception.received import Hop
from mailtools.services.reception.stranger import meet
from mailtools.services.reports.dmarc_data import DmarcData
from mailtools.store.queue import Queue
from mailtools.store.report_data import Collected, day_of
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer, sign
from mailtools.trust.keys import new_private_key

NOW = 1_795_400_000
KEY = new_private_key("ed25519")
GOOD, BAD = "192.0.2.7", "203.0.113.9"
RUA = "rua=mailto:dmarc@bank.test"
ZONE = {
    "bank.test": "v=spf1 ip4:192.0.2.7 -all",
    "_dmarc.bank.test": f"v=DMARC1; p=reject; sp=quarantine; {RUA}",
    "_dmarc.try.test": f"v=DMARC1; p=reject; t=y; {RUA}",
    "_dmarc.wary.test": f"v=DMARC1; p=quarantine; {RUA}",
    "_dmarc.watch.test": f"v=DMARC1; p=none; {RUA}",
    "_dmarc.mute.test": "v=DMARC1; p=reject",
    "s._domainkey.bank.test": KEY.record(),
}

Take = Callable[..., list[tuple[str, Row]]]


def lookup(name: str, rrtype: str) -> Answer:
    found = ZONE.get(name.lower()) if rrtype == "TXT" else "192.0.2.1" if rrtype == "A" else None
    return Answer((found,) if found else (), exists=True)


def text_of(author: str, *, signed: bool = False, subject: str = "x") -> bytes:
    text = f"From: {author}\nSubject: {subject}\n\nHello\n".encode()
    if signed:
        header, body = split_message(text)
        hashes = BodyHashes([SIGNING_FORM])
        hashes.update(body)
        text = sign(header, hashes, [Signer("bank.test", "s", KEY)], NOW) + text
    return text


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lines.append)
    return lines


@pytest.fixture
def take(tmp_path: Path, said: list[str]) -> Take:
    """Bring a message in; give what is noted by then."""
    queue = Queue(str(tmp_path / "queue"))
    queue.create()

    def bring(
        text: bytes,
        sender: str,
        *,
        ip: str = BAD,
        to: tuple[str, ...] = ("bob@example.org",),
        most: int = 100_000,
        **settings: object,
    ) -> list[tuple[str, Row]]:
        collected = Collected(str(tmp_path / "reports"), "dmarc", most)
        values: dict[str, object] = {
            "me": "mail.example.org",
            "authserv_id": "mail.example.org",
            "contact": "postmaster@example.org",
            "lookup": lookup,
            "scratch": f"{queue.path}/tmp",
            "enforce": True,
            "clock": lambda: float(NOW),
            "reports": DmarcData(collected, lambda: float(NOW)),
            **settings,
        }
        belief = Belief(**values)  # type: ignore[arg-type]
        stranger = meet(belief, ip, "198.51.100.1")
        assert stranger
        envelope = Envelope(sender, tuple(ForwardPath(path) for path in to))
        hop = Hop("mx.test", ip, "", "mail.example.org", "ESMTP")
        intake = Intake(queue, envelope, hop, hops=100, facts={})
        sink = stranger.sink(intake, "mx.test", sender, to)
        sink.write(text)
        try:
            sink.commit()
        except Failure as failure:
            said.append(f"raised {type(failure).__name__}")
        if not (tmp_path / "reports").is_dir():
            return []
        return [
            (domain, _row(fact))
            for domain, facts in collected.read(day_of(NOW)).items()
            for texts in facts.values()
            for fact in texts.elements()
        ]

    return bring


def _row(text: str) -> Row:
    from mailtools.services.reports.compose import _row as read

    assert isinstance(json.loads(text), dict)
    row = read(text)
    assert row
    return row


def test_a_message_that_passes(take: Take) -> None:
    ((domain, row),) = take(text_of("a@bank.test", signed=True), "news@Bank.Test", ip=GOOD)
    assert domain == "bank.test"
    assert row == Row(
        GOOD,
        "pass",
        "pass",
        "pass",
        "bank.test",
        "bank.test",
        "example.org",
        (),
        (Signed("bank.test", "s", "pass"),),
        Sent("bank.test", "pass"),
    )


def test_a_forged_one_that_is_refused_counts(take: Take, said: list[str]) -> None:
    ((_, row),) = take(text_of("a@bank.test"), "x@bank.test")
    assert (row.disposition, row.dkim, row.spf) == ("reject", "fail", "fail")
    assert row.reasons == ()
    assert "raised PolicyRefused" in said


@pytest.mark.parametrize(
    ("author", "settings", "disposition", "reason"),
    [
        ("a@bank.test", {"enforce": False}, "none", "local_policy"),
        ("a@sub.bank.test", {}, "quarantine", ""),
        ("a@try.test", {}, "quarantine", "policy_test_mode"),
        ("a@wary.test", {}, "quarantine", ""),
        ("a@wary.test", {"quarantine": "mark"}, "none", "local_policy"),
        ("a@wary.test", {"quarantine": "reject"}, "reject", "local_policy"),
        ("a@watch.test", {}, "none", ""),
    ],
)
def test_what_was_done_and_why_it_was_not_what_was_asked(
    take: Take, author: str, settings: dict[str, object], disposition: str, reason: str
) -> None:
    ((_, row),) = take(text_of(author), "x@x.test", **settings)
    assert row.disposition == disposition
    assert [kind for kind, _ in row.reasons] == ([reason] if reason else [])


def test_what_goes_to_postmaster_is_taken_and_told_so(take: Take) -> None:
    ((_, row),) = take(text_of("a@bank.test"), "x@x.test", to=("postmaster@example.org",))
    assert row.disposition == "none"
    assert row.reasons == (("local_policy", "its recipient takes all mail"),)


def test_recipients_of_several_domains_are_not_named(take: Take) -> None:
    to = ("bob@example.org", "carol@example.com")
    ((_, row),) = take(text_of("a@watch.test"), "", to=to)
    assert (row.envelope_to, row.envelope_from) == ("", "")
    assert row.sent == Sent("mx.test", "none")


def test_who_asks_for_no_reports_is_not_noted(take: Take) -> None:
    assert take(text_of("a@mute.test"), "x@x.test") == []
    assert take(text_of("a@nothing.test"), "x@x.test") == []
    assert take(b"Subject: no author\n\n", "x@x.test") == []


def test_reports_breed_no_reports_but_forgeries_of_them_do(take: Take) -> None:
    subject = "Report Domain: example.org\n Submitter: mx.bank.test\n Report-ID: <1@x>"
    good = text_of("a@bank.test", signed=True, subject=subject)
    assert take(good, "a@bank.test", ip=GOOD) == []
    assert len(take(text_of("a@bank.test", subject=subject), "a@bank.test")) == 1


def test_a_message_that_will_come_again_is_not_counted_yet(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Failure] = [QueueFull(), PolicyRefused("content")]

    def commit(self: Intake) -> str:
        raise failures.pop(0)

    monkeypatch.setattr(Intake, "commit", commit)
    text = text_of("a@watch.test")
    assert take(text, "x@x.test") == []
    ((_, row),) = take(text, "x@x.test")
    assert (row.disposition, row.reasons) == ("reject", (("local_policy", "content"),))


def test_a_full_day_is_told_once_and_stops_no_mail(take: Take, said: list[str]) -> None:
    for _ in range(3):
        take(text_of("a@watch.test"), "x@x.test", most=10)
    assert said.count("overfull kind=dmarc") == 1
    assert not [line for line in said if line.startswith("raised")]


def test_a_disk_that_refuses_stops_no_mail(take: Take, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file where the folder should be")
    take(text_of("a@watch.test"), "x@x.test")
    assert not [line for line in said if line.startswith("raised")]
    assert [line for line in said if line.startswith("trouble ")]
