"""smtpd-accept --qmtp: two messages, beyond memory; what got its K is in the queue, whole."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from crash.scenario import Say, Scenario
from crash.scenes.accept import BODY, Everybody, check, prepare
from qmtp_peer import qmtp, strings

from mailtools.net.session import Peer
from mailtools.protocol.qmtp.package import Settings
from mailtools.protocol.qmtp.server import QmtpServer
from mailtools.services.reception.policy import Policy
from mailtools.services.reception.session import Reception
from mailtools.store.queue import Queue
from mailtools.store.scratch import Scratch


def act(folder: Path, say: Say) -> None:
    policy = Policy(me="mail.example.org", queue=Queue(str(folder)), directory=Everybody())
    stream: Any = SimpleNamespace(tls=None)
    session = Reception(policy, stream, Peer("192.0.2.7", 40000))
    hold = partial(Scratch, f"{folder}/tmp", most=1000)
    engine = QmtpServer(session, Settings(size=1000000, recipients=10), hold)
    for number in range(2):
        text = f"\nSubject: {number}\n\n{BODY}".encode()
        engine.receive(qmtp(text, b"alice@example.com", b"bob@example.org", b"carol@example.org"))
        said = b""
        while piece := engine.output():
            said += piece
        first, second = strings(said)
        assert first == second
        # Whatever happens to the disk is temporary, and said so.
        assert first.startswith((b"KOk: queued as ", b"Z")), first
        if first.startswith(b"K"):
            say(first.decode().rpartition(" ")[2])


SCENARIOS = [Scenario("quick", prepare, act, check, stops=9)]
