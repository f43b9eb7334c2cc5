"""relay-send as an agent: jobs from a queue run side by side, or one message from a shell.

mailtools-jobs(5) over two descriptors, in the same loop that drives the connections.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from mailtools.errors import ConnectionDied
from mailtools.mail.report import Report
from mailtools.net.loop import READ, Loop
from mailtools.services.agent import Job, JobReader, ready_line
from mailtools.services.relay.connections import Pool
from mailtools.services.relay.relay import Relay

JOBS = 250  # how many at a time by default: most of them wait for a slow host
GOODBYE = 2.0  # seconds for QUIT and its answers when all is done
_READ = 65536


class RelayAgent:
    """Feeds a Relay from job lines, and writes its reports."""

    def __init__(self, loop: Loop, pool: Pool, relay: Relay) -> None:
        """Take the parts; nothing runs yet."""
        self._loop, self._pool, self._relay = loop, pool, relay
        self._reader = JobReader()
        self._reports: list[bytes] = []
        self._source, self._sink = 0, 1
        self._ended = self._stopping = False

    def serve(self, jobs: int, source: int = 0, sink: int = 1) -> None:
        """Do jobs from `source`, up to `jobs` side by side, until end of file or SIGTERM.

        What is in hand then is finished: to break off after a final dot would make a duplicate.
        Raises BadSyntax for what is no job line, ConnectionDied when the queue run is gone.
        """
        self._source, self._sink = source, sink
        self._write(ready_line(jobs))
        os.set_blocking(source, False)
        self._loop.watch(source, READ, self._read)
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        while not self._ended or self._relay.at_work:
            self._loop.turn()
            if self._stopping and not self._ended:
                self._end()
            self._flush()
        self._say_goodbye()

    def deliver(self, job: Job) -> Iterator[Report]:
        """Do one job by itself: what `deliver_once` wants."""
        reports: list[Report] = []
        self._relay.start(job, reports.append)
        while self._relay.at_work or reports:
            while reports:
                yield reports.pop(0)
            if self._relay.at_work:
                self._loop.turn()
        self._say_goodbye()

    def _read(self, _: int) -> None:
        try:
            data = os.read(self._source, _READ)
        except BlockingIOError:
            return
        if not data:
            self._end()
            return
        for job in self._reader.feed(data):
            self._start(job)

    def _stop(self) -> None:
        self._stopping = True
        self._loop.wake()

    def _end(self) -> None:
        self._ended = True
        self._loop.unwatch(self._source)

    def _start(self, job: Job) -> None:
        def say(report: Report) -> None:
            self._reports.append(report.line(job.name, facts=True))

        self._relay.start(job, say)

    def _flush(self) -> None:
        if self._reports:
            data = b"".join(self._reports)
            self._reports.clear()
            self._write(data)

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self._sink, data) :]
        except BrokenPipeError:
            raise ConnectionDied("The queue run is gone") from None

    def _say_goodbye(self) -> None:
        end = time.monotonic() + GOODBYE
        self._pool.quit()
        self._loop.run_until(lambda: self._pool.empty or time.monotonic() > end)
        self._pool.close()
