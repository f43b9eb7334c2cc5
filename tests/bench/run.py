"""Speed beside Postfix, in turns in one run: python tests/bench/run.py [accept|checks|…] …

accept   smtp-source to the queue, nothing delivered: accepted-and-durable messages a second
checks   the same with SPF, DKIM and DMARC found out and enforced, beside us without them
through  smtp-source to the Maildir, with `queue-run --wait`
out      a full queue to smtp-sink
idle     a pass that finds nothing due, with 0 to 100000 messages waiting
slow     500 hosts that take 2 s for each answer, in one run
dead     1000 messages to a host, beside 10000 to one that never answers
sessions the memory of 200 idle sessions, and of a listener after 110000

The first four and the last need root and Debian's postfix (smtp-source, smtp-sink, and the peer).
Prints a line a round and the medians with their ratio; a ratio above 1 says that we are faster.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import checks as checking
import scale
from mailtools_site import Mailtools
from postfix import Postfix, free_port
from sessions import sessions

SIZE = 4096  # octets of a message


def source(
    port: int, sessions: int, messages: int, *, reuse: bool = False, file: Path | None = None
) -> None:
    """Send messages to a port, a message a connection unless `reuse`; the one in `file`."""
    command = ["smtp-source", "-s", str(sessions), "-m", str(messages)]
    command += ["-F", str(file)] if file else ["-l", str(SIZE)]
    command += ["-d"] if reuse else []
    command += ["-f", "alice@example.net", "-t", "bob@example.org", f"127.0.0.1:{port}"]
    subprocess.run(command, check=True, timeout=600)


def rate(messages: int, work: Callable[[], None]) -> float:
    """Messages a second."""
    start = time.monotonic()
    work()
    return messages / (time.monotonic() - start)


def wait_until(done: Callable[[], bool], what: str, limit: float = 600) -> None:
    """Look again and again, briefly."""
    deadline = time.monotonic() + limit
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not done within {limit:.0f} s")
        time.sleep(0.01)


def count(maildir: Path) -> int:
    """How many messages a Maildir holds."""
    return sum(1 for sub in ("new", "cur") for _ in (maildir / sub).glob("*"))


def compare(
    name: str,
    rounds: int,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    peer: str = "Postfix",
) -> None:
    """Run both in turns, and print the medians and their ratio."""
    pairs = []
    for number in range(rounds):
        pair = (ours(), theirs())
        pairs.append(pair)
        print(f"  {name} round {number + 1}: {pair[0]:.0f}/s, {peer} {pair[1]:.0f}/s", flush=True)
    mine, peers = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    print(f"{name}: mailtools {mine:.0f}/s, {peer} {peers:.0f}/s, ratio {mine / peers:.2f}")


def accept(root: Path, messages: int, rounds: int) -> None:
    """Accepted and durable, nothing delivered."""
    peer, site = Postfix(root / "postfix", manager=False), Mailtools(root / "mailtools")
    peer.start()
    try:
        port = site.accept()
        source(port, 10, 50), source(peer.port, 10, 50)  # warm
        for sessions in (1, 10, 50):
            number = messages if sessions > 1 else messages // 4
            compare(
                f"accept, {sessions} sessions",
                rounds,
                lambda n=number, s=sessions: rate(n, lambda: source(port, s, n)),
                lambda n=number, s=sessions: rate(n, lambda: source(peer.port, s, n)),
            )
        compare(
            "accept, 10 sessions, connections reused",
            rounds,
            lambda: rate(messages, lambda: source(port, 10, messages, reuse=True)),
            lambda: rate(messages, lambda: source(peer.port, 10, messages, reuse=True)),
        )
    finally:
        site.stop()
        peer.stop()


def checks(root: Path, messages: int, rounds: int) -> None:
    """Accepted and durable with the checks of strangers, and without."""
    file = root / "message"
    file.write_bytes(checking.message(SIZE))
    with checking.serve() as server:
        sites = [
            Mailtools(root / word, checks=word, resolver=server.at, relay_clients="192.0.2.1")
            for word in ("enforce", "off")
        ]
        try:
            on, off = (site.accept() for site in sites)
            for port in (on, off):
                source(port, 10, 200, file=file)  # warm
            for sessions, reuse in ((1, False), (10, False), (10, True)):
                number = messages if sessions > 1 else messages // 4
                compare(
                    f"checks, {sessions} sessions{', connections reused' if reuse else ''}",
                    rounds,
                    *(
                        lambda n=number, s=sessions, r=reuse, port=port: rate(
                            n, lambda: source(port, s, n, reuse=r, file=file)
                        )
                        for port in (on, off)
                    ),
                    peer="without",
                )
        finally:
            for site in sites:
                site.stop()


def through(root: Path, messages: int, rounds: int) -> None:
    """SMTP to Maildir."""
    peer, site = Postfix(root / "postfix"), Mailtools(root / "mailtools")
    peer.start()
    try:
        port = site.accept()
        site.start("queue-run", "--wait")

        def run(port: int, maildir: Path) -> float:
            before = count(maildir)

            def work() -> None:
                source(port, 10, messages)
                wait_until(lambda: count(maildir) >= before + messages, str(maildir))

            return rate(messages, work)

        source(port, 10, 50), source(peer.port, 10, 50)
        compare(
            "SMTP to Maildir, 10 sessions",
            rounds,
            lambda: run(port, site.root / "homes/bob/Maildir"),
            lambda: run(peer.port, peer.root / "homes/bob/Maildir"),
        )
    finally:
        site.stop()
        peer.stop()


def out(root: Path, messages: int, rounds: int) -> None:
    """A full queue to smtp-sink."""
    sink = free_port()
    sinking = subprocess.Popen(["smtp-sink", "-u", "nobody", f"127.0.0.1:{sink}", "512"])
    number = iter(range(1000))

    def ours() -> float:
        site = Mailtools(
            root / f"mailtools{next(number)}", locals="nowhere.test", routes=f":127.0.0.1:{sink}"
        )
        try:
            source(site.accept(), 10, messages, reuse=True)

            def work() -> None:
                site.start("queue-run", "--wait")
                wait_until(lambda: site.queued() == 0, "our queue")

            return rate(messages, work)
        finally:
            site.stop()

    def theirs() -> float:
        extra = f"virtual_mailbox_domains =\nrelayhost = [127.0.0.1]:{sink}"
        peer = Postfix(root / f"postfix{next(number)}", manager=False, extra=extra)
        peer.start()
        try:
            source(peer.port, 10, messages, reuse=True)

            def work() -> None:
                peer.start_manager()
                wait_until(lambda: peer.queued() == 0, "Postfix' queue")

            return rate(messages, work)
        finally:
            peer.stop()

    try:
        compare("queue to smtp-sink", rounds, ours, theirs)
    finally:
        sinking.terminate()


def main() -> None:
    """Run the benchmarks that are named, or all."""
    benches = {
        "accept": accept,
        "checks": checks,
        "through": through,
        "out": out,
        "idle": lambda root, messages, rounds: scale.idle(root),
        "slow": lambda root, messages, rounds: scale.slow(root),
        "dead": lambda root, messages, rounds: scale.dead(root, rounds),
        "sessions": lambda root, messages, rounds: sessions(root),
    }
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("bench", nargs="*", choices=[[], *benches], default=[])
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    postfix = shutil.which("smtp-source", path="/usr/sbin:/usr/bin")
    if not postfix and not set(options.bench or benches) <= {"idle", "slow", "dead"}:
        raise SystemExit("needs smtp-source: Debian's package postfix")
    for name in options.bench or benches:
        root = Path(tempfile.mkdtemp(prefix="mailtools-bench-"))
        root.chmod(0o755)
        try:
            benches[name](root, options.messages, options.rounds)
        finally:
            shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
