"""What reports are made of: lines of many processes, limits, torn lines, and what was sent."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.store.report_data import (
    Collected,
    SentDay,
    Step,
    day_of,
    family,
    share_of,
    sweep_sent,
)

NOW = 1_795_400_000.0
DAY = day_of(NOW)


def test_equal_lines_are_counted_by_domain_and_policy(tmp_path: Path) -> None:
    collected = Collected(str(tmp_path), "dmarc", 10_000)
    assert collected.read(DAY) == {}
    for policy, fact in [("{1}", "{a}"), ("{2}", "{a}"), ("{1}", "{b}"), ("{1}", "{a}")]:
        assert collected.add("example.net", policy, fact, NOW)
    assert collected.add("example.com", "{3}", "{a}", NOW)
    found = collected.read(DAY)
    assert found == {
        "example.net": {"{1}": {"{a}": 2, "{b}": 1}, "{2}": {"{a}": 1}},
        "example.com": {"{3}": {"{a}": 1}},
    }
    assert list(found["example.net"]) == ["{2}", "{1}"]  # the last one seen is last
    assert collected.days() == [DAY]


def test_a_day_ends_at_its_limit_and_says_since_when(tmp_path: Path) -> None:
    collected = Collected(str(tmp_path), "tls", 128_000)
    added = [collected.add("example.net", "{}", f'{{"n":{n:9}}}', NOW) for n in range(3000)]
    assert added.count(False) == 1  # told once
    assert sum(path.stat().st_size for path in (tmp_path / "tls").iterdir()) <= 64_000 + 500 + 6
    assert collected.full_since(DAY, "example.net") == "02:13"
    assert collected.days() == [DAY]
    kept = sum(sum(texts.values()) for texts in collected.read(DAY)["example.net"].values())
    assert kept == added.index(False)


def test_a_flood_about_one_domain_and_all_below_it_starves_no_other(tmp_path: Path) -> None:
    collected = Collected(str(tmp_path), "dmarc", 512_000)
    for n in range(10_000):
        collected.add(f"x{n}.evil.test", "{}", f'{{"n":{n}}}', NOW)
    others = [f"other{n}.test" for n in range(100)]
    hit = [name for name in others if share_of(name, DAY) == share_of("evil.test", DAY)]
    added = {name for name in others if collected.add(name, "{}", "{}", NOW)}
    found = collected.read(DAY)
    assert added == {name for name in others if name in found} | set(hit)
    assert len(hit) < 10
    assert [name for name in others if collected.full_since(DAY, name)] == hit
    assert collected.full_since(DAY, "x77.evil.test")
    assert sum(path.stat().st_size for path in (tmp_path / "dmarc").iterdir()) < 512_000


@pytest.mark.parametrize(
    ("domain", "family_"),
    [
        ("example.net", "example.net"),
        ("a.b.Example.net.", "example.net"),
        ("a.example.co.uk", "example.co.uk"),
        ("example.com.br", "example.com.br"),
        ("a.ibm.com", "ibm.com"),
        ("co.uk", "co.uk"),
        ("test", "test"),
        ("", ""),
    ],
)
def test_whose_a_name_is(domain: str, family_: str) -> None:
    assert family(domain) == family_


@given(st.integers(0, 44))
def test_wherever_a_line_is_torn_nothing_is_made_up(cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        collected = Collected(folder, "dmarc", 10_000)
        line = b'1\texample.net\t{"p":"none"}\t{"source":"x"}\n'
        path = Path(folder) / "dmarc" / DAY
        path.parent.mkdir()
        path.write_bytes(line + line[:cut] + line + line[: cut // 2])
        whole = 3 if cut >= len(line) else 2 if not cut else 1
        assert collected.read(DAY) == {"example.net": {'{"p":"none"}': {'{"source":"x"}': whole}}}


def test_many_processes_add_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from mailtools.store.report_data import Collected\n"
        "collected = Collected(sys.argv[1], 'dmarc', 10**9)\n"
        f"for n in range(300): collected.add(f'd{{n % 7}}.test', '{{}}', "
        f"'{{\"x\":\"' + 'y' * (n * 13 % 4000) + '\"}}', {NOW})\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    found = Collected(str(tmp_path), "dmarc", 0).read(DAY)
    assert sorted(found) == [f"d{n}.test" for n in range(7)]
    assert sum(count for facts in found.values() for count in facts["{}"].values()) == 1200
    assert all(json.loads(text) for facts in found.values() for text in facts["{}"])


def test_what_was_sent_is_known_afterwards(tmp_path: Path) -> None:
    sent = SentDay(str(tmp_path), DAY)
    sent.note("tls", "example.net", "begun", "1700000000.M1P2R3")
    sent.note("tls", "example.net", "queued", "1700000000.M1P2R3")
    sent.note("tls", "example.net", "done", sync=False)
    path = tmp_path / "sent" / DAY
    path.write_bytes(path.read_bytes() + b"dmarc\texample.net\tqueu")  # power failed
    again = SentDay(str(tmp_path), DAY)
    assert again.done("tls", "example.net")
    assert again.steps("tls", "example.net")[0] == Step("begun", "1700000000.M1P2R3")
    assert not again.done("dmarc", "example.net")
    again.note("dmarc", "example.net", "done")
    assert SentDay(str(tmp_path), DAY).done("dmarc", "example.net")


def test_old_days_go(tmp_path: Path) -> None:
    collected = Collected(str(tmp_path), "dmarc", 10)
    for days in (1, 9):
        collected.add("example.net", "{}", "{}", NOW - days * 86400)  # beyond the limit
        (tmp_path / "dmarc" / day_of(NOW - days * 86400)).write_text("")
        SentDay(str(tmp_path), day_of(NOW - days * 86400)).note("dmarc", "example.net", "done")
    (tmp_path / "dmarc" / "notes").write_text("of an operator")
    assert collected.sweep(day_of(NOW - 7 * 86400)) == 2
    assert sweep_sent(str(tmp_path), day_of(NOW - 7 * 86400)) == 1
    assert (tmp_path / "dmarc" / "notes").exists()
    assert len(collected.days()) == 1


def test_where_nobody_sends_reports_old_days_go_all_the_same(tmp_path: Path) -> None:
    collected = Collected(str(tmp_path), "dmarc", 1 << 20)
    for days in range(20, -1, -1):
        collected.add("example.net", "{}", "{}", NOW - days * 86400)
    assert collected.days() == [day_of(NOW - days * 86400) for days in range(7, -1, -1)]
