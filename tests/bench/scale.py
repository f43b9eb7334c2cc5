"""What grows, and what must not: an idle pass, hundreds of slow hosts, a dead destination."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mailtools_site import BIN, Mailtools

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.store.queue import Queue, to_minute
from mailtools.store.queue_id import make_id

TEXT = b"Subject: hello\n\n" + b"The quick brown fox jumps over the lazy dog.\n" * 20
LINKS_MOST = 30_000  # to one file, so that any file system has them


def entries(queue: Queue, path: str, count: int, place: Callable[[int], str]) -> None:
    """Put copies of one entry to `path` into the folders that `place` names."""
    writer = queue.begin(Envelope("alice@example.org", (ForwardPath(path),)))
    writer.write(TEXT)
    source = f"{queue.path}/new/{writer.commit()}"
    copy = ""
    now = time.time()
    for number in range(count):
        if number % LINKS_MOST == 0:
            copy = f"{queue.path}/../copy{number}-{path}"
            shutil.copy(source, copy)
        folder = place(number)
        os.makedirs(folder, exist_ok=True)
        os.link(copy, f"{folder}/{make_id(now + number * 1e-6)}")
    os.remove(source)


# -- (a) ------------------------------------------------------------------------------------------


def idle(root: Path) -> None:
    """CPU and time of a pass that finds nothing due, over more and more that waits."""
    site = Mailtools(root / "site")
    queue = Queue(str(site.spool / "queue"))
    queue.create()
    costs, itself = {}, {}
    waiting = 0
    later = time.time() + 3600
    for count in (0, 1000, 10_000, 100_000):
        entries(
            queue,
            "bob@example.net",
            count - waiting,
            lambda n: f"{queue.path}/wait/{to_minute(later + n % 240 * 60)}",
        )
        waiting = count
        _pass(site)  # the first one of a day sweeps
        runs = [_pass(site) for _ in range(7)]
        costs[count] = min(cpu for cpu, _ in runs)
        wall = min(wall for _, wall in runs)
        itself[count] = min(_pass_itself(site) for _ in range(7))
        print(
            f"  idle, {count} waiting: {costs[count]:.0f} ms CPU, {wall:.0f} ms in all;"
            f" the pass itself {itself[count]:.2f} ms",
            flush=True,
        )
    print(
        f"idle: a pass over 100000 takes {itself[100_000]:.2f} ms beside the command's start,"
        f" {itself[100_000] / itself[1000]:.2f} times one over 1000"
    )


def _pass(site: Mailtools) -> tuple[float, float]:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, str(BIN / "queue-run")], env=site.environ, check=True)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu * 1000, wall * 1000


_ITSELF = """
import os, sys, time
from mailtools.commands.queue_run import read_plan
from mailtools.services.queue.run import Run
from mailtools.store.queue import Queue
etc = os.environ["MAILTOOLS_ETC"]
queue = Queue(os.environ["MAILTOOLS_SPOOL"] + "/queue")
run = Run(queue, read_plan(etc, None), lambda: read_plan(etc, None))
start = time.perf_counter()
run.once()
print((time.perf_counter() - start) * 1000)
"""


def _pass_itself(site: Mailtools) -> float:
    """Milliseconds of a pass alone, its process started, its modules loaded."""
    command = [sys.executable, "-c", _ITSELF]
    return float(subprocess.check_output(command, env=site.environ))


# -- (b) ------------------------------------------------------------------------------------------


class SlowHost:
    """A host that takes its time for every answer, on as many connections as come."""

    def __init__(self, delay: float) -> None:
        """Wait `delay` seconds before each answer."""
        self.port, self.most, self.taken = 0, 0, 0
        self._delay = delay
        self._server = socket.create_server(("0.0.0.0", 0), backlog=1000)
        self.port = int(self._server.getsockname()[1])
        self._open: set[object] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        import asyncio

        async def serve() -> None:
            await asyncio.start_server(self._talk, sock=self._server, backlog=1000)
            await asyncio.Event().wait()

        asyncio.run(serve())

    async def _talk(self, reader: object, writer: object) -> None:
        self._open.add(writer)
        self.most = max(self.most, len(self._open))
        try:
            await self._dialog(reader, writer)
        except (ConnectionError, OSError):
            pass
        self._open.discard(writer)

    async def _dialog(self, reader: object, writer: object) -> None:
        import asyncio

        async def say(text: bytes) -> None:
            await asyncio.sleep(self._delay)
            writer.write(text + b"\r\n")  # type: ignore[attr-defined]
            await writer.drain()  # type: ignore[attr-defined]

        await say(b"220 slow")
        while line := await reader.readline():  # type: ignore[attr-defined]
            if line[:4].upper() == b"DATA":
                await say(b"354 go")
                while await reader.readline() not in (b".\r\n", b""):  # type: ignore[attr-defined]
                    pass
                self.taken += 1
            await say(b"221 bye" if line[:4].upper() == b"QUIT" else b"250 ok")
            if line[:4].upper() == b"QUIT":
                writer.close()  # type: ignore[attr-defined]
                return


def slow(root: Path) -> None:
    """Five hundred hosts that take 2 s for each answer, in one run."""
    many, delay = 500, 2.0
    host = SlowHost(delay)
    routes = [f"d{n}.test:127.0.{n // 250}.{n % 250 + 1}:{host.port}" for n in range(many)]
    site = Mailtools(root / "site", locals="nowhere.test", routes="\n".join(routes))
    queue = Queue(str(site.spool / "queue"))
    queue.create()
    for number in range(many):
        entries(queue, f"bob@d{number}.test", 1, lambda _: f"{queue.path}/new")
    start = time.monotonic()
    run = site.start("queue-run")
    memory = 0
    while run.poll() is None:
        memory = max(memory, _memory(run.pid))
        time.sleep(0.1)
    wall = time.monotonic() - start
    rounds = 7  # greeting, EHLO, MAIL, RCPT, DATA, the message, QUIT
    print(
        f"slow: {host.taken} of {many} taken in {wall:.0f} s ({wall / (rounds * delay):.1f} times"
        f" what one takes), {host.most} side by side, {memory / 1024:.0f} MB in all"
    )
    site.stop()


def _memory(pid: int) -> int:
    """KiB of a process and its children, each page counted for its share."""
    total = 0
    for each in (pid, *_children(pid)):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.split("\n") if line[:4] == "Pss:")
    return total


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


# -- (c) ------------------------------------------------------------------------------------------


@contextmanager
def deaf() -> Iterator[int]:
    """Give a port where nobody ever takes a connection: its backlog is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = int(server.getsockname()[1])
        callers = []
        for _ in range(3):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", port))
            callers.append(caller)
        yield port
        for caller in callers:
            caller.close()


def dead(root: Path, rounds: int) -> None:
    """A thousand messages to one host, beside ten thousand to another that never answers."""
    live = 1000
    sink = SlowHost(0.0)
    found: dict[str, list[tuple[float, float]]] = {"alone": [], "silent": [], "fresh": []}
    with deaf() as port:
        for number in range(rounds):
            for word, pairs in found.items():
                site = Mailtools(
                    root / f"{word}{number}",
                    locals="nowhere.test",
                    routes=f"live.test:127.0.0.1:{sink.port}\ndead.test:127.0.0.1:{port}",
                )
                pairs.append(_live(site, sink, live, word))
    least = {
        word: [min(each) for each in zip(*pairs, strict=True)] for word, pairs in found.items()
    }
    for word in ("silent", "fresh"):
        seconds, cpu = (a / b for a, b in zip(least[word], least["alone"], strict=True))
        print(f"dead: {word}: {seconds:.2f} times the seconds, {cpu:.2f} times the CPU as without")


def _live(site: Mailtools, sink: SlowHost, live: int, word: str) -> tuple[float, float]:
    """Seconds, and seconds of CPU of the queue run and its agents, until the live mail is out."""
    queue = Queue(str(site.spool / "queue"))
    queue.create()
    if word == "silent":  # known not to answer, and everything for it becomes due just now
        silence = f"{time.time() + 3600:.0f}\t3\t4.4.1\tno answer in 30 seconds\n"
        (site.spool / "queue/dest/dead.test").write_text(silence)
    if word != "alone":
        entries(queue, "bob@dead.test", 10_000, lambda _: f"{queue.path}/new")
    entries(queue, "bob@live.test", live, lambda _: f"{queue.path}/new")
    before, start = sink.taken, time.monotonic()
    run = site.start("queue-run", "--wait")
    while sink.taken < before + live:
        if time.monotonic() > start + 300:
            raise SystemExit("the live mail does not go out")
        time.sleep(0.01)
    seconds = time.monotonic() - start
    cpu = sum(map(_cpu, (run.pid, *_children(run.pid))))
    print(f"  dead, {word}: {live / seconds:.0f}/s, {cpu:.2f} s CPU", flush=True)
    site.stop()
    return seconds, cpu
