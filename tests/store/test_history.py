"""The history: written, looked through as grep does, swept."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.mail.report import DELAYED, RELAYED, Report
from mailtools.store import history
from mailtools.store.history import History
from mailtools.store.journal import HELD, RELEASED, Notice, Turn
from mailtools.store.queue import Queue

DAY = 1764000000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "history").mkdir()
    return tmp_path / "history"


def test_what_is_written_is_found_again(tmp_path: Path, folder: Path) -> None:
    queue = Queue(str(tmp_path))
    queue.create()
    writer = queue.begin(Envelope("a@x.test", (ForwardPath("b@x.test"),), {}, "local a"))
    writer.write(b"Message-ID: <One@x.test>\n\n")
    entry = queue.open(writer.commit())
    entry.journal.add(DAY, Report("b@x.test", DELAYED, "4.4.1", "no\u2028answer\n"))
    entry.journal.add(DAY + 9, Report("b@x.test", RELAYED, "2.0.0", "ok"))
    entry.journal.add_notice(Notice(DAY, DELAYED, "7.M1P1R1"))
    entry.journal.turns += [Turn(DAY, HELD, "the operator"), Turn(DAY + 1, RELEASED)]
    past = History(str(folder))
    past.append(history.lines_of(entry), DAY)
    past.append(history.lines_of_removed(entry, DAY), DAY)
    (day,) = past.days()
    for needle in (entry.id.lower().encode(), b"<one@x.test>", b"b@x.test", b"7.m1p1r1"):
        (records,) = past.find(day, [needle])
        assert records == list(past.read(day))
    words = ["from", HELD, RELEASED, DELAYED, RELAYED, "notified"]
    assert [record.word for record in records[:6]] == words
    assert records[1].fields == ("the operator",)
    assert records[0].fields[:1] == ("a@x.test",)
    assert list(past.find(day, [b"nobody"])) == list(past.find("2020-01-01", [b"from"])) == []


IDS = st.integers(0, 6).map(lambda n: f"{n}.M1P1R1")
WORDS = st.text("abC@.", max_size=6)
MESSAGES = st.lists(st.tuples(IDS, st.lists(WORDS, min_size=1, max_size=4)), max_size=12)


@given(messages=MESSAGES, needle=st.text("abc@.", min_size=1, max_size=3), block=st.integers(1, 99))
def test_it_finds_what_a_plain_look_finds(
    tmp_path_factory: pytest.TempPathFactory, messages: list, needle: str, block: int
) -> None:
    groups: list[tuple[str, list[str]]] = []
    for id_, words in messages:  # two of one ID, one behind the other, are one
        if groups and groups[-1][0] == id_:
            groups[-1][1].extend(words)
        else:
            groups.append((id_, list(words)))
    text = "".join(f"{id_}\t7\tfrom\t{word}\n" for id_, words in groups for word in words)
    folder = tmp_path_factory.mktemp("history")
    (folder / "2026-11-23").write_text(text + "9.M1P1R1\t7\tfrom\ttorn a b c @ .")
    wanted = [
        (id_, words)
        for id_, words in groups
        if any(needle in f"{id_}\t7\tfrom\t{word}".lower() for word in words)
    ]
    before, history.BLOCK = history.BLOCK, block
    try:
        found = list(History(str(folder)).find("2026-11-23", [needle.encode()]))
    finally:
        history.BLOCK = before
    assert [(records[0].id, [r.fields[0] for r in records]) for records in found] == wanted
