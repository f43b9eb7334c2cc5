"""report-send: two reports, each queued once, however often it is cut off, and not again later."""

import json
from pathlib import Path

from crash.scenario import Say, Scenario

from mailtools.mail.dmarc_report import Published, Row
from mailtools.net.dns import Answer
from mailtools.services.reports.compose import Report, Reporter
from mailtools.services.reports.send import Sending
from mailtools.store.entry import State
from mailtools.store.history import History, lines_of
from mailtools.store.queue import Queue
from mailtools.store.report_data import day_of

NOW = 1_795_400_000.0
DOMAINS = ("one.test", "two.test")
DAY = day_of(NOW - 86400)


def lookup(name: str, rrtype: str) -> Answer:
    domain = name.removeprefix("_dmarc.")
    found = f"v=DMARC1; p=none; rua=mailto:dmarc@{domain}" if domain in DOMAINS else ""
    return Answer((found,) if found else ())


def post(uri: str, report: Report) -> None:
    raise AssertionError("nothing is posted")


def sending(folder: Path) -> Sending:
    reporter = Reporter("mx.example.org", "Example", "postmaster@example.org")
    queue = Queue(str(folder / "queue"))
    return Sending(str(folder / "reports"), queue, reporter, lookup, post, clock=lambda: NOW)


def prepare(folder: Path) -> None:
    Queue(str(folder / "queue")).create()
    data = folder / "reports/dmarc"
    data.mkdir(parents=True)
    policy = json.dumps(Published("none")._asdict())
    rows = [(d, json.dumps(Row("192.0.2.7", "none", "fail", "fail", d)._asdict())) for d in DOMAINS]
    (data / DAY).write_text("".join(f"1\t{domain}\t{policy}\t{row}\n" for domain, row in rows))


def queued(folder: Path) -> dict[str, list[str]]:
    """The IDs of the reports in the queue, by domain; each must be whole."""
    queue = Queue(str(folder / "queue"))
    found: dict[str, list[str]] = {domain: [] for domain in DOMAINS}
    for place in queue.all():
        assert place.state is State.NEW
        entry = queue.open(place)
        (path,) = entry.envelope.forward_paths
        assert entry.message().endswith(f"--report-dmarc-{DAY}--\n".encode()), "half a report"
        found[path.address.partition("@")[2]].append(place.id)
    return found


def act(folder: Path, say: Say) -> None:
    queue, office = Queue(str(folder / "queue")), sending(folder)
    for item in office.items("dmarc", DAY):
        domain = item.subject.domain
        assert all(office.send([item]))
        (id_,) = queued(folder)[domain]
        entry = queue.open(id_)
        say(f"settling {domain}")
        History(f"{queue.path}/history").append(lines_of(entry), NOW)
        queue.settle(entry)
        say(f"delivered {domain}")


def check(folder: Path, said: list[str]) -> None:
    before = queued(folder)
    office = sending(folder)
    for item in office.items("dmarc", DAY):
        assert all(office.send([item]))
    after = queued(folder)
    for domain in DOMAINS:
        assert len(after[domain]) <= 1, f"the report on {domain} is there twice"
        if f"settling {domain}" not in said:
            assert after[domain], f"the report on {domain} is lost"
        elif f"delivered {domain}" in said and not before[domain]:
            assert not after[domain], f"the report on {domain} goes a second time"
    assert not list(sending(folder).items("dmarc", DAY)), "something is left"


SCENARIOS = [Scenario("report-send", prepare, act, check, stops=15)]
