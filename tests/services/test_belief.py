"""What smtpd-accept makes of strangers, with a DNS that is a dict: who is asked what, and when."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from dkim2_signer import instance
from dkim2_signer import sign as sign_dkim2

from mailtools.errors import BadMessage, DnsTrouble, Failure, PolicyRefused, QueueFull
from mailtools.mail.address import parse_address
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.fields import split_message
from mailtools.net.dns import Answer
from mailtools.services.reception import client_lists, judgement
from mailtools.services.reception import stranger as strangers
from mailtools.services.reception.belief import Belief, patient
from mailtools.services.reception.client_lists import ClientLists
from mailtools.services.reception.greylist import Greylist
from mailtools.services.reception.intake import Intake
from mailtools.services.reception.received import Hop
from mailtools.services.reception.stranger import Stranger
from mailtools.store import disk
from mailtools.store.queue import Queue
from mailtools.store.scratch import MEMORY_MOST
from mailtools.trust.arc import Arc, ArcResult
from mailtools.trust.arc_seal import seal
from mailtools.trust.authres import parse_authres
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer, sign
from mailtools.trust.dnsbl import parse_list
from mailtools.trust.keys import new_private_key

NOW = 1_700_000_000
KEY = new_private_key("ed25519")
IP = "203.0.113.9"
BOB = parse_address("bob@example.org")
ZONE = {
    ("x.test", "A"): "192.0.2.1",
    ("six.test", "AAAA"): "2001:db8::1",
    ("strict.test", "A"): "192.0.2.7",
    ("mail.test", "MX"): "10 mx.test",
    ("proved.test", "A"): "203.0.113.9",
    ("proved.test", "TXT"): "v=spf1 a -all",
    ("null.test", "MX"): "0 ",
    ("null.test", "A"): "192.0.2.1",
    ("text.test", "TXT"): "nothing else",
    ("strict.test", "TXT"): "v=spf1 ip4:192.0.2.7 -all",
    ("_dmarc.strict.test", "TXT"): "v=DMARC1; p=reject",
    ("_dmarc.wary.test", "TXT"): "v=DMARC1; p=quarantine",
    ("s._domainkey.strict.test", "TXT"): KEY.record(),
    ("s._domainkey.list.test", "TXT"): KEY.record(),
    ("9.113.0.203.black.test", "A"): "127.0.0.2",
    ("9.113.0.203.white.test", "A"): "127.0.0.2",
}


class Dns:
    """The zone, the questions that were asked, and the names that do not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.dead: set[str] = set()

    def __call__(self, name: str, rrtype: str) -> Answer:
        self.asked.append(name)
        if name in self.dead:
            raise DnsTrouble
        record = ZONE.get((name, rrtype))
        return Answer((record,) if record else (), exists=any(name == key for key, _ in ZONE))


@pytest.fixture
def dns() -> Dns:
    return Dns()


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that were logged."""
    said: list[str] = []
    monkeypatch.setattr(judgement.log, "line", said.append)
    return said


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    made = Queue(str(tmp_path / "queue"))
    made.create()
    return made


def belief_of(dns: Dns, queue: Queue, **settings: object) -> Belief:
    values: dict[str, object] = {
        "me": "mail.example.org",
        "authserv_id": "mail.example.org",
        "contact": "postmaster@example.org",
        "lookup": dns,
        "scratch": f"{queue.path}/tmp",
        "enforce": True,
        "clock": lambda: float(NOW),
        **settings,
    }
    return Belief(**values)  # type: ignore[arg-type]


def meet(belief: Belief) -> Stranger:
    stranger = strangers.meet(belief, IP, "198.51.100.1")
    assert stranger is not None
    return stranger


def take(
    belief: Belief, queue: Queue, text: bytes, sender: str = "a@strict.test", to: str = str(BOB)
) -> str:
    """Bring a message in, cut into pieces; give the entry as it lies in the queue."""
    hop = Hop("mx.test", IP, "", "mail.example.org", "ESMTP")
    envelope = Envelope(sender, (ForwardPath(to),))
    intake = Intake(queue, envelope, hop, hops=100, facts={})
    sink = meet(belief).sink(intake, "mx.test", sender, [to])
    for start in range(0, len(text), 65536):
        try:
            sink.write(text[start : start + 65536])
        except Failure:
            sink.abort()
            raise
    sink.commit()
    (path,) = (Path(queue.path) / "new").iterdir()
    return path.read_text()


def text_of(author: str, body: str = "Hello\n") -> bytes:
    return f"From: {author}\nTo: bob@example.org\nSubject: x\n\n{body}".encode()


def found(entry: str, method: str) -> str:
    message = entry.partition("\n\n")[2]
    field = message.partition(": ")[2].partition("\nReceived:")[0]
    return parse_authres(field).of(method)[0].result


# -- one message ----------------------------------------------------------------------------------


def test_who_is_forged_is_refused_and_leaves_nothing(
    dns: Dns, queue: Queue, log: list[str]
) -> None:
    with pytest.raises(PolicyRefused) as caught:
        take(belief_of(dns, queue), queue, text_of("a@strict.test"))
    assert (caught.value.reply, caught.value.status) == (550, "5.7.26")
    assert "_dmarc.strict.test asks to reject" in caught.value.text
    assert len(f"550 5.7.26 {caught.value.text}\r\n") <= 512  # RFC 5321 4.5.3.1.5
    assert [list((Path(queue.path) / name).iterdir()) for name in ("tmp", "new")] == [[], []]
    (line,) = log
    assert line.startswith("judged client=203.0.113.9 author=strict.test spf=fail dkim=none")
    assert "action=refuse" in line


def test_a_large_one_is_judged_too_and_leaves_nothing(
    dns: Dns, queue: Queue, log: list[str]
) -> None:
    body = "0123456789abcde\n" * (MEMORY_MOST // 8)
    with pytest.raises(PolicyRefused):
        take(belief_of(dns, queue), queue, text_of("a@strict.test", body))
    assert list((Path(queue.path) / "tmp").iterdir()) == []
    entry = take(belief_of(dns, queue), queue, text_of("a@plain.test", body))
    assert entry.endswith(f"Subject: x\n\n{body}")


def test_a_full_disk_puts_it_off_and_leaves_nothing(
    dns: Dns, queue: Queue, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(function: Callable[..., object], *args: object) -> object:
        if function is os.write:
            raise OSError(errno.ENOSPC, "No space left on device")
        return function(*args)

    monkeypatch.setattr(disk, "_call", full)
    for body in ("short\n", "0123456789abcde\n" * (MEMORY_MOST // 8)):
        with pytest.raises(QueueFull):
            take(belief_of(dns, queue), queue, text_of("a@plain.test", body))
        assert [list((Path(queue.path) / name).iterdir()) for name in ("tmp", "new")] == [[], []]


def test_postmaster_gets_it_all_the_same(dns: Dns, queue: Queue, log: list[str]) -> None:
    entry = take(
        belief_of(dns, queue), queue, text_of("a@strict.test"), to="PostMaster@example.org"
    )
    assert found(entry, "dmarc") == "fail"


@pytest.mark.parametrize("dead", ["_dmarc.strict.test", "strict.test"])
def test_what_cannot_be_known_now_is_no_reason(
    dns: Dns, queue: Queue, log: list[str], dead: str
) -> None:
    dns.dead.add(dead)
    entry = take(belief_of(dns, queue), queue, text_of("a@strict.test"))
    assert found(entry, "dmarc") == "temperror"


def test_spf_alone_refuses_nothing(dns: Dns, queue: Queue, log: list[str]) -> None:
    entry = take(belief_of(dns, queue), queue, text_of("a@plain.test"))
    assert found(entry, "spf") == "fail"
    assert "JUNK" not in entry


@pytest.mark.parametrize(
    ("quarantine", "junk"), [("junk", True), ("mark", False), ("reject", None)]
)
def test_quarantine(
    dns: Dns, queue: Queue, log: list[str], quarantine: str, junk: bool | None
) -> None:
    belief = belief_of(dns, queue, quarantine=quarantine)
    if junk is None:
        with pytest.raises(PolicyRefused):
            take(belief, queue, text_of("a@wary.test"))
        return
    entry = take(belief, queue, text_of("a@wary.test"))
    assert ("\nparameter JUNK\n" in entry) is junk


def test_a_trusted_handler_vouches(dns: Dns, queue: Queue, log: list[str]) -> None:
    header, body = split_message(text_of("a@strict.test"))
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    results = parse_authres("list.test; dmarc=pass header.from=strict.test")
    signer = Signer("list.test", "s", KEY)
    sealed = seal(header, hashes, signer, ArcResult(Arc.NONE), results, now=NOW) + header
    text = sealed + b"\n" + body
    with pytest.raises(PolicyRefused):
        take(belief_of(dns, queue), queue, text)
    trusting = belief_of(dns, queue, arc_trusted=frozenset(("list.test",)))
    entry = take(trusting, queue, text)
    assert (found(entry, "arc"), found(entry, "dmarc")) == ("pass", "fail")


def test_dkim2_is_told_and_acted_on_by_nobody(dns: Dns, queue: Queue, log: list[str]) -> None:
    text = sign_dkim2(
        instance(text_of("a@strict.test")),
        {"s": KEY},
        "strict.test",
        "a@strict.test",
        [str(BOB)],
        t=str(NOW),
    )
    with pytest.raises(PolicyRefused):  # DMARC wants SPF or DKIM
        take(belief_of(dns, queue), queue, text)
    assert "dkim=none dkim2=pass dmarc=fail" in log[-1]
    replayed = take(
        belief_of(dns, queue), queue, text.replace(b"strict.test\nTo", b"plain.test\nTo")
    )
    assert found(replayed, "dkim2") == "fail"
    assert "action=accept" in log[-1]


def test_a_dkim2_message_that_is_replayed_is_told(dns: Dns, queue: Queue, log: list[str]) -> None:
    text = sign_dkim2(
        instance(text_of("a@plain.test")),
        {"s": KEY},
        "strict.test",
        "a@strict.test",
        ["eve@example.com"],
        t=str(NOW),
    )
    entry = take(belief_of(dns, queue), queue, text)
    assert found(entry, "dkim2") == "permerror"
    assert "RCPT TO <bob@example.org> did not match" in entry.replace("\n\t", " ")


def test_one_author(dns: Dns, queue: Queue, log: list[str]) -> None:
    with pytest.raises(BadMessage) as caught:
        take(belief_of(dns, queue), queue, b"Subject: nobody\n\nHello\n")
    assert caught.value.reply == 550
    entry = take(belief_of(dns, queue, enforce=False), queue, b"Subject: nobody\n\nHello\n")
    assert found(entry, "dmarc") == "permerror"
    assert "would=refuse" in log[-1]


def test_an_author_with_an_address_literal_is_no_broken_one(
    dns: Dns, queue: Queue, log: list[str]
) -> None:
    entry = take(belief_of(dns, queue), queue, text_of("Printer <scan@[192.0.2.7]>"))
    assert found(entry, "dmarc") == "none"
    with pytest.raises(BadMessage):
        take(belief_of(dns, queue), queue, text_of("scan@[192.0.2.7], a@bank.test"))


# -- before the message ---------------------------------------------------------------------------


def test_lists_are_asked_once_and_only_when_they_matter(dns: Dns, queue: Queue) -> None:
    lists = ClientLists([parse_list("black.test*2"), parse_list("white.test*-1")], 2)
    stranger = meet(belief_of(dns, queue, lists=lists))
    for _ in range(3):
        stranger.rcpt("mx.test", "a@x.test", BOB)  # 2 - 1 is not enough
    assert dns.asked.count("9.113.0.203.black.test") == 1
    stranger = meet(belief_of(dns, queue, lists=lists, enforce=False))
    dns.asked.clear()
    stranger.rcpt("mx.test", "a@x.test", BOB)
    assert dns.asked == []


@pytest.mark.parametrize(
    ("sender", "status"),
    [
        ("", ""),
        ("a@x.test", ""),
        ("a@six.test", ""),
        ("a@mail.test", ""),
        ("a@[192.0.2.1]", ""),
        ("a@dead.test", ""),
        ("a@null.test", "5.7.27"),
        ("a@text.test", "5.1.8"),
        ("a@nowhere.test", "5.1.8"),
    ],
)
def test_a_sender_whom_no_bounce_could_reach(
    dns: Dns, queue: Queue, sender: str, status: str
) -> None:
    dns.dead.add("dead.test")
    said = ""
    try:
        meet(belief_of(dns, queue)).rcpt("mx.test", sender, BOB)
    except PolicyRefused as refusal:
        said = refusal.status
    assert said == status


def test_a_dead_list_refuses_nobody(dns: Dns, queue: Queue, log: list[str]) -> None:
    dns.dead.add("9.113.0.203.black.test")
    lists = ClientLists([parse_list("black.test")], 1)
    for _ in range(2):
        meet(belief_of(dns, queue, lists=lists)).rcpt("mx.test", "a@x.test", BOB)
    (line,) = log  # said once, not for each connection
    assert line.startswith("trouble list=black.test ")


def test_a_list_that_is_silent_is_not_waited_for(
    dns: Dns, queue: Queue, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_lists, "WAIT", 0.2)
    monkeypatch.setattr(client_lists, "SLOW", 0.1)
    silence, now = threading.Event(), [1000.0]

    def lookup(name: str, rrtype: str) -> Answer:
        if name.endswith("slow.test"):
            asked.append(name)
            silence.wait()
        return dns(name, rrtype)

    asked: list[str] = []
    rows = [parse_list("slow.test*9"), parse_list("black.test*2")]
    lists = ClientLists(rows, 2, clock=lambda: now[0])
    try:
        for pause in (0.0, 59.0, 1.1, 119.0, 1.1):  # asked, asleep, asked, asleep, asked
            now[0] += pause
            stranger = meet(belief_of(dns, queue, lists=lists, lookup=lookup))
            with pytest.raises(PolicyRefused, match=r"black\.test"):  # the other list counts
                stranger.rcpt("mx.test", "a@x.test", BOB)
        assert len(asked) == 3
        (line,) = log
        assert line.startswith("trouble list=slow.test ")
    finally:
        silence.set()


def test_an_allowed_client_is_not_greylisted(dns: Dns, queue: Queue, tmp_path: Path) -> None:
    greylist = Greylist(str(tmp_path / "greylist"), 300)
    with pytest.raises(Failure, match="Greylisted"):
        meet(belief_of(dns, queue, greylist=greylist)).rcpt("mx.test", "a@x.test", BOB)
    lists = ClientLists([parse_list("white.test*-1")], 1)
    meet(belief_of(dns, queue, greylist=greylist, lists=lists)).rcpt("mx.test", "a@x.test", BOB)


def test_who_passes_dmarc_is_known(dns: Dns, queue: Queue, tmp_path: Path, log: list[str]) -> None:
    greylist = Greylist(str(tmp_path / "greylist"), 300)
    belief = belief_of(dns, queue, greylist=greylist)
    header, body = split_message(text_of("a@strict.test"))
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    signed = sign(header, hashes, [Signer("strict.test", "s", KEY)], NOW) + header
    take(belief, queue, signed + b"\n" + body)
    meet(belief).rcpt("mx.test", "new@strict.test", BOB)


def signed_by_strict(text: bytes) -> bytes:
    header, body = split_message(text)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    return sign(header, hashes, [Signer("strict.test", "s", KEY)], NOW) + header + b"\n" + body


def test_whom_spf_proves_waits_at_the_end_unless_the_message_proves_more(
    dns: Dns, queue: Queue, tmp_path: Path, log: list[str]
) -> None:
    greylist, now = Greylist(str(tmp_path / "greylist"), 300), [float(NOW)]
    belief = belief_of(dns, queue, greylist=greylist, clock=lambda: now[0])
    meet(belief).rcpt("mx.test", "a@proved.test", BOB)
    with pytest.raises(PolicyRefused, match="Greylisted") as refused:
        take(belief, queue, text_of("a@proved.test"), "a@proved.test")
    assert refused.value.reply == 451
    assert list(queue.new()) == []
    for day in (2, 1, 1):  # mail that strict.test signed was good before, wherever it came from
        greylist.note(["strict.test"], "good", NOW - day * 86400)
    take(belief, queue, signed_by_strict(text_of("a@proved.test")), "a@proved.test")
    (entry,) = queue.new()
    os.unlink(entry.path)
    now[0] += 300
    take(belief, queue, text_of("a@proved.test"), "a@proved.test")


def test_what_is_taken_and_what_is_refused_makes_a_standing(
    dns: Dns, queue: Queue, tmp_path: Path, log: list[str]
) -> None:
    greylist = Greylist(str(tmp_path / "greylist"), 300)
    greylist.vouch("203.0.113.0/24", NOW)
    belief = belief_of(dns, queue, greylist=greylist)
    meet(belief).rcpt("mx.test", "a@x.test", BOB)
    for _ in range(2):
        with pytest.raises(PolicyRefused):
            take(belief, queue, text_of("a@strict.test"), "a@x.test")
    with pytest.raises(PolicyRefused, match="Greylisted"):
        meet(belief).rcpt("mx.test", "a@x.test", BOB)
    take(belief, queue, signed_by_strict(text_of("a@strict.test")), "a@x.test")
    notes = (tmp_path / "greylist/standing").glob("*/[!s]*")
    words = {path.read_text().split("\n")[0]: path.read_text().split()[1:] for path in notes}
    assert words["strict.test"] == [str(NOW // 86400), "good"]
    assert words["203.0.113.0/24"] == [str(NOW // 86400), "bad"] * 2 + [str(NOW // 86400), "good"]


@pytest.mark.parametrize("address", ["", "unix:/x", "[UNAVAILABLE]"])
def test_a_peer_without_an_address_is_not_judged(dns: Dns, queue: Queue, address: str) -> None:
    assert strangers.meet(belief_of(dns, queue), address, "") is None


def test_patience_ends(dns: Dns) -> None:
    ask = patient(dns, seconds=-1)
    with pytest.raises(DnsTrouble):
        ask("strict.test", "TXT")
    assert dns.asked == []
