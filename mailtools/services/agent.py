"""What every delivery agent shares: job lines in, report lines out (mailtools-jobs(5)).

An agent is one function, `deliver(job) -> iterable of Report`. `deliver_once` runs it for a message
on stdin, `serve_jobs` for the jobs that a queue run sends. An agent that does its jobs side by
side, in a loop or threads of its own, uses the parts: JobReader turns bytes into Jobs,
`Report.line(job.name)` turns a report into bytes, and `answer` keeps the rule of one report for
each forward-path.
"""

import io
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO

from mailtools import log
from mailtools.errors import BadSyntax, ConnectionDied, Failure, NoSuchEntry, SystemTrouble
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, FAILED, Report, report_failure
from mailtools.store.entry_file import read_start

VERSION = "1"
ONCE = "-"  # the job's name in once mode
LINE_MOST = 64 * 1024 * 1024  # octets of a job line: a million forward-paths
_READ = 65536

Deliver = Callable[["Job"], Iterable[Report]]


class Job:
    """A message and the forward-paths it is to be brought to in this attempt."""

    __slots__ = ("_data", "_head", "forward_paths", "name", "path", "reverse_path")

    def __init__(
        self,
        name: str,
        path: str,
        reverse_path: str,
        forward_paths: tuple[str, ...],
        *,
        head: tuple[Envelope, int] | None = None,
        data: bytes | None = None,
    ) -> None:
        self.name = name
        """What reports begin with."""
        self.path = path
        """The queue entry; "" in once mode."""
        self.reverse_path = reverse_path
        """"" is the null one."""
        self.forward_paths = forward_paths
        self._head = head
        self._data = data

    @property
    def id(self) -> str:
        """The entry's queue ID, for `id=` in log lines and Maildir names; "" in once mode."""
        return os.path.basename(self.path)

    @property
    def envelope(self) -> Envelope:
        """The whole envelope with its parameters, read from the entry when first asked for."""
        return self._read_head()[0]

    @property
    def offset(self) -> int:
        """Where the message begins in the entry's file."""
        return self._read_head()[1]

    def open(self) -> BinaryIO:
        """Open the message for reading, at its beginning (LF line ends); raise SystemTrouble."""
        offset = self.offset if self._data is None else 0
        if self._data is not None:
            return io.BytesIO(self._data)
        try:
            file = open(self.path, "rb", buffering=0)
        except OSError as error:
            raise SystemTrouble(detail=f"cannot read {self.path}: {error.strerror}") from error
        file.seek(offset)
        return file

    def message(self) -> bytes:
        """Read the whole message."""
        with self.open() as file:
            return file.read()

    def parameters(self, forward_path: str) -> Mapping[str, str]:
        """Give the RCPT parameters of a forward-path, by keyword."""
        for path in self.envelope.forward_paths:
            if path.address == forward_path:
                return path.parameters
        return {}

    def _read_head(self) -> tuple[Envelope, int]:
        if self._head is None:
            try:
                envelope, offset, start, size = read_start(self.path)
                self._head = envelope, offset
                if len(start) == size:
                    self._data = start  # a small message needs no second look
            except NoSuchEntry:
                # Not permanent: an operator may have held or moved it, and will see it again.
                raise SystemTrouble("The queue entry is not there any more") from None
        return self._head


class JobReader:
    """Turns the bytes on an agent's stdin into Jobs, however they are cut."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._rest = b""

    def feed(self, data: bytes) -> list[Job]:
        """Take in bytes; give the jobs whose lines are complete. Raise BadSyntax for others."""
        # Split as bytes on LF: str.splitlines also splits at U+2028, which an address may hold.
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MOST:
            raise BadSyntax("Job line too long")
        return [parse_job(line) for line in lines]


def parse_job(line: bytes) -> Job:
    """Read a job line without its LF: job, path, reverse-path, forward-paths; TAB between."""
    name, *rest = line.decode("utf-8", "surrogateescape").split("\t")
    if len(rest) < 3 or not name or not all(rest[2:]):
        raise BadSyntax(f"Bad job line: {line[:60]!r}", detail="see mailtools-jobs(5)")
    return Job(name, rest[0], rest[1], tuple(rest[2:]))


def job_line(name: str, path: str, reverse_path: str, forward_paths: Iterable[str]) -> bytes:
    """Write a job line, as a queue run does."""
    return ("\t".join((name, path, reverse_path, *forward_paths)) + "\n").encode(
        "utf-8", "surrogateescape"
    )


def ready_line(jobs: int) -> bytes:
    """Write an agent's first line: the version, and how many jobs it takes at a time."""
    return f"ready {VERSION} jobs={jobs}\n".encode()


def answer(job: Job, deliver: Deliver) -> Iterator[Report]:
    """Deliver a job; yield exactly one report for each of its forward-paths, come what may.

    A Failure becomes the report of all that have none yet; so does a bug, as `delayed`, with its
    traceback on stderr.
    """
    missing = dict.fromkeys(job.forward_paths)
    rest: Failure = SystemTrouble("The agent did not report")
    try:
        for report in deliver(job):
            if report.forward_path in missing:
                del missing[report.forward_path]
                yield report
    except Failure as failure:
        rest = failure
        if failure.detail:
            log.event("trouble", id=job.id or None, detail=failure.detail)
    except Exception:
        traceback.print_exc()
        rest = SystemTrouble()
    for forward_path in missing:
        yield report_failure(forward_path, rest)


def serve_jobs(deliver: Deliver, jobs: int = 1, source: int = 0, sink: int = 1) -> None:
    """Do jobs one after the other, from `source` to `sink`, until end of file.

    `jobs` is how many the queue run may send ahead. Raise BadSyntax for what is no job line, and
    ConnectionDied when the queue run is gone: the next one tries again what was not reported.
    """
    reader = JobReader()
    try:
        _write(sink, ready_line(jobs))
        while data := os.read(source, _READ):
            for job in reader.feed(data):
                _write(sink, b"".join([report.line(job.name) for report in answer(job, deliver)]))
    except BrokenPipeError:
        raise ConnectionDied("The queue run is gone") from None


def deliver_once(
    deliver: Deliver,
    reverse_path: str,
    forward_paths: Iterable[str],
    parameters: Mapping[str, str] | None = None,
    exits: Mapping[str, int] | None = None,
) -> int:
    """Deliver the message on stdin; print a report for each forward-path; give the exit code.

    0: all is well; 75: a path is delayed; else that of the worst failure: `exits` by status, where
    it has it (LOCAL_EXITS), or 69.
    """
    paths = tuple(dict.fromkeys(forward_paths))
    envelope = Envelope(
        reverse_path, tuple(ForwardPath(path) for path in paths), dict(parameters or {})
    )
    message = sys.stdin.buffer.read().replace(b"\r\n", b"\n")
    job = Job(ONCE, "", reverse_path, paths, head=(envelope, 0), data=message)
    reports = []
    for report in answer(job, deliver):
        _write(1, report.line(ONCE))
        reports.append(report)
    return exit_code(reports, exits or {})


LOCAL_EXITS = {
    "5.1.1": os.EX_NOUSER,
    "5.2.1": os.EX_NOUSER,
    "5.1.2": os.EX_NOHOST,
    "5.1.3": os.EX_DATAERR,
    "5.3.4": os.EX_DATAERR,
    "5.6.0": os.EX_DATAERR,
    "5.7.1": os.EX_NOPERM,
}
"""Exit codes of failures found here, where an address is a person known or unknown to us."""


def exit_code(reports: Iterable[Report], exits: Mapping[str, int]) -> int:
    """Say reports as one exit code of sysexits(3)."""
    code = os.EX_OK
    for report in reports:
        if report.action == DELAYED:
            return os.EX_TEMPFAIL
        if report.action == FAILED:
            code = max(code, exits.get(report.status, os.EX_UNAVAILABLE))
    return code


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
