"""A queue, small agents of our own making, and queue-run as a process."""

import os
import select
import subprocess
import sys
from typing import Any

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.store.queue import Queue

HONEST = """
import os, sys
name = os.path.basename(sys.argv[0])
print("ready 1 jobs=5", flush=True)
for line in sys.stdin.buffer:
    job, path, sender, *paths = line.rstrip(b"\\n").decode().split("\\t")
    with open(os.environ["TRIED"], "a") as file:
        file.write(f"{name} {','.join(paths)}\\n")
    for path in paths:
        word = path.partition("@")[0]
        print(job, path, *{
            "bad": ("failed", "5.1.1", "mx said 550 5.1.1 nobody"),
            "slow": ("delayed", "4.2.2", "full"),
            "silent": ("delayed", "4.4.1", "No answer"),
        }.get(word, ("delivered", "2.0.0", "ok")), sep="\\t", flush=True)
"""

SLOW = """
import os, sys
print("ready 1 jobs=2", flush=True)
for line in sys.stdin.buffer:
    job, path, sender, *paths = line.rstrip(b"\\n").decode().split("\\t")
    os.write(2, b"begun\\n")  # in one piece, as every log line
    open(sys.argv[0] + ".gate").read()
    for path in paths:
        print(job, path, "delivered", "2.0.0", "ok", sep="\\t", flush=True)
"""


BUFFERS: dict[int, bytearray] = {}
"""What was read of a process' log beyond the line that was waited for."""


class Host:
    """A queue, agents of our own making, and queue-run."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.queue = Queue(str(site.queue))
        self.queue.create()
        self.agents = site.root / "agents"
        self.agents.mkdir()
        self.tried_file = site.root / "tried"
        self.agent("local-deliver", HONEST)
        self.agent("relay-send", HONEST)

    def agent(self, name: str, text: str) -> None:
        path = self.agents / name
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)
        self.site.set(
            "transports",
            f".org:{self.agents}/local-deliver",
            f":{self.agents}/relay-send",
            f"own.test:{self.agents}/own",
            "example.org:" + f"{self.agents}/local-deliver",
        )

    @property
    def environ(self) -> dict[str, str]:
        return {**self.site.environ, "TRIED": str(self.tried_file)}

    def put(self, *paths: str, sender: str = "alice@example.com") -> str:
        writer = self.queue.begin(Envelope(sender, tuple(ForwardPath(p) for p in paths)))
        writer.write(b"Subject: x\n\nbody\n")
        return writer.commit()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return self.site.run("queue-run", *arguments, env=self.environ)

    def start(self) -> subprocess.Popen[bytes]:
        return self.site.start("queue-run", "--wait", env=self.environ)

    @property
    def tried(self) -> list[str]:
        return self.tried_file.read_text().splitlines() if self.tried_file.exists() else []

    @property
    def senders(self) -> list[str]:
        return sorted(self.queue.open(p).envelope.reverse_path for p in self.queue.all())


def log_lines(process: subprocess.Popen[bytes], start: str, count: int = 1) -> list[str]:
    """Read the log up to the last of `count` lines that begin so; give those."""
    found: list[str] = []
    seen: list[str] = []
    assert process.stderr
    fd = process.stderr.fileno()
    buffer = BUFFERS.setdefault(process.pid, bytearray())
    while True:
        line, end, _ = bytes(buffer).partition(b"\n")
        if end:
            del buffer[: len(line) + 1]
            seen.append(line.decode())
            if seen[-1].startswith(start):
                found.append(seen[-1])
                if len(found) == count:
                    return found
            continue
        # Agents hold the pipe too, so that its end alone would not tell.
        ready, _, _ = select.select([fd], [], [], 20)
        data = os.read(fd, 65536) if ready else b""
        if not data:
            raise AssertionError(f"waited for {start!r}, got\n" + "\n".join(seen))
        buffer += data
