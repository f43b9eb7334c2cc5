"""Any replies, control file or journal: an answer or a Failure (twins of tests/bench/fuzz)."""

import contextlib
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailtools.config import Config
from mailtools.errors import Failure
from mailtools.mail.envelope import ForwardPath
from mailtools.protocol.smtp.client import SmtpClient
from mailtools.protocol.smtp.transaction import Login, Tls, Transaction, message_of
from mailtools.services.access.account_line import read_accounts
from mailtools.services.local.aliases import read_aliases
from mailtools.settings import SETTINGS
from mailtools.store import journal

REPLY = st.builds(
    "{}{}{}\r\n".format,
    st.sampled_from(["220", "250", "354", "334", "235", "421", "450", "550", "554", "2x0", ""]),
    st.sampled_from([" ", "-", "", "  "]),
    st.sampled_from(
        ["ok", "SIZE 9" + "9" * 5000, "SIZE", "PIPELINING", "AUTH PLAIN SCRAM-SHA-256", "STARTTLS",
         "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "LIMITS RCPTMAX=1", "5.1.1 no", "r=x,s=,i=1"]
    ),
)  # fmt: skip
DIALOG = st.lists(REPLY, max_size=20).map("".join).map(str.encode) | st.binary(max_size=200)


@given(DIALOG, st.booleans(), st.booleans(), st.sampled_from(Tls), st.integers(1, 50))
def test_a_peer_may_say_anything(
    dialog: bytes, lmtp: bool, login: bool, tls: Tls, step: int
) -> None:
    who = Login("alice", "secret", plaintext=True) if login else None
    engine = SmtpClient("relay.example.org", "peer", tls=tls, lmtp=lmtp, login=who)
    paths = (ForwardPath("a@example.net"), ForwardPath("b@example.net"))
    engine.send(Transaction("c@example.org", paths, message_of("Subject: ü\n\nü\n".encode())))
    with contextlib.suppress(Failure):
        for piece in [dialog[at : at + step] for at in range(0, len(dialog), step)] + [b""]:
            engine.receive(piece)
            while engine.output():
                pass
            if engine.wants_tls:
                engine.tls_started()
    told = [outcome.report.forward_path for outcome in engine.collect()]
    assert len(told) == len(set(told))
    assert set(told) <= {path.address for path in paths}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80) | st.from_regex(rb"[0-9]{1,25}[a-zA-Z]{0,3}\n?", fullmatch=True))
def test_a_control_file_may_hold_anything(tmp_path: Path, data: bytes) -> None:
    for kind, name in {each.kind: each.name for each in SETTINGS.values()}.items():
        if kind != "file":
            (tmp_path / name).write_bytes(data)
    config = Config(str(tmp_path))
    config.read_all()
    for fault in config.faults:
        assert fault.startswith(f"{tmp_path}/")


@given(st.binary(max_size=200) | st.text("0123456789\t\nab@.delayrc", max_size=200).map(str.encode))
def test_a_journal_may_hold_anything(data: bytes) -> None:
    found = journal.decode(data)
    assert found.written == len(found.attempts) <= data.count(b"\n")


@given(st.text(max_size=200) | st.text('a:b@c{}"\\|/!* \n\0%', max_size=200))
def test_accounts_and_aliases_may_hold_anything(text: str) -> None:
    faults: list[str] = []
    read_accounts(text, "/var/mail/%u", faults)
    read_aliases(text, "aliases", faults)
    read_aliases(text, "virtual", faults, addresses=True)
    assert all(isinstance(fault, str) for fault in faults)
