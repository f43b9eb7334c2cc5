"""Failure reports: which messages a domain wants to know of, what is sent, how often, to whom."""

import json
import re
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools import log
from mailtools.errors import DnsTrouble, QueueFull
from mailtools.mail.envelope import decode
from mailtools.net.dns import Answer
from mailtools.services.reports import failures, read
from mailtools.services.reports.compose import Reporter
from mailtools.services.reports.dmarc_data import Judgement
from mailtools.services.reports.failure_data import FailureData, breeds_loops, wants
from mailtools.services.reports.failure_message import Incident, Told, read_incident, write_message
from mailtools.services.reports.failures import FailureSending
from mailtools.services.reports.read_values import Complaint, Incoming
from mailtools.store.queue import EntryWriter, Queue
from mailtools.store.report_data import Collected
from mailtools.trust.arc import Arc, ArcResult
from mailtools.trust.dkim import Dkim, DkimResult
from mailtools.trust.dmarc import Dmarc, DmarcResult
from mailtools.trust.dmarc_record import parse_dmarc
from mailtools.trust.examine import Verdicts
from mailtools.trust.spf import Spf, SpfResult

NOW = 1_795_400_000.0
REPORTER = Reporter("mx.example.org", "Example", "postmaster@example.org")
HEADER = (
    b"From: Alice <alice@bank.test>\nTo: bob@example.org\nSubject: x\nMessage-ID: <1@bank.test>\n"
)
ZONE = {
    "_dmarc.bank.test": "v=DMARC1; p=reject; ruf=mailto:ruf@bank.test,mailto:x@victim.test",
    "_dmarc.suffix.test": "v=DMARC1; p=reject; psd=y; ruf=mailto:ruf@suffix.test",
    "bank.test": "v=spf1 ip4:192.0.2.7 -all",
}


def judged(
    record: str = ZONE["_dmarc.bank.test"],
    *,
    dkim: Dkim | None = None,
    spf: Spf = Spf.FAIL,
    result: Dmarc = Dmarc.FAIL,
    aligned: str = "",
    header: bytes = HEADER,
    reverse_path: str = "alice@bank.test",
    source: str = "203.0.113.9",
    domain: str = "bank.test",
) -> Judgement:
    found = () if dkim is None else (DkimResult(dkim, domain, "s1", f"@{domain}"),)
    dmarc = DmarcResult(
        result,
        domain,
        organizational=domain,
        record=parse_dmarc(record, domain),
        spf=domain if "s" in aligned else "",
        dkim=(domain,) if "d" in aligned else (),
    )
    verdicts = Verdicts(found, ArcResult(Arc.NONE), dmarc)
    return Judgement(
        source, reverse_path, "example.org", header, SpfResult(spf, domain), verdicts, "refuse"
    )


@pytest.mark.parametrize(
    ("fo", "facts", "wanted"),
    [
        ("0", {}, True),
        ("0", {"result": Dmarc.PASS, "aligned": "s", "spf": Spf.PASS}, False),
        ("1", {"result": Dmarc.PASS, "aligned": "s", "spf": Spf.PASS}, True),
        ("1", {"result": Dmarc.PASS, "aligned": "sd", "spf": Spf.PASS}, False),
        ("d", {"dkim": Dkim.FAIL}, True),
        ("d", {}, False),
        ("d", {"dkim": Dkim.TEMPERROR}, False),
        ("s", {}, True),
        ("s", {"spf": Spf.NONE}, False),
        ("d:s", {"spf": Spf.SOFTFAIL}, True),
        ("nonsense", {}, True),
        ("0", {"result": Dmarc.TEMPERROR}, False),
    ],
)
def test_what_fo_asks_for(fo: str, facts: dict[str, Any], wanted: bool) -> None:
    case = judged(f"v=DMARC1; p=none; ruf=mailto:a@bank.test; fo={fo}", **facts)
    assert case.verdicts.dmarc.record
    assert wants(case.verdicts.dmarc.record, case) is wanted


@pytest.mark.parametrize(
    "record", ["v=DMARC1; p=none", "v=DMARC1; p=none; psd=y; ruf=mailto:a@bank.test"]
)
def test_who_asks_for_none_or_is_a_suffix(record: str) -> None:
    case = judged(record)
    assert case.verdicts.dmarc.record
    assert not wants(case.verdicts.dmarc.record, case)


@pytest.mark.parametrize(
    ("facts", "loops"),
    [
        ({}, False),
        ({"reverse_path": ""}, True),
        (
            {"header": HEADER + b"Content-Type: Multipart/Report; report-type=feedback-report\n"},
            True,
        ),
    ],
)
def test_answers_and_reports_breed_none(facts: dict[str, Any], loops: bool) -> None:
    assert breeds_loops(judged(**facts)) is loops


# -- sending --------------------------------------------------------------------------------------


class Office:
    def __init__(self, folder: Path) -> None:
        self.folder, self.now = folder, NOW
        self.zone = dict(ZONE)
        self.silent: set[str] = set()
        self.queue = Queue(str(folder / "queue"))
        self.queue.create()
        collected = Collected(str(folder / "reports"), "failure", 10**7)
        self.data = FailureData(collected, lambda: self.now, "mx.example.org")

    def lookup(self, name: str, rrtype: str) -> Answer:
        if name in self.silent:
            raise DnsTrouble("no answer")
        return Answer((self.zone[name],) if name in self.zone else ())

    def run(self, **more: Any) -> bool:
        return FailureSending(
            str(self.folder / "reports"), self.queue, REPORTER, self.lookup,
            clock=lambda: self.now, **more,
        ).send()  # fmt: skip

    def entries(self) -> list[tuple[bytes, bytes]]:
        paths = sorted((self.folder / "queue/new").iterdir())
        texts = [path.read_bytes().partition(b"\n\n") for path in paths]
        return [(head, text) for head, _, text in texts]

    def messages(self) -> list[Message]:
        return [message_from_bytes(text) for _, text in self.entries()]

    def files(self) -> list[str]:
        folder = self.folder / "reports/failure"
        return [path.name for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lines.append)
    return lines


def test_a_report_as_the_rfc_has_it(office: Office, said: list[str]) -> None:
    for _ in range(3):
        office.data.note(judged(dkim=Dkim.FAIL))
    assert office.run()
    ((head, text),) = office.entries()
    envelope = decode(head)
    assert envelope.reverse_path == ""
    assert [path.address for path in envelope.forward_paths] == ["ruf@bank.test"]
    assert envelope.forward_paths[0].parameters == {"NOTIFY": "NEVER"}
    message = message_from_bytes(text)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "feedback-report"
    assert message["Auto-Submitted"] == "auto-generated"
    human, feedback, header = message.get_payload()  # type: ignore[misc]
    assert human.get_content_type() == "text/plain"  # type: ignore[union-attr]
    assert "So did 2 more alike." in str(human)
    assert header.get_content_type() == "text/rfc822-headers"  # type: ignore[union-attr]
    fields = message_from_bytes(str(feedback).partition("\n\n")[2].lstrip().encode())
    assert (fields["Feedback-Type"], fields["Auth-Failure"]) == ("auth-failure", "dmarc")
    assert fields["Version"] == "1"
    assert fields["Identity-Alignment"] == "dkim,spf"
    assert fields["Source-IP"] == "203.0.113.9"
    assert fields["Reported-Domain"] == "bank.test"
    assert fields["Delivery-Result"] == "reject"
    assert fields["Incidents"] == "3"
    assert (fields["DKIM-Domain"], fields["DKIM-Selector"]) == ("bank.test", "s1")
    assert fields["SPF-DNS"] == 'txt : bank.test : "v=spf1 ip4:192.0.2.7 -all"'
    assert re.match(r"<[\w-]{12}@bank\.test>\Z", str(fields["Original-Mail-From"]))
    assert "dmarc=fail" in str(fields["Authentication-Results"])
    assert b"alice" not in text.lower()
    assert b"bob@" not in text
    assert any("victim.test has not agreed" in line for line in said)
    assert re.search(r"^reported id=\S+ kind=failure domain=bank.test .* of=3 ", said[-1])
    assert office.run()  # once
    assert len(office.entries()) == 1
    assert office.files() == []


def test_report_read_reads_it(office: Office) -> None:
    office.data.note(judged())
    office.run()
    found = list(read.of_bytes("x", office.entries()[0][1]))
    assert len(found) == 1
    report = found[0]
    assert isinstance(report, Incoming)
    assert (report.kind, report.domain) == ("failure", "bank.test")
    (row,) = report.rows
    assert isinstance(row, Complaint)
    assert row.source == "203.0.113.9"
    assert row.message_id == "<1@bank.test>"


def test_what_failed_otherwise_is_another_report(office: Office) -> None:
    office.data.note(judged())
    office.data.note(judged(source="203.0.113.10"))
    office.data.note(judged(dkim=Dkim.FAIL))
    assert office.run()
    assert len(office.entries()) == 3


def test_few_go_to_a_domain_in_a_day_whatever_is_below_it(
    office: Office, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "OF_DOMAIN_MOST", 4)
    for n in range(8):
        name = f"x{n}.evil.test"
        office.zone[f"_dmarc.{name}"] = record = f"v=DMARC1; p=none; ruf=mailto:a@{name}"
        office.data.note(judged(record, domain=name))
        if n == 5:
            assert office.run()
    office.data.note(judged())
    assert office.run()
    to = [str(message["To"]) for message in office.messages()]
    assert len(to) == 5
    assert "<ruf@bank.test>" in to
    assert len([line for line in said if 'reason="too many reports"' in line]) == 4
    office.now += 86400
    office.data.note(judged(office.zone["_dmarc.x0.evil.test"], domain="x0.evil.test"))
    assert office.run()
    assert len(office.entries()) == 6


def test_what_dns_does_not_answer_waits_a_day_at_most(office: Office) -> None:
    office.data.note(judged())
    office.silent.add("_dmarc.bank.test")
    assert not office.run()
    assert len(office.files()) == 1
    office.silent.clear()
    assert office.run()
    assert len(office.entries()) == 1
    office.data.note(judged())
    office.silent.add("_dmarc.bank.test")
    office.now += 2 * 86400
    assert not office.run()
    assert office.files() == []


def test_a_run_that_breaks_off_sends_nothing_twice(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        office.data.note(judged(source=f"203.0.113.{n}"))
    committed, calls = EntryWriter.commit, []

    def commit(self: EntryWriter, *, held: str = "") -> str:
        calls.append(self.id)
        if len(calls) == 3:
            raise QueueFull
        return committed(self)

    monkeypatch.setattr(EntryWriter, "commit", commit)
    with pytest.raises(QueueFull):
        office.run()
    assert len(office.entries()) == 4
    assert office.run()
    ids = [message["Message-ID"] for message in office.messages()]
    assert len(set(ids)) == len(ids) == 5


def test_our_own_domains_and_suffixes_get_none(office: Office) -> None:
    office.data.note(judged())
    office.data.note(judged("v=DMARC1; p=none; ruf=mailto:a@suffix.test", domain="suffix.test"))
    assert office.run(passed_over=lambda domain: domain == "bank.test")
    assert office.entries() == []


junk = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=3))
)
names = st.sampled_from(["at", "source", "author", "from", "results", "failed", "signed", "spf"])


@given(st.dictionaries(names, junk).map(json.dumps) | st.text(max_size=20))
def test_lines_that_are_not_ours_are_passed_over(text: str) -> None:
    assert read_incident(text) is None or isinstance(read_incident(text), Incident)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=200))
def test_strangers_add_no_lines_and_no_fields(path: str, results: str, header: str) -> None:
    fact = {
        "at": 1, "source": "192.0.2.1", "author": "a.test", "from": path, "results": results,
        "failed": "spf", "signed": [[path, results, "s"]], "spf": "", "done": "spam",
        "header": header,
    }  # fmt: skip
    incident = read_incident(json.dumps(fact))
    assert incident
    told = Told("a.test.1", "a.test", incident, 1, results)
    text = write_message(REPORTER, told, to=("r@a.test",), key=bytes(32), now=NOW).decode("ascii")
    message = message_from_bytes(text.encode())
    parts = message.get_payload()
    assert len(parts) == 3
    fields = str(parts[1]).partition("\n\n")[2].strip().split("\n")  # type: ignore[index]
    allowed = "Feedback-Type|User-Agent|Version|Auth-Failure|Authentication-Results|Incidents"
    allowed += "|Identity-Alignment|Original-Mail-From|Source-IP|Reported-Domain|Reporting-MTA"
    allowed += "|Arrival-Date|Delivery-Result|DKIM-Domain|DKIM-Identity|DKIM-Selector"
    assert all(re.match(rf"(?:{allowed}): |\t\S", line) for line in fields)
