"""What a connection costs under inetd before anything is asked: CPU milliseconds to the banner.

    python tests/bench/startup.py [RUNS]

Each command is started as inetd does it, with a connected socket as stdin and stdout, and is told
goodbye at its banner; what it used is the kernel's word (wait4). Bare python and python with click
run in between, so that all see the same machine. Without a banner (local-deliver, queue-run,
sendmail) it is the whole of a run that finds nothing to do.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mailtools_site import BIN, Mailtools

PYTHON = [sys.executable]
GOODBYE = b"QUIT\r\n"
CASES: dict[str, tuple[list[str], bytes]] = {
    "python": ([*PYTHON, "-c", "pass"], b""),
    "python, click": ([*PYTHON, "-c", "import click"], b""),
    "smtpd-accept": ([*PYTHON, f"{BIN}/smtpd-accept"], GOODBYE),
    "smtpd-accept --submission": ([*PYTHON, f"{BIN}/smtpd-accept", "--submission"], GOODBYE),
    "pop3d": ([*PYTHON, f"{BIN}/pop3d"], GOODBYE),
    "imapd": ([*PYTHON, f"{BIN}/imapd"], b"a LOGOUT\r\n"),
    "local-deliver": ([*PYTHON, f"{BIN}/local-deliver", "--jobs"], b""),
    "queue-run": ([*PYTHON, f"{BIN}/queue-run"], b""),
    "sendmail": ([*PYTHON, f"{BIN}/sendmail", "-bp"], b""),
}


def run(command: list[str], goodbye: bytes, environ: dict[str, str]) -> float:
    """Run once; give the CPU milliseconds of the process and what it waited for."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, env=environ
        )
        theirs.close()
        if goodbye:
            banner = ours.recv(4096)
            assert banner[:1] in b"2+*", banner
            ours.sendall(goodbye)
        ours.shutdown(socket.SHUT_WR)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, (command, process.returncode)
    return (used.ru_utime + used.ru_stime) * 1000


def main() -> None:
    """Print a table: command, least and median of the runs."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        site = Mailtools(Path(folder) / "site")
        environ = {
            **os.environ,
            # As installed: compiled once, whatever this shell says of bytecode.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPYCACHEPREFIX": f"{folder}/compiled",
            "MAILTOOLS_ETC": str(site.etc),
            "MAILTOOLS_SPOOL": str(site.spool),
        }
        found: dict[str, list[float]] = {name: [] for name in CASES}
        for _ in range(runs + 1):  # the first one compiles
            for name, (command, goodbye) in CASES.items():
                found[name].append(run(command, goodbye, environ))
        site.log.close()
    print(f"{'CPU ms, ' + str(runs) + ' runs':<28}{'least':>8}{'median':>8}")
    for name, times in found.items():
        print(f"{name:<28}{min(times[1:]):8.1f}{statistics.median(times[1:]):8.1f}")


if __name__ == "__main__":
    main()
