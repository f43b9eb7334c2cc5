"""A Postfix of its own in a folder, on a port; needs root and Debian's postfix."""

import os
import pwd
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

MAIN = """\
compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.example.org
mydestination =
mynetworks = 127.0.0.0/8
virtual_mailbox_domains = example.org
virtual_mailbox_base = {root}/homes
virtual_mailbox_maps = static:bob/Maildir/
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtp_host_lookup = native
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_peername_lookup = no
in_flow_delay = 0
smtpd_recipient_restrictions = permit_mynetworks, reject
default_process_limit = 100
{extra}
"""

SERVICES = """\
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
MANAGER = "qmgr unix n - n 300 1 qmgr\n"


def free_port() -> int:
    """A loopback port nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Postfix:
    """Postfix on `port`, delivering example.org to `root`/homes/bob/Maildir."""

    def __init__(
        self,
        root: Path,
        *,
        manager: bool = True,
        extra: str = "",
        at: str = "",
        within: Sequence[str] = (),
    ) -> None:
        """Lay it out under `root`; without `manager` it only accepts.

        `at` is where it listens (host:port), `within` goes before each command.
        """
        self.root, self.at, self._within = root, at or f"127.0.0.1:{free_port()}", within
        self.port = int(self.at.rpartition(":")[2])
        self.etc = root / "etc"
        owner = pwd.getpwnam("postfix")
        for folder in (self.etc, root / "queue", root / "data", root / "homes"):
            folder.mkdir(parents=True)
        for parent in (root, *root.parents):
            if parent != Path("/") and parent != Path("/tmp"):
                parent.chmod(parent.stat().st_mode | 0o055)
        for folder in (root / "data", root / "homes"):
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        main = MAIN.format(root=root, uid=owner.pw_uid, gid=owner.pw_gid, extra=extra)
        (self.etc / "main.cf").write_text(main)
        self._services(manager)

    def _services(self, manager: bool) -> None:
        services = SERVICES.format(port=self.at)
        (self.etc / "master.cf").write_text(services + (MANAGER if manager else ""))

    def _command(self, *words: str) -> None:
        words = (*self._within, "postfix", "-c", str(self.etc), *words)
        subprocess.run(words, check=True, capture_output=True)

    def start(self) -> None:
        """Start it; it listens when this returns."""
        self._command("start")

    def start_manager(self) -> None:
        """Let the queue manager begin."""
        self._services(True)
        self._command("reload")

    def stop(self) -> None:
        """Stop it."""
        subprocess.run(["postfix", "-c", str(self.etc), "stop"], capture_output=True, check=False)

    def queued(self) -> int:
        """How many messages wait in its queue."""
        places = ("incoming", "active", "deferred", "maildrop")
        return sum(
            len(names) for place in places for _, _, names in os.walk(self.root / "queue" / place)
        )
