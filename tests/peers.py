"""What tests with other mail servers share: a message, waiting for files, and servers unpacked.

Servers that cannot be installed beside Postfix run from packages that were only unpacked:
`MAILTOOLS_PEERS` names a folder where Debian packages were unpacked:

    apt-get download exim4-daemon-light exim4-base opensmtpd
    for file in *.deb; do dpkg -x "$file" "$MAILTOOLS_PEERS"; done

A program from there runs in a mount namespace of its own, with the folder's /usr laid over ours,
the users it wants, and an empty /var/spool and /run; needs root. Nothing outside is changed.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

PEERS = os.environ.get("MAILTOOLS_PEERS", "")
PATIENCE = 30.0
MESSAGE = (
    "From: <alice@example.net>\nTo: <bob@example.org>\nSubject: dots and more\n"
    "Message-ID: <1@example.net>\nDate: Mon, 23 Nov 2026 12:00:00 +0000\n"
    "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
    "Content-Transfer-Encoding: 8bit\n\n.\n..\n.a\nGrüße\n" + "x" * 900 + "\n.\n"
).encode()
_SCRIPT = """\
set -e
peers=$1 folder=$2 users=$3 id=64100
shift 3
mount -t overlay -o "lowerdir=$peers/usr:/usr" overlay /usr
cp /etc/passwd /etc/group "$folder"
for user in $users; do
    id=$((id + 1))
    grep -q "^$user:" "$folder/group" || echo "$user:x:$id:" >> "$folder/group"
    grep -q "^$user:" "$folder/passwd" ||
        echo "$user:x:$id:$id::/:/bin/false" >> "$folder/passwd"
done
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/group" /etc/group
mount -t tmpfs tmpfs /var/spool
mount -t tmpfs tmpfs /run
exec sh -c "$@"
"""


def body(data: bytes) -> bytes:
    return data.partition(b"\n\n")[2]


def wait_for(there: Callable[[], list[Path]]) -> list[Path]:
    """Poll for files that another program will make."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := there():
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing came in {PATIENCE:.0f} seconds")


@cache
def available(program: str) -> bool:
    """Tell whether a program, `usr/sbin/NAME`, can be run so."""
    if os.geteuid() or not PEERS or not (Path(PEERS) / program).exists():
        return False
    if not shutil.which("unshare"):
        return False
    overlay = f"mount -t overlay -o lowerdir={PEERS}/usr:/usr overlay /usr"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", overlay], check=False)
    return done.returncode == 0


class Unpacked:
    """A server that stays in the foreground, until `stop`."""

    def __init__(
        self, folder: Path, users: Sequence[str], script: str, *words: str, port: int
    ) -> None:
        """Run `script` by sh with `words` for its arguments; it listens on `port` of 127.0.0.1.

        `folder` takes what is needed to run it; it and what is above it must be open to all.
        """
        for path in (folder, *folder.parents):
            if path != Path("/") and path.stat().st_uid == os.geteuid():
                path.chmod(path.stat().st_mode | 0o055)
        command = ["unshare", "--mount", "sh", "-c", _SCRIPT, "sh"]
        command += [PEERS, str(folder), " ".join(users), script, "sh", *words]
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise AssertionError(f"{words} does not listen:\n{self.log.read_text()}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
