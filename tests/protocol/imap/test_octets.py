"""Stretches of a message in CRLF form, whole and in pieces, small and large."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.protocol.imap import octets
from mailtools.protocol.imap.octets import WireText


class Text:
    """A message that is only text."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def octets(self, start: int, end: int) -> bytes:
        return self.data[start:end]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the limits so small that a few octets are a large message."""
    monkeypatch.setattr(octets, "SMALL", 10)
    monkeypatch.setattr(octets, "BLOCK", 4)


lines = st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"a", b"bc", b"\0"]), max_size=30)


@given(lines.map(b"".join), st.data())
def test_pieces_are_those_of_the_whole(data: bytes, draw: st.DataObject) -> None:
    message: Any = Text(data)
    wire = re.sub(rb"\r?\n", b"\r\n", data).replace(b"\0", b"\x80")
    text = WireText(message, 0, len(data))
    assert text.size == len(wire)
    start = draw.draw(st.integers(0, text.size))
    count = draw.draw(st.integers(0, text.size - start))
    assert b"".join(text.piece(start, count)) == wire[start : start + count]
