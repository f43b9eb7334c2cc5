"""Addresses that another host refused as unknown: noted, found, lifted, swept."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mailtools.store import file_name
from mailtools.store.suppressed import Suppressed, Suppression


def test_what_was_noted_is_found_in_any_case_until_lifted(tmp_path: Path) -> None:
    known = Suppressed(str(tmp_path))
    long = f"{'x' * 300}@example.net"
    for address in ("Bob@Example.net", '"a/../b c"@example.net', long, "bäb@exämple.net"):
        one = Suppression(address, 1000.0, "5.1.1", "mx said no")
        known.add(one)
        assert known.find(address.upper()) == one
        assert known.find("other@example.net") is None
        assert list(known.all()) == [one]
        assert known.lift(address.lower())
        assert not known.lift(address)
        assert known.find(address) is None


def test_the_last_whole_line_counts_and_old_ones_are_swept(tmp_path: Path) -> None:
    known = Suppressed(str(tmp_path))
    known.add(Suppression("a@x.test", 1000.0, "5.1.1", "first"))
    known.add(Suppression("a@x.test", 2000.0, "5.1.10", "second"))
    known.add(Suppression("b@x.test", 1000.0, "5.1.1", "old"))
    with (tmp_path / "a@x.test").open("a") as file:
        file.write("a@x.test\t3000\t5.1.1\ttorn")
    known.sweep(1500)
    assert [one.text for one in known.all()] == ["second"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_text_is_a_name_of_a_file_and_comes_back(text: str) -> None:
    name = file_name.encode(text)
    assert name.isascii()
    assert "/" not in name
    assert file_name.decode(name) == text
