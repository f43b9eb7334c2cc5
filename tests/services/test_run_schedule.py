"""When entries are tried, told of and given up: a clock of our own, attempt by attempt."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from itertools import pairwise
from pathlib import Path

import pytest

from mailtools.config import duration
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import Report
from mailtools.services.queue.attempt import Attempts
from mailtools.services.queue.classes import Classes, parse_class
from mailtools.services.queue.notify import DOUBLES_MOST, Notifier
from mailtools.services.queue.schedule import JITTER, Schedule, priority
from mailtools.services.queue.transports import Transports
from mailtools.store.entry import Entry
from mailtools.store.history import History
from mailtools.store.queue import Queue
from mailtools.store.queue_id import make_id

START = 1795435200.0  # 2026-11-23 12:00 UTC, a whole minute
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass
class World:
    """A queue, a clock, and agents that answer as `says` does."""

    path: Path
    schedule: Schedule = field(default_factory=Schedule)
    says: Callable[[str], tuple[str, str]] = lambda path: ("delayed", "4.4.1")
    now: float = START
    jitter: float = 0.0
    text: str = "said so"
    tried: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.queue = Queue(str(self.path / "queue"))
        self.queue.create()
        self.attempts = self.run()

    def run(self) -> Attempts:
        """A new queue run, which knows only what is on disk."""
        notifier = Notifier(self.queue, "mail.example.org", "postmaster@mail.example.org")
        transports = Transports(["example.org"], {})
        return Attempts(self.queue, notifier, self.schedule, transports, lambda: self.jitter)

    def put(self, *paths: ForwardPath | str, sender: str = "alice@example.org", **more: str) -> str:
        client = more.pop("client", "")
        parameters = {key.replace("_", "-"): value for key, value in more.items()}
        forward = tuple(ForwardPath(p) if isinstance(p, str) else p for p in paths)
        writer = self.queue.begin(Envelope(sender, forward, parameters, client), make_id(self.now))
        writer.write(b"Subject: hello\nMessage-ID: <1@example.org>\n\nbody\n")
        return writer.commit()

    def pass_once(self) -> None:
        """Try what is due now."""
        for place in list(self.queue.due(self.now)):
            for assignment in self.attempts.take(place, self.now):
                for path in assignment.forward_paths:
                    self.tried.append((self.now - START, path))
                    action, status = self.says(path)
                    report = Report(path, action, status, self.text)
                    self.attempts.reported(assignment.id, report, self.now)
                self.attempts.over(assignment.id, self.now)
        self.attempts.flush(self.now)
        self.queue.tidy(self.now)

    def live(self, until: float) -> None:
        """Let time go by, from one due minute to the next."""
        self.pass_once()
        while (due := self.queue.next_due()) is not None and due <= START + until:
            self.now = max(due, self.now)
            self.pass_once()

    def dsns(self) -> list[Entry]:
        """What was sent from the null reverse-path, oldest first."""
        entries = [self.queue.open(place) for place in self.queue.all()]
        return sorted((e for e in entries if not e.envelope.reverse_path), key=lambda e: e.id)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def bounce_keeps(world: World) -> None:
    """Let DSNs wait, so that they can be looked at."""
    inner = world.says
    world.says = lambda path: ("delayed", "4.2.1") if path.startswith("alice") else inner(path)


def test_five_days_attempt_by_attempt(world: World) -> None:
    world.put("bob@example.net")
    world.live(6 * DAY)
    times = [when / MINUTE for when, path in world.tried if path == "bob@example.net"]
    # Each wait is as long as the message was old, from 5 min to 4 h; the warning at 4 h and the
    # end at 5 d are met exactly.
    expected = [0.0, 5, 10, 20, 40, 80, 160, 240]
    while expected[-1] + 240 < 5 * 1440:
        expected.append(expected[-1] + 240)
    expected.append(5 * 1440)
    assert times == expected


def test_the_sender_hears_once_of_the_delay_and_once_of_the_end(world: World) -> None:
    bounce_keeps(world)
    id_ = world.put("bob@example.net")
    world.live(3.9 * HOUR)
    assert world.dsns() == []
    world.live(4 * HOUR)
    (warning,) = world.dsns()
    assert b"\nAction: delayed\n" in warning.message()
    assert b"\nWill-Retry-Until: Sat, 28 Nov 2026 12:00:00 +0000\n" in warning.message()
    world.queue.remove(warning.id)
    world.live(5 * DAY - 1)
    assert world.dsns() == []
    assert world.queue.find(id_)
    world.live(5 * DAY)
    (failure,) = world.dsns()
    assert b"\nAction: failed\nStatus: 4.4.1\n" in failure.message()
    assert failure.envelope.forward_paths == (
        ForwardPath("alice@example.org", {"NOTIFY": "NEVER"}),
    )
    assert world.queue.find(id_) is None


def test_jitter_spreads_what_came_together(tmp_path: Path) -> None:
    schedule = Schedule()
    terms = schedule.terms(Envelope("a@b", (ForwardPath("c@d"),)), START)
    early = schedule.next_attempt(terms, START + HOUR, 0.0)
    late = schedule.next_attempt(terms, START + HOUR, 1.0)
    assert early == START + 2 * HOUR
    assert late == START + 2 * HOUR + 6 * MINUTE


@pytest.mark.parametrize("seed", range(5))
def test_five_days_with_jitter_stay_within_its_bounds(world: World, seed: int) -> None:
    """Each wait is the one without jitter, or up to a tenth longer; the marks are met exactly."""
    chance = random.Random(seed)
    world.attempts = Attempts(
        world.queue, world.attempts.notifier, world.schedule, world.attempts.transports,
        chance.random,
    )  # fmt: skip
    world.put("bob@example.net")
    world.live(6 * DAY)
    times = [when for when, path in world.tried if path == "bob@example.net"]
    assert times[-1] == 5 * DAY
    assert 4 * HOUR in times
    for last, when in pairwise(times):
        wait = min(max(last, 5 * MINUTE), 4 * HOUR)
        longest = wait * (1 + JITTER) + MINUTE  # due minutes are whole ones
        assert when - last <= longest
        assert when - last >= wait or when in (4 * HOUR, 5 * DAY)
    assert 30 <= len(times) <= 38


def test_a_run_that_begins_afresh_keeps_the_schedule(world: World) -> None:
    world.put("bob@example.net")
    for _ in range(12):
        world.attempts = world.run()
        world.pass_once()
        due = world.queue.next_due()
        assert due
        world.now = due
    times = [when / MINUTE for when, _ in world.tried]
    assert times[:8] == [0, 5, 10, 20, 40, 80, 160, 240]


@pytest.mark.parametrize(("lifetime", "attempts"), [(HOUR, 6), (7 * DAY, 49), (14 * DAY, 91)])
def test_the_lifetime_is_the_operators(tmp_path: Path, lifetime: float, attempts: int) -> None:
    world = World(tmp_path, Schedule(lifetime=lifetime, delay_warning=0))
    world.put("bob@example.net", sender="")
    assert world.schedule.bounce_lifetime == DAY
    id_ = world.put("bob@example.net")
    world.live(20 * DAY)
    assert len([1 for when, path in world.tried if path.startswith("bob")]) == attempts + 13
    assert world.queue.find(id_) is None


def test_what_is_delivered_leaves_neither_entry_nor_journal_but_history(world: World) -> None:
    world.says = lambda path: ("delivered", "2.0.0")
    id_ = world.put("bob@example.org", "carol@example.org")
    world.pass_once()
    assert list(world.queue.all()) == []
    assert list(Path(world.queue.path, "log").iterdir()) == []
    records = list(History(f"{world.queue.path}/history").read("2026-11-23"))
    assert [(r.id, r.word) for r in records] == [(id_, w) for w in ("from", *["delivered"] * 2)]


def test_failures_of_one_attempt_share_a_dsn_and_are_not_told_again(world: World) -> None:
    bounce_keeps(world)
    inner = world.says
    world.says = lambda path: ("failed", "5.1.1") if path.startswith("bad") else inner(path)
    world.put("bad1@example.net", "bob@example.net", "bad2@example.com", "bad3@example.org")
    world.pass_once()
    (dsn,) = world.dsns()
    assert dsn.message().count(b"\nAction: failed\n") == 3
    assert b"bob@example.net" not in dsn.message()
    world.attempts = world.run()
    world.live(2 * HOUR)
    assert [e.id for e in world.dsns()] == [dsn.id]
    assert [path for _, path in world.tried].count("bad1@example.net") == 1


@pytest.mark.parametrize(
    ("notify", "action", "status", "told"),
    [
        ("", "failed", "5.1.1", True),
        ("NEVER", "failed", "5.1.1", False),
        ("SUCCESS", "failed", "5.1.1", False),
        ("FAILURE,DELAY", "failed", "5.1.1", True),
        ("failure", "failed", "5.1.1", True),
        ("", "delivered", "2.0.0", False),
        ("SUCCESS,FAILURE", "delivered", "2.0.0", True),
        ("SUCCESS", "expanded", "2.0.0", True),
        ("SUCCESS", "relayed", "2.0.0", False),  # the next host tells
        ("SUCCESS", "relayed", "2.1.9", True),  # it cannot
        ("FAILURE", "relayed", "2.1.9", False),
    ],
)
def test_notify_is_honoured(
    world: World, notify: str, action: str, status: str, told: bool
) -> None:
    world.says = lambda path: (action, status)
    world.put(ForwardPath("bob@example.net", {"NOTIFY": notify} if notify else {}))
    world.pass_once()
    dsns = world.dsns()
    assert bool(dsns) is told
    if told:
        assert f"\nAction: {action}\nStatus: {status}\n".encode() in dsns[0].message()


@pytest.mark.parametrize(("notify", "told"), [("", 1), ("DELAY", 1), ("FAILURE", 0), ("NEVER", 0)])
def test_the_delay_warning_heeds_notify(world: World, notify: str, told: int) -> None:
    bounce_keeps(world)
    world.put(ForwardPath("bob@example.net", {"NOTIFY": notify} if notify else {}))
    world.live(10 * HOUR)
    assert len(world.dsns()) == told


def test_no_delay_warning_when_switched_off(tmp_path: Path) -> None:
    world = World(tmp_path, Schedule(delay_warning=0))
    world.put("bob@example.net")
    world.live(2 * DAY)
    assert world.dsns() == []


def test_the_null_reverse_path_is_never_told(world: World) -> None:
    world.says = lambda path: ("failed", "5.1.1")
    world.put("bob@example.net", sender="", client="192.0.2.7 mail.example.net")
    world.pass_once()
    assert list(world.queue.all()) == []


def test_our_own_bounce_that_fails_goes_to_the_postmaster_and_no_further(world: World) -> None:
    world.says = lambda path: ("failed", "5.1.1")
    world.put("bob@example.net")
    world.pass_once()  # → a DSN to alice
    world.pass_once()  # → which fails: the postmaster
    (double,) = world.dsns()
    assert double.envelope.forward_paths[0].address == "postmaster@mail.example.org"
    assert double.envelope.client == "double-bounce"
    assert b"<alice@example.org>" in double.message()
    world.pass_once()  # → which fails too: nobody
    assert list(world.queue.all()) == []


def test_the_postmaster_is_not_flooded(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    world.says = lambda path: ("failed", "5.1.1")
    for _ in range(3):
        for _ in range(DOUBLES_MOST // 2):
            world.put("bob@example.net")
        world.pass_once()
        world.attempts = world.run()  # one of cron's, which remembers nothing
        world.pass_once()
    said = capfd.readouterr().err
    assert said.count(" to=postmaster@mail.example.org dsn=") == DOUBLES_MOST
    assert said.count("withheld ") == DOUBLES_MOST // 2
    world.now += HOUR + 1
    world.put("bob@example.net")
    world.pass_once()
    world.pass_once()
    assert [e.envelope.client for e in world.dsns()] == ["double-bounce"]


def test_bounces_live_shorter(world: World) -> None:
    world.put("bob@example.net", sender="")
    world.live(5 * DAY)
    assert max(when for when, _ in world.tried) == DAY


def test_hold_for_is_not_tried_before_and_lives_from_there(world: World) -> None:
    world.put("bob@example.net", HOLDFOR="7200")
    world.live(10 * DAY)
    times = [when / HOUR for when, path in world.tried if path.startswith("bob")]
    assert times[0] == 2
    assert times[1] == pytest.approx(2 + 5 / 60)
    assert times[-1] == 2 + 5 * 24


def test_hold_until(world: World) -> None:
    world.put("bob@example.net", HOLDUNTIL="2026-11-23T15:00:30Z")
    world.live(3.5 * HOUR)
    assert world.tried[0][0] == 3 * HOUR + MINUTE
    world.put("carol@example.net", HOLDUNTIL="yesterday")
    world.tried.clear()
    world.pass_once()
    assert [path for _, path in world.tried] == ["carol@example.net"]


def test_deliver_by_returns_what_is_late(world: World) -> None:
    bounce_keeps(world)
    world.put("bob@example.net", BY="1200;R")
    world.live(DAY)
    # Not tried when its time is over (RFC 2852 4.1.2), but returned then.
    assert [when / MINUTE for when, p in world.tried if p.startswith("bob")] == [0, 5, 10]
    (dsn,) = world.dsns()
    assert b"\nAction: failed\nStatus: 5.4.7\n" in dsn.message()


def test_deliver_by_notifies_of_what_is_late(world: World) -> None:
    bounce_keeps(world)
    world.put("bob@example.net", BY="1200;N")
    world.live(20 * MINUTE)
    (dsn,) = world.dsns()
    assert b"\nAction: delayed\n" in dsn.message()
    world.live(DAY)
    assert len(world.dsns()) == 1


def test_priorities_are_read_and_bounded() -> None:
    def of(value: str) -> int:
        return priority(Envelope("", (ForwardPath("a@b"),), {"MT-PRIORITY": value}))

    assert [of(value) for value in ("3", "-9", "99", "x", "")] == [3, -9, 9, 0, 0]


def test_a_crash_after_the_journal_still_tells_the_sender(world: World) -> None:
    id_ = world.put("bob@example.net")
    entry = world.queue.open(id_)
    world.queue.record(entry, [Report("bob@example.net", "failed", "5.1.1", "nobody")], world.now)
    world.attempts = world.run()
    world.pass_once()
    assert world.tried == []
    assert len(world.dsns()) == 1
    assert world.queue.find(id_) is None


def test_a_crash_after_the_dsn_does_not_tell_again(world: World) -> None:
    id_ = world.put("bob@example.net")
    entry = world.queue.open(id_)
    world.queue.record(entry, [Report("bob@example.net", "failed", "5.1.1", "nobody")], world.now)
    world.queue.record_notice(entry, "failed", "1.M2P3R4", world.now)
    world.attempts = world.run()
    world.pass_once()
    assert list(world.queue.all()) == []
    assert list(Path(world.queue.path, "log").iterdir()) == []


def test_the_dsn_can_be_read_by_a_stranger(world: World) -> None:
    world.says = lambda path: ("failed", "5.1.1")
    world.put(
        ForwardPath("bob@example.net", {"ORCPT": "rfc822;Bob+2Bx@example.net"}),
        ENVID="QQ+3D1",
        RET="FULL",
    )
    world.pass_once()
    (dsn,) = world.dsns()
    message = message_from_bytes(dsn.message())
    explanation, status, returned = message.get_payload()  # type: ignore[misc]
    about, path = status.get_payload()
    assert about["Original-Envelope-Id"] == "QQ=1"
    assert path["Original-Recipient"] == "rfc822; Bob+x@example.net"
    assert path["Final-Recipient"] == "rfc822; bob@example.net"
    assert "bob@example.net" in explanation.get_payload()
    assert returned.get_content_type() == "message/rfc822"
    assert returned.get_payload(0).get_payload() == "body\n"
    assert message["Auto-Submitted"] == "auto-replied"


def test_an_entry_that_cannot_be_read_is_set_aside(world: World, capfd: object) -> None:
    id_ = make_id(world.now)
    Path(world.queue.path, "new", id_).write_bytes(b"nonsense\n\n")
    world.pass_once()
    (place,) = world.queue.bad()
    assert place.id == id_
    assert f"damaged id={id_} " in capfd.readouterr().err  # type: ignore[attr-defined]


# -- retry classes --------------------------------------------------------------------------------


def classes(**lines: str) -> Classes:
    return Classes({k.replace("_", "."): parse_class(v, duration) for k, v in lines.items()})


def minutes(world: World, path: str) -> list[float]:
    return [when / MINUTE for when, tried in world.tried if tried == path]


def test_a_class_attempt_by_attempt(world: World) -> None:
    bounce_keeps(world)
    world.attempts.classes = classes(example_net="2min/30min/2h/1h")
    world.put("bob@example.net")
    world.live(2 * HOUR)
    assert minutes(world, "bob@example.net") == [0, 2, 4, 8, 16, 32, 60, 90, 120]
    warning, failure = world.dsns()
    assert b"\nWill-Retry-Until: Mon, 23 Nov 2026 14:00:00 +0000\n" in warning.message()
    assert b"\nAction: failed\n" in failure.message()


def test_a_message_is_tried_for_each_class_at_its_own_times(world: World) -> None:
    bounce_keeps(world)
    world.attempts.classes = classes(example_net="2min/8min/20min/0", _example_edu="1h/3h/4h/0")
    world.put("bob@example.net", "eve@a.example.edu", "carol@example.com")
    world.live(6 * DAY)
    assert minutes(world, "bob@example.net") == [0, 2, 4, 8, 16, 20]
    assert minutes(world, "eve@a.example.edu") == [0, 60, 120, 240]
    assert minutes(world, "carol@example.com")[:8] == [0, 5, 10, 20, 40, 80, 160, 240]
    assert minutes(world, "carol@example.com")[-1] == 5 * 1440


def test_a_run_that_begins_afresh_keeps_the_classes(world: World) -> None:
    world.put("bob@example.net", "carol@example.com")
    for _ in range(9):
        world.attempts = world.run()
        world.attempts.classes = classes(example_net="1min/5min")
        world.pass_once()
        world.now = world.queue.next_due() or world.now
    assert minutes(world, "bob@example.net") == [0, 1, 2, 4, 8, 13, 18]
    assert minutes(world, "carol@example.com") == [0, 5, 10]


def test_an_operator_who_asks_has_all_of_it_tried(world: World) -> None:
    world.attempts.classes = classes(example_net="1h/2h")
    id_ = world.put("bob@example.net", "carol@example.com")
    world.pass_once()
    world.now += MINUTE
    world.queue.retry(id_)
    world.pass_once()
    assert minutes(world, "bob@example.net") == minutes(world, "carol@example.com") == [0, 1]


def test_a_bounce_is_tried_no_longer_than_its_class(world: World) -> None:
    world.attempts.classes = classes(example_net="5min/30min/1h", example_com="5min/4h/10d")
    for path in ("bob@example.net", "bob@example.com"):
        world.put(path, sender="")
    world.live(20 * DAY)
    assert minutes(world, "bob@example.net")[-1] == 60
    assert minutes(world, "bob@example.com")[-1] == 1440


@pytest.mark.parametrize(
    ("text", "soon"),
    [
        ("mx.example.net said 451 4.7.1 Please try again later", True),
        ("mx.example.net said 450 4.2.0 <b@example.net>: Recipient address rejected: Greylisted",
         True),
        ("mx.example.net said 452 4.2.2 over quota", False),
        ("mx.example.net: no answer in 30 seconds", False),
    ],
)  # fmt: skip
def test_who_is_greylisted_comes_again_soon(world: World, text: str, *, soon: bool) -> None:
    world.says = lambda path: ("delayed", "4.7.1")
    world.text = text
    world.attempts.classes = classes(example_net="1h/4h")
    world.put("bob@example.net")
    world.live(HOUR)
    assert minutes(world, "bob@example.net") == ([0, 5, 10, 20, 40] if soon else [0, 60])


@pytest.mark.parametrize("text", ["", "//", "soon", "1h/5min", "0/1h", "1/2/3/4/5", "1h/x"])
def test_what_is_no_class_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse_class(text, duration)
