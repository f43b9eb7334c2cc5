"""Sending reports: what is left, where it goes, once each; with a DNS that is a dict."""

import base64
import gzip
import json
import re
import threading
from collections import Counter
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools import log
from mailtools.errors import BadParameter, DnsTrouble, NoAnswer, QueueFull
from mailtools.mail.dmarc_report import NAMESPACE, Published, Row
from mailtools.mail.envelope import decode
from mailtools.mail.tls_report import EXPIRED, STS, Applied, Session
from mailtools.net.dns import Answer
from mailtools.services.reports import compose, send
from mailtools.services.reports.compose import Report, Reporter, Subject, make
from mailtools.services.reports.send import Sending
from mailtools.store.queue import EntryWriter, Queue
from mailtools.store.report_data import Collected, SentDay, day_of, share_of

NOW = 1_795_400_000.0
TODAY, YESTERDAY = day_of(NOW), day_of(NOW - 86400)
REPORTER = Reporter("mx.example.org", "Example", "postmaster@example.org")
ZONE = {
    "_dmarc.bank.test": "v=DMARC1; p=reject; rua=mailto:a@bank.test,mailto:b@other.test",
    "bank.test._report._dmarc.other.test": "v=DMARC1",
    "_dmarc.forward.test": "v=DMARC1; p=reject; rua=mailto:a@victim.test",
    "_dmarc.example.org": "v=DMARC1; p=reject; rua=mailto:dmarc@example.org",
    "_smtp._tls.bank.test": "v=TLSRPTv1; rua=mailto:tls@bank.test",
    "_smtp._tls.web.test": "v=TLSRPTv1; rua=mailto:tls@web.test,https://web.test/v1",
}


class Office:
    """A spool with a queue, and what sends reports from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.zone: dict[str, str] = dict(ZONE)
        self.silent: set[str] = set()
        self.posted: list[str] = []
        self.web: Exception | None = None
        self.now = NOW
        self.queue = Queue(str(folder / "queue"))
        self.queue.create()

    def lookup(self, name: str, rrtype: str) -> Answer:
        if name in self.silent:
            raise DnsTrouble("no answer")
        return Answer((self.zone[name],) if name in self.zone else ())

    def post(self, uri: str, report: Report) -> None:
        if self.web:
            raise self.web
        self.posted.append(uri)

    def sending(self, **more: object) -> Sending:
        settings: dict[str, object] = {"clock": lambda: self.now, **more}
        return Sending(
            str(self.folder / "reports"), self.queue, REPORTER, self.lookup, self.post, **settings  # type: ignore[arg-type]
        )  # fmt: skip

    def run(self, **more: object) -> bool:
        """Do what report-send does; tell whether all went."""
        sending, done = self.sending(**more), True
        for kind in ("dmarc", "tls"):
            for day in sending.days(kind):
                done = all(list(sending.send(list(sending.items(kind, day))))) and done
        sending.sweep()
        return done

    def dmarc(self, domain: str, *, count: int = 1, source: str = "192.0.2.7", p: str = "reject",
              days: int = 1) -> None:  # fmt: skip
        policy = json.dumps(Published(p)._asdict())
        row = Row(source, "reject", "fail", "fail", domain)
        collected = Collected(str(self.folder / "reports"), "dmarc", 10**6)
        for _ in range(count):
            collected.add(domain, policy, json.dumps(row._asdict()), self.now - days * 86400)

    def tls(self, domain: str, *, count: int = 1, result: str = "", days: int = 1) -> None:
        applied = Applied(domain, STS, ("version: STSv1",), ("*.mx.test",))
        fact = json.dumps(Session(result, "mx.test")._asdict() if result else {})
        collected = Collected(str(self.folder / "reports"), "tls", 10**6)
        for _ in range(count):
            collected.add(domain, json.dumps(applied._asdict()), fact, self.now - days * 86400)

    def messages(self) -> list[Message]:
        return [message_from_bytes(text) for _, text in self.entries()]

    def entries(self) -> list[tuple[bytes, bytes]]:
        found = []
        for path in sorted((self.folder / "queue/new").iterdir()):
            head, _, text = path.read_bytes().partition(b"\n\n")
            found.append((head, text))
        return found


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(log, "line", lines.append)
    return lines


def attached(message: Message) -> tuple[Message, bytes]:
    parts = list(message.walk())
    return parts[-1], gzip.decompress(base64.b64decode(str(parts[-1].get_payload())))


def test_a_dmarc_report_as_the_rfc_has_it(office: Office, said: list[str]) -> None:
    office.dmarc("bank.test", count=3)
    office.dmarc("bank.test", source="192.0.2.8", p="none")
    assert office.run()
    ((head, text),) = office.entries()
    envelope = decode(head)
    assert envelope.reverse_path == ""
    assert [path.address for path in envelope.forward_paths] == ["a@bank.test", "b@other.test"]
    assert all(path.parameters == {"NOTIFY": "NEVER"} for path in envelope.forward_paths)
    assert "SUBMITTED" in envelope.parameters  # so it is signed
    message = message_from_bytes(text)
    subject = " ".join(str(message["Subject"]).split())
    id_ = "1795305600.dmarc.bank.test@mx.example.org"
    assert subject == f"Report Domain: bank.test Submitter: mx.example.org Report-ID: <{id_}>"
    assert message["Message-ID"] == f"<{id_}>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["From"] == "<postmaster@example.org>"
    assert message["TLS-Required"] is None
    part, xml = attached(message)
    assert part.get_content_type() == "application/gzip"
    name = "mx.example.org!bank.test!1795305600!1795391999.xml.gz"
    assert part.get_filename() == name
    tree, space = ElementTree.fromstring(xml), {"": NAMESPACE}
    counts = [int(each.text or "") for each in tree.iterfind("record/row/count", space)]
    assert counts == [3, 1]
    assert tree.findtext("policy_published/p", "", space) == "none"  # the last one seen
    assert tree.findtext("report_metadata/report_id", "", space) == id_
    assert re.search(r"^reported id=\S+ kind=dmarc domain=bank.test .* of=4 ", said[-1])
    assert max(map(len, text.split(b"\n"))) < 200


def test_a_tls_report_as_the_rfc_has_it(office: Office) -> None:
    office.tls("bank.test", count=5)
    office.tls("bank.test", result=EXPIRED)
    assert office.run()
    (message,) = office.messages()
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "tlsrpt"
    assert message["TLS-Report-Domain"] == "bank.test"
    assert message["TLS-Report-Submitter"] == "mx.example.org"
    assert message["TLS-Required"] == "No"
    part, data = attached(message)
    assert part.get_content_type() == "application/tlsrpt+gzip"
    assert part.get_filename() == "mx.example.org!bank.test!1795305600!1795391999.json.gz"
    report = json.loads(data)
    (policy,) = report["policies"]
    assert policy["summary"] == {
        "total-successful-session-count": 5, "total-failure-session-count": 1
    }  # fmt: skip
    assert report["contact-info"] == "postmaster@example.org"


def test_nothing_is_sent_twice(office: Office) -> None:
    office.dmarc("bank.test")
    office.tls("web.test")
    for _ in range(3):
        assert office.run()
    assert len(office.entries()) == 2
    assert office.posted == ["https://web.test/v1"]


def test_today_waits_until_it_is_over(office: Office) -> None:
    office.dmarc("bank.test", days=0)
    assert office.run()
    assert office.entries() == []
    office.now += 86400
    assert office.run()
    assert len(office.entries()) == 1


def test_days_that_were_missed_are_caught_up(office: Office) -> None:
    for days in (1, 2, 3):
        office.dmarc("bank.test", days=days)
    assert office.run()
    ids = [message["Message-ID"] for message in office.messages()]
    assert len(set(ids)) == 3


def test_who_did_not_agree_gets_nothing(office: Office, said: list[str]) -> None:
    office.dmarc("forward.test")
    assert office.run()
    assert office.entries() == []
    assert "reason=" in said[-1]
    assert "victim.test" in said[-1]


def test_who_asks_no_more_gets_nothing(office: Office, said: list[str]) -> None:
    office.dmarc("bank.test")
    del office.zone["_dmarc.bank.test"]
    assert office.run()
    assert office.entries() == []
    assert said[-1].startswith("unreported kind=dmarc domain=bank.test")


def test_no_report_to_ourselves(office: Office) -> None:
    office.dmarc("example.org")
    assert office.run(passed_over=lambda domain: domain == "example.org")
    assert office.entries() == []
    assert office.run()  # unless asked for
    assert len(office.entries()) == 1


def test_what_dns_does_not_answer_is_left_for_the_next_run(office: Office) -> None:
    office.dmarc("bank.test")
    office.silent.add("_dmarc.bank.test")
    assert not office.run()
    assert office.entries() == []
    office.silent.clear()
    assert office.run()
    assert len(office.entries()) == 1


def test_a_web_server_that_is_down_is_tried_again_alone(office: Office) -> None:
    office.tls("web.test")
    office.web = NoAnswer("down")
    assert not office.run()
    office.web = None
    assert office.run()
    assert office.posted == ["https://web.test/v1"]
    assert len(office.entries()) == 1


def test_a_uri_that_is_none_is_not_tried_again(office: Office) -> None:
    office.tls("web.test")
    office.web = BadParameter("no URI")
    assert office.run()
    assert len(office.entries()) == 1


def test_bounces_go_where_the_operator_wants_them(office: Office) -> None:
    office.dmarc("bank.test")
    assert office.run(bounces="bounces@example.org")
    envelope = decode(office.entries()[0][0])
    assert envelope.reverse_path == "bounces@example.org"
    assert all(not path.parameters for path in envelope.forward_paths)


def test_a_run_that_was_cut_off_looks_for_its_entry(office: Office) -> None:
    """It was committed, and delivered, before that was noted."""
    office.dmarc("bank.test")
    assert office.run()
    sent = office.folder / "reports/sent" / YESTERDAY
    begun = [line for line in sent.read_text().splitlines(True) if "\tbegun\t" in line]
    sent.write_text("".join(begun))
    assert office.run()
    assert len(office.entries()) == 1
    (path,) = (office.folder / "queue/new").iterdir()
    sent.write_text("".join(begun))
    history = office.folder / "queue/history" / TODAY
    history.write_text(f"{path.name}\t1795400000\tfrom\t\t100\t<x>\treport\n")
    path.unlink()
    assert office.run()
    assert office.entries() == []
    sent.write_text("".join(begun))
    history.unlink()
    assert office.run()  # nobody has seen it: it goes, under the same names
    assert office.messages()[0]["Message-ID"] == "<1795305600.dmarc.bank.test@mx.example.org>"


def test_old_data_are_dropped(office: Office) -> None:
    office.dmarc("bank.test", days=9)
    office.silent.add("_dmarc.bank.test")
    assert not office.run()
    assert not list((office.folder / "reports/dmarc").iterdir())
    assert not SentDay(str(office.folder / "reports"), day_of(NOW - 9 * 86400)).done("dmarc", "x")


def test_lines_that_are_not_ours_are_passed_over(office: Office) -> None:
    office.dmarc("bank.test")
    path = office.folder / "reports/dmarc" / YESTERDAY
    with path.open("a") as file:
        file.write('1\tbank.test\t{"p":"none"}\t{"source":1}\n1\tbank.test\t{}\t{nonsense}\n')
        file.write('1\t../etc\t{"p":"none"}\t{}\n1\tbad domain\t{"p":"none"}\t{}\n')
    assert office.run()
    ((_, xml),) = [attached(message) for message in office.messages()]
    assert xml.count(b"<record>") == 1


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
names = st.sampled_from(
    ["source", "reasons", "signed", "sent", "p", "domain", "kind", "lines", "patterns", "result"]
)
objects = st.dictionaries(names, junk, max_size=6).map(json.dumps) | st.text(max_size=20)


@given(st.dictionaries(objects, st.dictionaries(objects, st.integers(1, 9)), min_size=1))
def test_whatever_stands_in_the_data_a_report_is_made(found: dict[str, dict[str, int]]) -> None:
    facts = {policy: Counter(texts) for policy, texts in found.items()}
    ElementTree.fromstring(make(REPORTER, Subject("dmarc", "a.test", YESTERDAY), facts).plain)
    json.loads(make(REPORTER, Subject("tls", "a.test", YESTERDAY), facts).plain)


def test_without_a_line_of_ours_there_is_no_report(office: Office) -> None:
    office.tls("web.test")
    for kind in ("dmarc", "tls"):
        path = office.folder / "reports" / kind / YESTERDAY
        path.parent.mkdir(exist_ok=True)
        path.write_text('1\tbank.test\t{"p":"none"}\t{"what":1}\n')
    assert office.run()
    assert office.entries() == []


def test_a_flood_of_clients_is_cut_and_told(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "ROWS_MOST", 3)
    for number in range(5):
        office.dmarc("bank.test", source=f"192.0.2.{number}", count=5 - number)
    assert office.run()
    xml = attached(office.messages()[0])[1]
    assert xml.count(b"<record>") == 3
    assert b"<error>2 rows with 3 messages are left out</error>" in xml
    assert b"<count>5</count>" in xml  # those with most messages are in it


def test_a_report_of_a_full_day_says_so(office: Office) -> None:
    office.dmarc("bank.test")
    full = f"{YESTERDAY}.{share_of('bank.test', YESTERDAY)}.full"
    (office.folder / "reports/dmarc" / full).write_text("14:05\n")
    office.tls("bank.test")
    (office.folder / "reports/tls" / full).write_text("14:05\n")
    assert office.run()
    dmarc, tls = sorted(office.messages(), key=Message.get_content_type)
    assert b"<error>messages after 14:05 UTC are left out" in attached(dmarc)[1]
    for message in (dmarc, tls):
        assert "after 14:05 UTC" in str(next(iter(message.walk())).get_payload(0))


def test_many_names_of_one_owner_crowd_out_no_other(
    office: Office, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "REPORTS_MOST", 3)
    for number in range(5):
        office.dmarc(f"x{number}.evil.test", count=9)
    office.dmarc("bank.test")
    items = list(office.sending().items("dmarc", YESTERDAY))
    names = [item.subject.domain for item in items]
    assert names == ["x0.evil.test", "x1.evil.test", "bank.test"]
    assert len([line for line in said if 'reason="too many reports"' in line]) == 3


def test_dns_is_asked_about_many_at_once(office: Office) -> None:
    meeting = threading.Barrier(8, timeout=20)

    def lookup(name: str, rrtype: str) -> Answer:
        if name.startswith("_smtp._tls.d"):
            meeting.wait()
        return Answer(("v=TLSRPTv1; rua=mailto:tls@bank.test",))

    for number in range(8):
        office.tls(f"d{number}.test")
    office.lookup = lookup  # type: ignore[method-assign]
    assert office.run()
    assert len(office.entries()) == 8


def test_a_queue_that_is_full_leaves_the_rest_for_the_next_run(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = EntryWriter.commit
    for number in range(5):
        office.tls(f"d{number}.test")
        office.zone[f"_smtp._tls.d{number}.test"] = f"v=TLSRPTv1; rua=mailto:a@d{number}.test"
    calls: list[str] = []

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
    assert len({message["To"] for message in office.messages()}) == len(office.entries()) == 5
