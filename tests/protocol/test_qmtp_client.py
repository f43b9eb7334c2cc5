"""The QMTP and QMQP client against what peers say; and against our own server."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qmtp_peer import netstring, qmqp, qmtp
from smtp_fake import FakeSession
from transcript import drain

from mailtools.errors import NoAnswer, TlsTrouble
from mailtools.mail.envelope import ForwardPath
from mailtools.protocol.qmtp.client import QmtpClient
from mailtools.protocol.qmtp.package import Settings
from mailtools.protocol.qmtp.server import QmtpServer
from mailtools.protocol.smtp.transaction import Tls, Transaction, message_of

PEER = "[192.0.2.1]:209"
TEXT = b"Subject: x\n\n.dot\nhi\n"


def transaction(
    *paths: str, text: bytes = TEXT, sender: str = "alice@example.org", **more: Any
) -> Transaction:
    found = tuple(ForwardPath(path) for path in paths or ("bob@example.net",))
    return Transaction(sender, found, message_of(text), **more)


def begun(order: Transaction, **changed: Any) -> tuple[QmtpClient, bytes]:
    client = QmtpClient(PEER, **changed)
    client.send(order)
    return client, drain(client)


def outcomes(client: QmtpClient) -> list[tuple[str, str, str, bool]]:
    return [
        (each.report.forward_path, each.report.action, each.report.status, each.elsewhere)
        for each in client.collect()
    ]


def test_the_package_and_an_answer_for_each_path() -> None:
    client, said = begun(transaction("bob@example.net", '"a b"@example.net', "carol@example.net"))
    assert said == qmtp(
        b"\n" + TEXT, b"alice@example.org", b"bob@example.net", b"a b@example.net",
        b"carol@example.net",
    )  # fmt: skip
    assert client.busy
    client.receive(netstring(b"Kok 1 qp 2") + netstring(b"Zlater"))
    drain(client)
    assert client.busy
    client.receive(netstring(b"Dno mailbox here (#5.1.1)"))
    drain(client)
    assert not client.busy
    assert client.idle
    said_of = {each.report.forward_path: each.report.text for each in client._outcomes}
    assert said_of["bob@example.net"] == f"{PEER} said Kok 1 qp 2"
    assert outcomes(client) == [
        ("bob@example.net", "relayed", "2.0.0", False),
        ('"a b"@example.net', "delayed", "4.0.0", True),
        ("carol@example.net", "failed", "5.1.1", False),
    ]


def test_one_connection_takes_many_packages() -> None:
    client, _ = begun(transaction())
    client.receive(netstring(b"Kok"))
    drain(client)
    client.collect()
    client.send(transaction(sender=""))
    assert drain(client) == qmtp(b"\n" + TEXT, b"", b"bob@example.net")
    client.receive(netstring(b"Kok"))
    drain(client)
    assert outcomes(client)[0][1] == "relayed"
    client.timed_out()
    assert drain(client) == b""
    assert client.closed
    assert client.died is None


def test_qmqp_has_one_answer_and_is_done() -> None:
    order = transaction("bob@example.net", "carol@example.net")
    client, said = begun(order, qmqp=True)
    assert said == qmqp(TEXT, b"alice@example.org", b"bob@example.net", b"carol@example.net")
    client.receive(netstring(b"Kqueued"))
    drain(client)
    assert [row[1] for row in outcomes(client)] == ["relayed", "relayed"]
    assert client.closed
    assert client.died is None


@pytest.mark.parametrize("answer", [b"", b"3:Ko", b"3:Kok;", b"1:X,", b"0:,", b"x", b"99999:K"])
def test_without_an_answer_it_waits(answer: bytes) -> None:
    client, _ = begun(transaction("bob@example.net", "carol@example.net"))
    client.receive(netstring(b"Kok") + answer)
    drain(client)
    client.receive(b"")
    drain(client)
    assert client.closed
    rows = outcomes(client)
    assert rows[0][1] == "relayed"
    assert (rows[1][1], rows[1][3]) == ("delayed", False)


def test_what_a_peer_says_before_it_hangs_up_is_heard() -> None:
    client, _ = begun(transaction(), qmqp=True)
    client.receive(netstring(b"DYou are no client of ours (#5.7.1)"))
    client.receive(b"")
    drain(client)
    assert outcomes(client) == [("bob@example.net", "failed", "5.7.1", False)]


def test_nothing_is_sent_where_tls_is_asked_for() -> None:
    client, said = begun(transaction(), tls=Tls.MUST)
    assert said == b""
    assert isinstance(client.died, TlsTrouble)
    assert outcomes(client) == [("bob@example.net", "delayed", "4.7.4", True)]
    _, said = begun(transaction(), tls=Tls.MUST, secured=True)
    assert said.startswith(b"21:\n")


def test_what_the_peer_cannot_keep_is_not_sent() -> None:
    client, said = begun(transaction(parameters={"REQUIRETLS": ""}))
    assert said == b""
    assert outcomes(client) == [("bob@example.net", "failed", "5.7.30", True)]
    assert client.idle


def test_success_is_reported_by_who_asked() -> None:
    paths = (ForwardPath("bob@example.net", {"NOTIFY": "SUCCESS"}),)
    client, _ = begun(Transaction("alice@example.org", paths, message_of(TEXT)))
    client.receive(netstring(b"Kok"))
    drain(client)
    assert outcomes(client)[0][2] == "2.1.9"


def test_line_ends_are_those_of_the_disk() -> None:
    _, said = begun(transaction(text=b"a: b\r\n\r\nc\nd"))
    assert said.startswith(b"10:\na: b\n\nc\nd,")


class Held(list[bytes]):
    write = list.append

    def read(self) -> Iterator[bytes]:
        return iter(self)

    def close(self) -> None:
        self.clear()


@given(
    lines=st.lists(st.binary(max_size=70).map(lambda line: line.translate(None, b"\r\n\0"))),
    qmqp=st.booleans(),
    utf8=st.booleans(),
)
def test_our_server_has_what_our_client_sent(lines: list[bytes], qmqp: bool, utf8: bool) -> None:
    text = b"".join(line + b"\n" for line in lines)
    sender = "jürgen@example.net" if utf8 else "alice@example.net"
    client, said = begun(transaction("bob@example.org", text=text, sender=sender), qmqp=qmqp)
    session = FakeSession(trusted=True)
    server = QmtpServer(session, Settings(qmqp=qmqp), Held)
    drain(server)
    server.receive(said)
    client.receive(drain(server))
    drain(client)
    assert session.messages == [(sender, ["bob@example.org"], text)]
    assert outcomes(client)[0][1] == "relayed"


def test_a_connection_that_never_was_has_an_outcome_too() -> None:
    client = QmtpClient(PEER)
    client.send(transaction())
    client.fail(NoAnswer("Connection refused"))
    assert client.closed
    assert outcomes(client) == [("bob@example.net", "delayed", "4.4.1", True)]


said = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from(
            [netstring(b"Kok"), netstring(b"Zno"), netstring(b"D#5.1.1"), b"0:,", b"3:"]
        ),
    ),
    max_size=5,
).map(b"".join)


@given(said=said, qmqp=st.booleans(), step=st.integers(1, 9))
def test_any_answer_in_any_pieces_gives_each_path_one_outcome(
    said: bytes, qmqp: bool, step: int
) -> None:
    seen = []
    for size in (step, len(said) or 1):
        client, _ = begun(transaction("a@example.net", "b@example.net"), qmqp=qmqp)
        for start in range(0, len(said), size):
            client.receive(said[start : start + size])
            drain(client)
        client.receive(b"")
        drain(client)
        assert client.closed
        seen.append(outcomes(client))
    assert [row[0] for row in seen[0]] == ["a@example.net", "b@example.net"]
    assert [row[:3] for row in seen[0]] == [row[:3] for row in seen[1]]
