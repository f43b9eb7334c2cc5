"""What sessions cost in memory: idle ones beside Postfix's, and a listener after very many."""

import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mailtools_site import Mailtools
from postfix import Postfix

IDLE = 200
AT_ONCE = 8
GREETED = b"EHLO client.example.net\r\n"


def sessions(root: Path, count: int = 100_000) -> None:
    """200 idle sessions, ours and Postfix's; then a listener after a tenth of `count`, and all."""
    peer = Postfix(root / "postfix", manager=False, extra=f"default_process_limit = {IDLE + 20}")
    peer.start()
    try:
        master = int((peer.root / "queue/pid/master.pid").read_text())
        theirs = _cost(peer.port, _family(master, "smtpd"))
    finally:
        peer.stop()
    site = Mailtools(root / "mailtools")
    try:
        port = site.accept(IDLE + 50)
        ours = _cost(port, _family(site.processes[0].pid))
        print(
            f"{IDLE} idle sessions, PSS each: {ours / IDLE:.2f} MB; "
            f"Postfix' smtpd {theirs / IDLE:.2f} MB"
        )
    finally:
        site.stop()
    site = Mailtools(root / "again")
    try:
        port = site.accept(AT_ONCE + 4)
        for done in (count // 10, count):
            with ThreadPoolExecutor(AT_ONCE) as workers:
                list(workers.map(lambda _: _session(port), range(done)))
            family = list(_family(site.processes[0].pid))
            print(f"after {done} sessions more: {len(family)} processes, {_pss(family):.1f} MB")
    finally:
        site.stop()


def _cost(port: int, processes: Iterator[int]) -> float:
    """Megabytes of the processes while 200 sessions are idle after EHLO."""
    idle = []
    for _ in range(IDLE):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.settimeout(60)
        stream = sock.makefile("rb")
        stream.readline()
        sock.sendall(GREETED)
        while stream.readline()[3:4] == b"-":
            pass
        idle.append((sock, stream))
    cost = _pss(processes)
    for sock, stream in idle:
        stream.close()
        sock.close()
    return cost


def _session(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        stream = sock.makefile("rb")
        stream.readline()
        sock.sendall(GREETED)
        while stream.readline()[3:4] == b"-":
            pass
        sock.sendall(b"QUIT\r\n")
        stream.read()


def _family(process: int, name: str = "") -> Iterator[int]:
    """A process and its descendants; those of that name only, where one is given."""
    if not name or Path(f"/proc/{process}/comm").read_text().strip() == name:
        yield process
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        yield from _family(int(child), name)


def _pss(processes: Iterator[int] | list[int]) -> float:
    total = 0
    for process in processes:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        total += int(re.findall(r"^Pss: +(\d+) kB", text, re.M)[0])
    return total / 1024
