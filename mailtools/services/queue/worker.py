"""The queue run's handle on one agent: its process, its pipes, the jobs it has in hand.

The other end of mailtools-jobs(5). Nothing here blocks; an agent that lies (an unknown job, a path
that was not asked for, a second report) is heard, logged and not believed.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence

from mailtools import log
from mailtools.errors import BadEntry, Misconfigured
from mailtools.mail.report import Report, parse_report
from mailtools.services.agent import VERSION, job_line

JOBS_MOST = 1000  # what an agent may say it takes at a time
LINE_MOST = 1024 * 1024  # octets of a report line
_READ = 262144


class Assignment:
    """What an agent is given: an entry, and the forward-paths that share a destination."""

    __slots__ = (
        "agent",
        "answers_before",
        "destination",
        "forward_paths",
        "id",
        "missing",
        "path",
        "priority",
        "reverse_path",
        "sender",
    )

    def __init__(
        self,
        id: str,
        path: str,
        reverse_path: str,
        forward_paths: Sequence[str],
        *,
        agent: str = "",
        destination: str = "",
        priority: int = 0,
        sender: str = "",
    ) -> None:
        self.id = id
        self.path = path
        self.reverse_path = reverse_path
        self.forward_paths = forward_paths
        self.agent = agent
        """The command line of the agent that takes it."""
        self.destination = destination
        self.priority = priority
        self.sender = sender or reverse_path
        """Whose turn it takes: the message's reverse-path, where that of the job is another."""
        self.answers_before = 0
        """How often the destination had answered when this was dealt."""
        self.missing: set[str] = set(forward_paths)
        """Forward-paths without a report yet."""


class Worker:
    """One agent process."""

    def __init__(self, command: list[str], user: tuple[int, int] | None = None) -> None:
        """Start the agent, as `user` (uid, gid) where given; raise Misconfigured."""
        self.command = command
        self.capacity = 0
        """How many jobs it takes at a time; 0 until it said `ready`."""
        self.in_hand: dict[str, Assignment] = {}
        self.useful = False
        """Whether it has finished a job."""
        self.heard = time.monotonic()
        """When it last said something, or had nothing to do."""
        self._count = 0
        self._out: list[bytes] = []
        self._rest = b""
        uid, gid = user or (None, None)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                # Out of the terminal's reach: ^C stops the queue run, which lets agents finish.
                process_group=0,
                user=uid,
                group=gid,
            )
        except OSError as error:
            raise Misconfigured(
                detail=f"cannot start agent {command[0]}: {error.strerror}"
            ) from error
        assert self._process.stdin
        assert self._process.stdout
        self._stdin, self.stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)
        os.set_blocking(self.stdout, False)
        self.finishing = False
        """Whether it gets no more jobs."""

    @property
    def pid(self) -> int:
        """The agent's process ID."""
        return self._process.pid

    @property
    def stdin(self) -> int:
        """The descriptor job lines are written to."""
        return self._stdin

    @property
    def room(self) -> int:
        """How many more jobs it takes now."""
        return 0 if self.finishing else self.capacity - len(self.in_hand)

    @property
    def writing(self) -> bool:
        """Whether job lines wait to be written."""
        return bool(self._out)

    def assign(self, assignment: Assignment) -> None:
        """Give it a job; the line is sent with the next `flush`."""
        self._count += 1
        name = str(self._count)
        if not self.in_hand:
            self.heard = time.monotonic()
        self.in_hand[name] = assignment
        self._out.append(
            job_line(name, assignment.path, assignment.reverse_path, assignment.forward_paths)
        )

    def flush(self) -> None:
        """Send what it takes of the job lines; `writing` tells whether some are left."""
        if not self._out:
            return
        data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
        try:
            sent = os.write(self._stdin, data)
        except BlockingIOError:
            sent = 0
        except BrokenPipeError:
            self._out.clear()  # it is dying: end of file on its stdout will say so
            return
        self._out = [data[sent:]] if sent < len(data) else []
        if self.finishing and not self._out:
            self.finish()

    def receive(self) -> list[tuple[Assignment, Report, bool]] | None:
        """Read what it says: each report with its job, and whether the job is over by it.

        None: end of file; what is still `in_hand` will not be reported.
        """
        try:
            data = os.read(self.stdout, _READ)
        except BlockingIOError:
            return []
        if not data:
            return None
        self.heard = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MOST:
            self._complain("a line without an end", b"")
            self.kill()
            self._rest = b""
        found = []
        for line in lines:
            if self.capacity:
                report = self._report(line)
                if report:
                    found.append(report)
            else:
                self._ready(line)
        return found

    def finish(self) -> None:
        """Let it do what it has in hand and exit: end of file on its stdin."""
        self.finishing = True
        assert self._process.stdin
        if not self._out and not self._process.stdin.closed:
            self._process.stdin.close()

    def kill(self) -> None:
        """Stop an agent that does not answer any more."""
        self._process.send_signal(signal.SIGKILL)

    def close(self) -> int:
        """Release a process whose stdout has ended; give its exit code (negative: the signal)."""
        assert self._process.stdin
        assert self._process.stdout
        if not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def _ready(self, line: bytes) -> None:
        word, _, rest = line.decode("utf-8", "replace").partition(" ")
        version, _, extra = rest.partition(" ")
        if word != "ready" or version != VERSION:
            self._complain(f"no 'ready {VERSION}'", line)
            self.kill()
            return
        self.capacity = 1
        for item in extra.split():
            key, _, value = item.partition("=")
            if key == "jobs" and value.isdecimal():
                self.capacity = max(1, min(int(value), JOBS_MOST))

    def _report(self, line: bytes) -> tuple[Assignment, Report, bool] | None:
        try:
            name, report = parse_report(line)
        except BadEntry:
            self._complain("not a report line", line)
            return None
        assignment = self.in_hand.get(name)
        if assignment is None:
            self._complain("a report on no job in hand", line)
            return None
        if report.forward_path not in assignment.missing:
            self._complain("a report on a path not asked for, or the second one", line)
            return None
        assignment.missing.discard(report.forward_path)
        over = not assignment.missing
        if over:
            del self.in_hand[name]
            self.useful = True
        return assignment, report, over

    def _complain(self, what: str, line: bytes) -> None:
        log.event(
            "misheard", agent=self.command[0], pid=self.pid, what=what, line=line[:200] or None
        )
