"""smtpd-accept: two messages by SMTP; what got its 250 is in the queue, whole."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from crash.scenario import Say, Scenario

from mailtools.mail.address import Address
from mailtools.net.session import Peer
from mailtools.protocol.smtp.server import SmtpServer
from mailtools.protocol.smtp.session import Settings
from mailtools.services.reception.policy import Policy
from mailtools.services.reception.session import Reception
from mailtools.store.entry import State
from mailtools.store.queue import Queue

LINE = "0123456789 " * 6
BODY = f"{LINE}\n" * 100

_queued = re.compile(rb"250 2\.0\.0 Ok: queued as (\S+)\r\n")


class Everybody:
    """Has a mailbox at example.org."""

    def is_local(self, domain: str) -> bool:
        return domain == "example.org"

    def check(self, address: Address) -> None:
        """Yes."""


def prepare(folder: Path) -> None:
    Queue(str(folder)).create()


def act(folder: Path, say: Say) -> None:
    policy = Policy(me="mail.example.org", queue=Queue(str(folder)), directory=Everybody())
    stream: Any = SimpleNamespace(tls=None)
    session = Reception(policy, stream, Peer("192.0.2.7", 40000))
    engine = SmtpServer(session, Settings(name="mail.example.org", size=1000000, recipients=10))

    def tell(line: str) -> bytes:
        engine.receive(line.replace("\n", "\r\n").encode())
        said = b""
        while piece := engine.output():
            said += piece
        for id_ in _queued.findall(said):
            say(id_.decode())
        return said

    tell("EHLO client.example.com\n")
    for number in range(2):
        tell("MAIL FROM:<alice@example.com>\n")
        tell("RCPT TO:<bob@example.org>\n")
        tell("RCPT TO:<carol@example.org>\n")
        assert tell("DATA\n").startswith(b"354")
        said = tell(f"Subject: {number}\n\n{BODY}.\n")
        # Whatever happens to the disk is temporary, and said so.
        assert said.startswith((b"250 2.0.0 ", b"451 4.3.", b"452 4.3.1 ")), said
    assert tell("QUIT\n").startswith(b"221")


def check(folder: Path, said: list[str]) -> None:
    queue = Queue(str(folder))
    found = set()
    for place in queue.all():
        assert place.state is State.NEW
        entry = queue.open(place)
        paths = [path.address for path in entry.envelope.forward_paths]
        assert paths == ["bob@example.org", "carol@example.org"]
        assert entry.message().endswith(f"\n\n{BODY}".encode()), "half a message is in new/"
        found.add(place.id)
    assert set(said) <= found, "an acknowledged message is gone"
    assert len(found) <= 2


SCENARIOS = [Scenario("accept", prepare, act, check, stops=9)]
