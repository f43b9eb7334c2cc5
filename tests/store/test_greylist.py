"""Marks: strangers choose what is marked, so how many there are is bounded."""

import os
from pathlib import Path

import pytest

from mailtools.store import greylist
from mailtools.store.greylist import SWEEP, Marks, place_of


def test_a_flood_of_marks_is_bounded_and_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greylist, "MOST", 3)
    marks = Marks(str(tmp_path), 10 * SWEEP)
    folder = os.path.dirname(place_of(str(tmp_path), "first"))
    texts = (f"{n}" for n in range(10**6))
    same = (text for text in texts if os.path.dirname(place_of(str(tmp_path), text)) == folder)
    flood = [next(same) for _ in range(20)]
    for second, text in enumerate(flood):
        marks.put(text, 1000.0 + second)
    marks.put(last := next(same), now := 1000.0 + 2 * SWEEP)
    assert len(os.listdir(folder)) == 3 + 1
    assert [text for text in flood if marks.find(text, now)] == flood[-2:]
    assert marks.find(last, now) == now
