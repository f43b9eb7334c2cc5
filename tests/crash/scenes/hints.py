"""Hints: what is suppressed, silent, counted, greylisted, finished. They may be lost, and not lie.

Nothing here is synced. After a crash each reads as it was before some of its last changes, a torn
line harms no other, and what comes next is taken in.
"""

from pathlib import Path

from crash.scenario import Say, Scenario

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import RELAYED, Report
from mailtools.net.dns import Answer
from mailtools.services.relay.mta_sts import StsPolicies
from mailtools.store.destinations import Destinations, Silence
from mailtools.store.entry import Entry, Place, State
from mailtools.store.greylist import Marks
from mailtools.store.history import History, lines_of
from mailtools.store.journal import Journal
from mailtools.store.suppressed import Suppressed, Suppression
from mailtools.store.tally import Tally

NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86400.0


def nothing(folder: Path) -> None:
    pass


# -- addresses refused as unknown -----------------------------------------------------------------

REFUSED = [
    Suppression("bob@example.net", NOW, "5.1.1", "mx said 550 no such user"),
    Suppression("bob@example.net", NOW + DAY, "5.1.1", "mx said 550 still no such user"),
    Suppression("carol@example.net", NOW, "5.1.10", "example.net does not accept mail"),
]
AGAIN = Suppression("bob@example.net", NOW + 2 * DAY, "5.1.6", "mx said 551 moved")


def suppress(folder: Path, say: Say) -> None:
    known = Suppressed(str(folder))
    for one in REFUSED:
        known.add(one)
    known.lift("carol@example.net")


def check_suppress(folder: Path, said: list[str]) -> None:
    known = Suppressed(str(folder))
    assert set(known.all()) <= set(REFUSED), "an address is kept out that nobody refused"
    known.add(AGAIN)
    assert known.find("bob@example.net") == AGAIN, "what was torn took the next line with it"
    known.sweep(AGAIN.since + DAY)
    assert not list(known.all())


# -- destinations that did not answer -------------------------------------------------------------


def silence(folder: Path, say: Say) -> None:
    known = Destinations(str(folder))
    known.failed("example.net", NOW + HOUR, "4.4.1", "Connection refused")
    known.failed("example.com", NOW + HOUR, "4.4.1", "Connection timed out")
    known.failed("example.net", NOW + 2 * HOUR, "4.4.1", "Connection refused")
    known.answered("example.com")


def check_silence(folder: Path, said: list[str]) -> None:
    known = Destinations(str(folder))
    for name, one in known.all().items():
        assert one.until in (NOW + HOUR, NOW + 2 * HOUR), f"{name} is left alone for ever"
        assert one.failures in (1, 2)
    known.failed("example.net", NOW + 3 * HOUR, "4.4.2", "gone")
    read = Destinations(str(folder)).silent("example.net", NOW + 2.5 * HOUR)
    assert isinstance(read, Silence)
    assert (read.until, read.text) == (NOW + 3 * HOUR, "gone")


# -- budgets --------------------------------------------------------------------------------------


def count(folder: Path, say: Say) -> None:
    tally = Tally(str(folder))
    say(f"sum {tally.add('user:alice', 3, NOW)}")
    say(f"sum {tally.add('user:alice', 4, NOW + 60)}")
    tally.first_today("alert:alice", NOW)
    tally.add("user:alice", 5, NOW + 2 * HOUR)  # the first hour's folder goes


def check_count(folder: Path, said: list[str]) -> None:
    tally = Tally(str(folder))
    left = tally.sum("user:alice", NOW + 2 * HOUR)
    assert left in (0, 5), "more was counted than was done"
    assert tally.add("user:alice", 2, NOW + 3 * HOUR) in (2, 7)
    tally.first_today("alert:alice", NOW)
    assert not tally.first_today("alert:alice", NOW + 60), "postmaster is told twice a day"


# -- greylisting ----------------------------------------------------------------------------------


def mark(folder: Path, say: Say) -> None:
    marks = Marks(str(folder / "first"), 2 * DAY)
    marks.put("192.0.2.0/24 <a@example.net> <b@example.org>", NOW)
    marks.put("192.0.2.0/24 <a@example.net> <b@example.org>", NOW + 60)
    marks.put("192.0.2.0/24 <c@example.net> <b@example.org>", NOW + 3 * DAY)


def check_mark(folder: Path, said: list[str]) -> None:
    marks = Marks(str(folder / "first"), 2 * DAY)
    marks.find("192.0.2.0/24 <a@example.net> <b@example.org>", NOW + 60)
    marks.put("192.0.2.0/24 <a@example.net> <b@example.org>", NOW + 4 * DAY)
    found = marks.find("192.0.2.0/24 <a@example.net> <b@example.org>", NOW + 4 * DAY)
    assert found == NOW + 4 * DAY, "a sender that comes again stays unknown"


# -- history --------------------------------------------------------------------------------------


def finished(number: int) -> bytes:
    """The lines of a message that was relayed to two addresses."""
    paths = (ForwardPath("bob@example.net"), ForwardPath("carol@example.net"))
    journal = Journal()
    for path in paths:
        journal.add(NOW, Report(path.address, RELAYED, "2.0.0", "taken"))
    id_ = f"1700000000.M00000{number}P1R0000000{number}"
    place = Place(id_, f"/nowhere/{id_}", State.NEW)
    envelope = Envelope("alice@example.org", paths)
    return lines_of(Entry(place, NOW, envelope, 0, 100, message_id="", journal=journal))


WRITTEN = [finished(number) for number in range(4)]


def remember(folder: Path, say: Say) -> None:
    history = History(str(folder))
    history.append(WRITTEN[0], NOW - 5 * DAY)
    history.begin_day(NOW)
    history.append(WRITTEN[1], NOW)
    history.append(WRITTEN[2], NOW)
    history.sweep(NOW, 2 * DAY)


def check_remember(folder: Path, said: list[str]) -> None:
    history = History(str(folder))
    history.append(WRITTEN[3], NOW)
    (today,) = (day for day in history.days() if day.endswith("-14"))
    known = {line for text in WRITTEN for line in text.decode().splitlines()}
    for record in history.read(today):
        line = "\t".join((record.id, f"{record.time:.0f}", record.word, *record.fields))
        assert line in known, f"nobody wrote {line!r}"
    (last,) = history.find(today, [WRITTEN[3].split(b"\t")[0].lower()])
    assert len(last) == 3, "what was torn took the next message with it"


# -- MTA-STS policies -----------------------------------------------------------------------------


class Web:
    """A domain whose policy changes once."""

    def __init__(self, number: int) -> None:
        self.number = number

    def lookup(self, name: str, rrtype: str) -> Answer:
        return Answer((f"v=STSv1; id={self.number};",))

    def fetch(self, domain: str) -> bytes:
        return f"version: STSv1\nmode: enforce\nmx: mx{self.number}.test\nmax_age: 1000\n".encode()


def policies(folder: Path, number: int) -> StsPolicies:
    web = Web(number)
    return StsPolicies(lambda: web, web.fetch, str(folder / "mta-sts"), lambda: NOW)


class Dead:
    """DNS and a web server that an attacker keeps from us."""

    def lookup(self, name: str, rrtype: str) -> Answer:
        return Answer()

    def fetch(self, domain: str) -> bytes:
        raise AssertionError("nothing says that there is a policy")


def kept(folder: Path) -> str:
    """The exchanger of the policy on disk, "" without any."""
    dead = Dead()
    known = StsPolicies(lambda: dead, dead.fetch, str(folder / "mta-sts"), lambda: NOW)
    policy = known.policy("example.net")
    return policy.mx[0] if policy else ""


def keep_policy(folder: Path, say: Say) -> None:
    for number in (1, 2):
        policy = policies(folder, number).policy("example.net")
        assert policy
        if kept(folder) == policy.mx[0]:  # trouble with the disk must not keep mail
            say(policy.mx[0])


def check_policy(folder: Path, said: list[str]) -> None:
    found = kept(folder)
    assert found in ("", "mx1.test", "mx2.test")
    assert not said or found >= said[-1], "whoever cuts the power gets round the policy"
    again = policies(folder, 3).policy("example.net")
    assert again
    assert again.mx == ("mx3.test",)


SCENARIOS = [
    Scenario("hints-suppressed", nothing, suppress, check_suppress),
    Scenario("hints-destinations", nothing, silence, check_silence),
    Scenario("hints-tally", nothing, count, check_count),
    Scenario("hints-greylist", nothing, mark, check_mark),
    Scenario("hints-history", nothing, remember, check_remember),
    Scenario("hints-mta-sts", nothing, keep_policy, check_policy),
]
