"""Reception's rules with a directory of two: what is asked before anything is on disk."""

import re
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from mailtools.errors import (
    BadMessage,
    BadSyntax,
    MailLoop,
    NoSuchMailbox,
    PolicyRefused,
    QueueFull,
    RelayDenied,
    TooManyRecipients,
)
from mailtools.mail.address import Address, parse_address
from mailtools.net.crowd import Crowd
from mailtools.net.session import Peer
from mailtools.net.stream import Stream
from mailtools.services.access.networks import Networks
from mailtools.services.reception.intake import HEADER_MOST, Intake
from mailtools.services.reception.policy import Policy
from mailtools.services.reception.release import check_release
from mailtools.services.reception.room import Room
from mailtools.services.reception.session import Reception
from mailtools.store.queue import Queue


class Directory:
    def is_local(self, domain: str) -> bool:
        return domain.lower() == "example.org"

    def check(self, address: Address) -> None:
        if address.local not in ("bob", "carol", "postmaster"):
            raise NoSuchMailbox


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    made = Queue(str(tmp_path / "queue"))
    made.create()
    return made


def reception(queue: Queue, address: str = "192.0.2.7", **rules: object) -> Reception:
    policy = Policy(
        me="mail.example.org", queue=queue, directory=Directory(), home="example.org", **rules
    )  # type: ignore[arg-type]
    return Reception(policy, Stream(), Peer(address))


def begun(queue: Queue, *paths: str) -> Intake:
    session = reception(queue)
    session.hello("client.example.com", "EHLO")
    session.mail(parse_address("alice@example.com"), {"SIZE": "5", "BODY": "8BITMIME"})
    for path in paths or ("bob@example.org",):
        session.rcpt(parse_address(path), {})
    return session.data()


def only_message(queue: Queue) -> bytes:
    (place,) = queue.new()
    return queue.open(place).message()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_message_in_any_pieces_is_the_same_on_disk(queue: Queue, size: int) -> None:
    text = b"Subject: x\nMessage-ID: <a@b>\n\n\nbody\n\n"
    sink = begun(queue)
    for start in range(0, len(text), size):
        sink.write(text[start : start + size])
    assert list(queue.new()) == []
    assert sink.commit().startswith("Ok: queued as ")
    assert only_message(queue).partition(b"\nSubject: ")[2] == text[9:]


@pytest.mark.parametrize("text", [b"", b"\n", b"\nbody\n", b"Subject: x\n", b"no header\n"])
def test_odd_messages_are_kept_as_they_are(queue: Queue, text: bytes) -> None:
    sink = begun(queue)
    if text:
        sink.write(text)
    sink.commit()
    message = only_message(queue)
    assert message.startswith(b"Received: ")
    assert without_received(message) == text


def without_received(message: bytes) -> bytes:
    return re.sub(rb"\AReceived: [^\n]*\n(?:\t[^\n]*\n)*", b"", message)


def test_nothing_is_on_disk_before_the_header_is_accepted(queue: Queue) -> None:
    sink = begun(queue)
    sink.write(b"Received: x\n" * 101)
    with pytest.raises(MailLoop):
        sink.write(b"\n")
    sink.abort()
    sink = begun(queue)
    with pytest.raises(BadMessage):
        sink.write(b"x" * (HEADER_MOST + 1))
    assert list((Path(queue.path) / "tmp").iterdir()) == []


def test_a_message_given_up_leaves_nothing(queue: Queue) -> None:
    sink = begun(queue)
    sink.write(b"Subject: x\n\nbody\n")
    sink.abort()
    assert list((Path(queue.path) / "tmp").iterdir()) == []
    assert list(queue.new()) == []


def test_who_is_refused_does_not_count(queue: Queue) -> None:
    session = reception(queue)
    session.mail(None, {})
    with pytest.raises(RelayDenied):
        session.rcpt(parse_address("eve@example.net"), {})
    with pytest.raises(NoSuchMailbox):
        session.rcpt(parse_address("dave@example.org"), {})
    session.rcpt(parse_address("bob@example.org"), {})
    with pytest.raises(TooManyRecipients):
        session.rcpt(parse_address("carol@example.org"), {})


def test_postmaster_needs_no_domain(queue: Queue) -> None:
    session = reception(queue)
    session.mail(None, {})
    session.rcpt(Address("postmaster", ""), {"NOTIFY": "NEVER"})
    session.data().commit()
    (place,) = queue.new()
    (path,) = queue.open(place).envelope.forward_paths
    assert (path.address, path.parameters) == ("postmaster@example.org", {"NOTIFY": "NEVER"})


def test_a_proxys_own_looks_use_up_no_limit(queue: Queue) -> None:
    policy = Policy("mail.example.org", queue, Directory(), crowd=Crowd(connections=1))
    for peer, free in ((Peer("192.0.2.7", probe=True), True), (Peer("192.0.2.7"), False)):
        Reception(policy, Stream(), peer).greet(early=False)
        if free:
            Reception(policy, Stream(), peer).greet(early=False)
            continue
        with pytest.raises(PolicyRefused, match="Too many"):
            Reception(policy, Stream(), peer).greet(early=False)


def test_after_a_reset_the_envelope_is_empty(queue: Queue) -> None:
    session = reception(queue, relay_clients=Networks(["192.0.2.0/24"]))
    session.mail(None, {})
    session.rcpt(parse_address("eve@example.net"), {})
    session.reset()
    session.mail(parse_address("alice@example.com"), {})
    session.rcpt(parse_address("bob@example.org"), {})
    session.data().commit()
    (place,) = queue.new()
    envelope = queue.open(place).envelope
    assert envelope.reverse_path == "alice@example.com"
    assert [path.address for path in envelope.forward_paths] == ["bob@example.org"]


def test_what_is_declared_must_fit_above_the_floor(queue: Queue) -> None:
    session = reception(queue, room=Room(queue.path, 1))
    session.mail(None, {"SIZE": "1000"})
    session.reset()
    with pytest.raises(QueueFull):
        session.mail(None, {"SIZE": "9" * 18})


def test_a_message_is_held_for_thirty_days_at_most() -> None:
    now = time.mktime((2026, 11, 23, 12, 0, 0, 0, 0, 0))
    check_release({}, now)
    check_release({"HOLDUNTIL": "2026-12-01T00:00:00Z"}, now)
    check_release({"HOLDUNTIL": "2020-01-01T00:00:00+01:00", "BY": "60;R"}, now)
    for wrong in ("2027-12-01T00:00:00Z", "2026-13-01T00:00:00Z"):
        with pytest.raises(BadSyntax):
            check_release({"HOLDUNTIL": wrong}, now)


@pytest.mark.parametrize(("by", "taken"), [("60;N", True), ("600;R", False), ("601;RT", True)])
def test_nothing_is_held_beyond_the_time_it_is_to_be_there(by: str, taken: bool) -> None:
    with nullcontext() if taken else pytest.raises(BadSyntax):
        check_release({"HOLDFOR": "600", "BY": by}, time.time())


@pytest.mark.parametrize(("address", "kept"), [("192.0.2.7", 1), ("198.51.100.1", 2)])
def test_results_in_our_name_are_for_trusted_hosts_to_bring(
    queue: Queue, address: str, kept: int
) -> None:
    session = reception(
        queue,
        address,
        authserv_id="mail.example.org",
        relay_clients=Networks(["198.51.100.0/24"]),
    )
    session.mail(parse_address("alice@example.com"), {})
    session.rcpt(parse_address("bob@example.org"), {})
    sink = session.data()
    sink.write(
        b"Authentication-Results: Mail.Example.ORG (x) 1;\n dmarc=pass\n"
        b"Authentication-Results: elsewhere.example.com; dmarc=pass\n\nbody\n"
    )
    sink.commit()
    assert only_message(queue).count(b"\nAuthentication-Results:") == kept
