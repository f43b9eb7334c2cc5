"""Our own site in a folder, on loopback ports."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

BIN = Path(__file__).parents[2] / "bin"


class Mailtools:
    """smtpd-accept on `port`, and queue-run when asked for."""

    def __init__(self, root: Path, **settings: str) -> None:
        """Lay it out under `root`; `settings` are control files (`_` for `-`)."""
        self.root = root
        self.etc, self.spool = root / "etc", root / "spool"
        for folder in (self.etc, self.spool, root / "homes"):
            folder.mkdir(parents=True)
        account = "bob:{PLAIN}secret\n"
        texts = {
            "me": "mail.example.org",
            "locals": "example.org",
            "relay_clients": "127.0.0.0/8",
            "maildir": f"{root}/homes/%u/Maildir",
            "accounts": account,
            "mailbox_owner": pwd.getpwuid(os.geteuid()).pw_name,
            **settings,
        }
        for name, text in texts.items():
            path = self.etc / name.replace("_", "-")
            path.write_text(text + "\n")
            path.chmod(0o600)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = (root / "log").open("wb")

    @property
    def environ(self) -> dict[str, str]:
        """What our commands find their folders by."""
        return {
            **os.environ,
            "MAILTOOLS_ETC": str(self.etc),
            "MAILTOOLS_SPOOL": str(self.spool),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def start(self, command: str, *arguments: str, **extra: object) -> subprocess.Popen[bytes]:
        """Start a command of ours."""
        process = subprocess.Popen(
            [sys.executable, str(BIN / command), *arguments],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stderr=extra.get("stderr", self.log),  # type: ignore[arg-type]
        )
        self.processes.append(process)
        return process

    def accept(self, limit: int = 100) -> int:
        """Start smtpd-accept as a listener; give its port once it listens."""
        process = self.start(
            *("smtpd-accept", "--listen", "127.0.0.1:0", "--limit", str(limit)),
            stderr=subprocess.PIPE,
        )
        assert process.stderr
        for line in process.stderr:
            if line.startswith(b"listening"):
                port = int(line.split(b":")[1].split()[0])
                subprocess.Popen(["cat"], stdin=process.stderr, stdout=self.log)
                return port
        raise SystemExit("smtpd-accept did not start")

    def stop(self) -> None:
        """Stop everything."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            process.wait()

    def queued(self) -> int:
        """How many entries wait in the queue."""
        queue = self.spool / "queue"
        return sum(
            len(names) for place in ("new", "wait") for _, _, names in os.walk(queue / place)
        )
