"""Greylisting: who waits, who is known, what is left behind, and that trouble lets mail pass."""

from pathlib import Path

import pytest

from mailtools.errors import Failure
from mailtools.services.reception import greylist as greylists
from mailtools.services.reception.greylist import KNOWN_FOR, RETURN_MOST, Greylist, client_name
from mailtools.store.greylist import SWEEP, Marks

NOW = 1_700_000_000.0
BOB = "bob@example.org"


@pytest.fixture
def grey(tmp_path: Path) -> Greylist:
    return Greylist(str(tmp_path / "greylist"), 300)


def wait(grey: Greylist, client: str, sender: str, now: float, to: str = BOB) -> int:
    """How long a sender is told to wait; 0: not at all."""
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
