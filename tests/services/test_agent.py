"""The agents' end of mailtools-jobs(5): job lines in, exactly one report for each path out."""

import io
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadSyntax, ConnectionDied, NoSuchMailbox, SystemTrouble
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import Report, parse_report
from mailtools.services.agent import (
    LOCAL_EXITS,
    Job,
    JobReader,
    answer,
    deliver_once,
    exit_code,
    job_line,
    parse_job,
    serve_jobs,
)
from mailtools.store.queue import Queue

NO_TAB = st.text(st.characters(exclude_characters="\t\n", exclude_categories=("Cs",)), min_size=1)


def delivered(path: str) -> Report:
    return Report(path, "delivered", "2.0.0", "ok")


@pytest.fixture
def entry(tmp_path: Path) -> str:
    queue = Queue(str(tmp_path / "queue"))
    queue.create()
    paths = (ForwardPath("bob@example.org", {"NOTIFY": "NEVER"}), ForwardPath("carol@example.org"))
    writer = queue.begin(Envelope("alice@example.org", paths, {"SMTPUTF8": ""}))
    writer.write(b"Subject: x\n\nbody\n")
    return f"{queue.path}/new/{writer.commit()}"


@given(
    jobs=st.lists(
        st.tuples(NO_TAB, NO_TAB, NO_TAB | st.just(""), st.lists(NO_TAB, min_size=1)), max_size=5
    ),
    cuts=st.lists(st.integers(0, 500)),
)
def test_jobs_come_through_however_the_pipe_cuts_them(
    jobs: list[tuple[str, str, str, list[str]]], cuts: list[int]
) -> None:
    data = b"".join(job_line(*job) for job in jobs)
    reader, found, start = JobReader(), [], 0
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        found += reader.feed(data[start:cut])
        start = cut
    read = [(j.name, j.path, j.reverse_path, list(j.forward_paths)) for j in found]
    assert read == jobs


def test_only_lf_ends_a_line() -> None:
    odd = "bob\u2028\u0085\x0b\x0c\r@example.org"  # str.splitlines would cut here
    (job,) = JobReader().feed(job_line("7", "/q/new/1.M2P3R4", "", [odd]))
    assert job.forward_paths == (odd,)
    assert job.id == "1.M2P3R4"


@pytest.mark.parametrize("line", [b"", b"7", b"7\t/q\ta@b", b"\t/q\ta@b\tc@d", b"7\t/q\ta@b\t\t"])
def test_other_lines_are_refused(line: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_job(line)


def test_a_job_reads_its_entry(entry: str) -> None:
    job = Job("7", entry, "alice@example.org", ("bob@example.org",))
    assert job.message() == b"Subject: x\n\nbody\n"
    with job.open() as file:
        assert file.read() == job.message()
    assert job.envelope.parameters == {"SMTPUTF8": ""}
    assert job.parameters("bob@example.org") == {"NOTIFY": "NEVER"}
    assert job.parameters("carol@example.org") == {}
    assert job.parameters("nobody@example.org") == {}


def test_an_entry_that_an_operator_moved_is_only_delayed(tmp_path: Path) -> None:
    job = Job("7", str(tmp_path / "1.M2P3R4"), "", ("bob@example.org", "carol@example.org"))

    def deliver(job: Job) -> Iterator[Report]:
        yield delivered("bob@example.org")
        job.message()

    assert [report.action for report in answer(job, deliver)] == ["delivered", "delayed"]
    with pytest.raises(SystemTrouble):
        job.open()


def test_each_path_is_reported_once_whatever_the_agent_does(
    capfd: pytest.CaptureFixture[str],
) -> None:
    job = Job("7", "", "", ("a@x", "b@x", "c@x"))

    def forgets(job: Job) -> list[Report]:
        return [delivered("b@x"), delivered("b@x"), delivered("z@x")]

    reports = list(answer(job, forgets))
    assert [(r.forward_path, r.action) for r in reports] == [
        ("b@x", "delivered"), ("a@x", "delayed"), ("c@x", "delayed"),
    ]  # fmt: skip

    def fails(job: Job) -> Iterator[Report]:
        yield delivered("a@x")
        raise NoSuchMailbox(detail="looked everywhere")

    reports = list(answer(job, fails))
    assert [(r.action, r.status) for r in reports] == [
        ("delivered", "2.0.0"), ("failed", "5.1.1"), ("failed", "5.1.1"),
    ]  # fmt: skip
    assert 'detail="looked everywhere"' in capfd.readouterr().err

    def breaks(job: Job) -> list[Report]:
        raise ZeroDivisionError

    assert {(r.action, r.status) for r in answer(job, breaks)} == {("delayed", "4.3.0")}
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_serving_jobs_until_end_of_file() -> None:
    jobs_in, jobs_out = os.pipe()
    reports_in, reports_out = os.pipe()
    seen = []

    def deliver(job: Job) -> Iterator[Report]:
        seen.append(job.name)
        for path in job.forward_paths:
            yield delivered(path)

    thread = threading.Thread(target=serve_jobs, args=(deliver, 20, jobs_in, reports_out))
    thread.start()
    with open(reports_in, "rb") as reports:
        assert reports.readline() == b"ready 1 jobs=20\n"
        os.write(jobs_out, job_line("1", "/q/1", "", ["a@x", "b@x"])[:7])
        os.write(jobs_out, job_line("1", "/q/1", "", ["a@x", "b@x"])[7:])
        assert [parse_report(reports.readline().rstrip(b"\n"))[0] for _ in "12"] == ["1", "1"]
        os.write(jobs_out, job_line("2", "/q/1", "", ["c@x"]) + job_line("3", "/q/1", "", ["d@x"]))
        os.close(jobs_out)
        thread.join()
        os.close(reports_out)
        assert [parse_report(line.rstrip(b"\n"))[0] for line in reports] == ["2", "3"]
    os.close(jobs_in)
    assert seen == ["1", "2", "3"]


def test_an_agent_stops_when_the_queue_run_is_gone() -> None:
    jobs_in, jobs_out = os.pipe()
    reports_in, reports_out = os.pipe()
    os.close(reports_in)
    try:
        with pytest.raises(ConnectionDied):
            serve_jobs(lambda job: [], 1, jobs_in, reports_out)
    finally:
        for fd in (jobs_in, jobs_out, reports_out):
            os.close(fd)


def test_once_mode_prints_reports_and_gives_the_worst_as_exit_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Subject: x\r\n\r\nhi\r\n")))
    got = []

    def deliver(job: Job) -> Iterator[Report]:
        got.append((job.reverse_path, job.message(), job.parameters("b@x"), job.id))
        yield delivered("a@x")
        yield Report("b@x", "failed", "5.1.1", "No such mailbox here")

    code = deliver_once(deliver, "s@x", ["a@x", "b@x", "a@x"], exits=LOCAL_EXITS)
    assert got == [("s@x", b"Subject: x\n\nhi\n", {}, "")]
    assert capfd.readouterr().out == (
        "-\ta@x\tdelivered\t2.0.0\tok\n-\tb@x\tfailed\t5.1.1\tNo such mailbox here\n"
    )
    assert code == os.EX_NOUSER


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([], 0),
        ([("delivered", "2.0.0"), ("relayed", "2.0.0"), ("expanded", "2.0.0")], 0),
        ([("failed", "5.1.1"), ("delayed", "4.4.1")], 75),
        ([("failed", "5.1.1")], 69),
        ([("delivered", "2.0.0"), ("failed", "5.9.9")], 69),
    ],
)
def test_exit_codes(reports: list[tuple[str, str]], code: int) -> None:
    assert exit_code([Report("a@x", *report, "text") for report in reports], {}) == code
