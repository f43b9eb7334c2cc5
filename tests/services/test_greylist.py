"""Greylisting: who waits, who is known, what is left behind, and that trouble lets mail pass."""

from pathlib import Path

import pytest

from mailtools.errors import Failure
from mailtools.services.access.networks import Networks
from mailtools.services.reception import greylist as greylists
from mailtools.services.reception.greylist import (
    BAD,
    GOOD,
    KNOWN_FOR,
    RETURN_MOST,
    STANDING_FOR,
    WROTE_FOR,
    Correspondents,
    Exempt,
    Greylist,
    Sender,
    client_name,
)
from mailtools.store.greylist import SWEEP, Marks

NOW = 1_700_000_000.0
BOB = "bob@example.org"


@pytest.fixture
def grey(tmp_path: Path) -> Greylist:
    return Greylist(str(tmp_path / "greylist"), 300)


def wait(grey: Greylist, client: str, sender: str, now: float, to: str = BOB) -> int:
    """How long a sender is told to wait; 0: not at all."""
    if grey.knows(Sender("192.0.2.77", client, sender), now):
        return 0
    try:
        grey.check(client, sender, to, now)
    except Failure as failure:
        return int(failure.text.split()[-2]) if failure.reply == 451 else -1
    return 0


def test_who_comes_again_is_known(grey: Greylist) -> None:
    assert wait(grey, "192.0.2.0/24", "a@x.test", NOW) == 300
    assert wait(grey, "192.0.2.0/24", "a@x.test", NOW + 100.5) == 200
    assert wait(grey, "192.0.2.0/24", "b@x.test", NOW + 299) == 300
    assert wait(grey, "192.0.2.0/24", "A@x.test", NOW + 300) == 0
    assert wait(grey, "192.0.2.0/24", "c@y.test", NOW + 301, "carol@example.org") == 0
    assert wait(grey, "198.51.100.0/24", "a@x.test", NOW + 302) == 300


def test_who_comes_too_late_begins_again(grey: Greylist) -> None:
    assert wait(grey, "x.test", "", NOW) == 300
    assert wait(grey, "x.test", "", NOW + RETURN_MOST) == 300
    assert wait(grey, "x.test", "", NOW + RETURN_MOST + 300) == 0


def test_a_client_that_was_vouched_for_never_waits(grey: Greylist) -> None:
    grey.vouch("x.test", NOW)
    assert wait(grey, "x.test", "a@x.test", NOW + KNOWN_FOR - 1) == 0
    assert wait(grey, "x.test", "a@x.test", NOW + KNOWN_FOR) == 300


def test_vouching_again_lasts_from_then_on(grey: Greylist) -> None:
    grey.vouch("x.test", NOW)
    grey.vouch("x.test", NOW + KNOWN_FOR / 2)
    assert wait(grey, "x.test", "a@x.test", NOW + KNOWN_FOR + 1) == 0


@pytest.mark.parametrize(
    ("address", "domain", "name"),
    [
        ("192.0.2.77", "", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.77", "", "192.0.2.0/24"),  # as a proxy may say it
        ("fe80::1%eth0", "", "fe80::/64"),
        ("192.0.2.77", "Pool.Example.", "pool.example"),
    ],
)
def test_a_pool_of_hosts_is_one_client(address: str, domain: str, name: str) -> None:
    assert client_name(address, domain) == name


def test_trouble_with_the_files_lets_mail_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(greylists.log, "line", said.append)
    (tmp_path / "greylist").write_text("in the way")
    grey = Greylist(str(tmp_path / "greylist"), 300)
    assert wait(grey, "x.test", "a@x.test", NOW) == 0
    grey.vouch("x.test", NOW)
    assert [line.split()[0] for line in said] == ["trouble", "trouble"]


def test_a_mark_says_what_it_is_for(tmp_path: Path) -> None:
    Marks(str(tmp_path), 100).put("example.org <a@b> <c@d>", NOW)
    (found,) = [path for path in tmp_path.glob("*/*") if path.name != "swept"]
    assert found.read_text() == "example.org <a@b> <c@d>\n"
    assert found.stat().st_mode & 0o077 == 0


def test_old_marks_are_swept(tmp_path: Path) -> None:
    marks = Marks(str(tmp_path), 50.0)
    texts = [f"text {number}" for number in range(600)]
    for text in texts:
        marks.put(text, NOW)
    assert all(marks.find(text, NOW + 49) == NOW for text in texts)
    for text in texts:
        marks.put(f"later {text}", NOW + SWEEP)
    left = {path.read_text()[:5] for path in tmp_path.glob("*/*") if path.name != "swept"}
    # a folder that got nothing new keeps what it has, unseen
    assert all(marks.find(text, NOW + SWEEP) is None for text in texts)
    assert "later" in left
    assert sum(1 for _ in tmp_path.glob("*/*")) < 1200


# -- standing -------------------------------------------------------------------------------------

DAY = 86400.0


def test_good_mail_on_several_days_makes_a_good_standing(grey: Greylist) -> None:
    for day in (0, 0, 0):
        grey.note(["x.test", "192.0.2.0/24"], GOOD, NOW + day * DAY)
    assert not grey.trusts(["x.test"], NOW)  # all on one day
    grey.note(["x.test"], GOOD, NOW + DAY)
    assert grey.trusts(["y.test", "x.test"], NOW + DAY)
    assert not grey.trusts(["y.test"], NOW + DAY)
    assert not grey.trusts(["192.0.2.0/24"], NOW + DAY)
    assert wait(grey, "x.test", "a@x.test", NOW + DAY) == 0
    assert not grey.trusts(["x.test"], NOW + STANDING_FOR + 2 * DAY)  # long ago


def test_junk_takes_it_away_and_makes_who_is_known_wait_again(grey: Greylist) -> None:
    grey.vouch("x.test", NOW)
    assert wait(grey, "x.test", "a@x.test", NOW) == 0
    for _ in range(2):
        grey.note(["x.test"], BAD, NOW)
    assert wait(grey, "x.test", "a@x.test", NOW) == 300
    assert wait(grey, "x.test", "a@x.test", NOW + 300) == 0
    assert wait(grey, "x.test", "b@x.test", NOW + 300) == 300  # known, and not believed
    for day in range(6):
        for _ in range(5):
            grey.note(["x.test"], GOOD, NOW + day * DAY)
    assert wait(grey, "x.test", "a@x.test", NOW + 6 * DAY) == 0


def test_a_flood_leaves_a_small_file(grey: Greylist, tmp_path: Path) -> None:
    for day in range(60):
        for _ in range(30):
            grey.note(["x.test"], GOOD, NOW + day * DAY)
    (path,) = (tmp_path / "greylist/standing").glob("*/[!s]*")
    lines = path.read_text().splitlines()
    assert lines[0] == "x.test"
    assert len(lines) <= 202
    assert lines[-1] == f"{int(NOW // DAY) + 59} good"


def test_who_was_written_to_never_waits(grey: Greylist, tmp_path: Path) -> None:
    Correspondents(str(tmp_path / "greylist")).note(["Friend@x.test"], NOW)
    assert wait(grey, "192.0.2.0/24", "friend@X.test", NOW + WROTE_FOR - 1) == 0
    assert wait(grey, "192.0.2.0/24", "other@x.test", NOW) == 300
    forged = Sender("192.0.2.77", "192.0.2.0/24", "friend@x.test", forged=True)
    assert not grey.knows(forged, NOW)


def test_who_is_exempt_never_waits(tmp_path: Path) -> None:
    exempt = Exempt(Networks(["192.0.2.0/24"]), frozenset(("pool.test",)))
    grey = Greylist(str(tmp_path / "greylist"), 300, exempt=exempt)
    assert grey.knows(Sender("192.0.2.9", "192.0.2.0/24", "a@x.test"), NOW)
    assert grey.knows(Sender("198.51.100.1", "pool.test", "a@pool.test"), NOW)
    assert not grey.knows(Sender("198.51.100.1", "x.test", "a@pool.test"), NOW)
    assert grey.trusts(["pool.test"], NOW)


def test_a_torn_note_counts_nothing(grey: Greylist, tmp_path: Path) -> None:
    grey.note(["x.test"], GOOD, NOW)
    (path,) = (tmp_path / "greylist/standing").glob("*/[!s]*")
    path.write_bytes(b"x.test\nnonsense\n-1 good\n\xff bad\n99 bad")
    assert not grey.trusts(["x.test"], NOW)
    grey.note(["x.test"], GOOD, NOW)
