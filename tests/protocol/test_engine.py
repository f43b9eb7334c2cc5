"""The engine's own rules: lines, limits, output in order, TLS drops what came before it."""

import pytest

from mailtools.protocol.engine import FLUSH, Engine, LineTooLong


class Echo(Engine):
    """Says each line back; `tls`, `quit` and `long` do what they say."""

    lost = False

    def _advance(self) -> bool:
        try:
            line = self._take_line(16)
        except LineTooLong:
            self._say(b"too long\n")
            return True
        if line is None:
            return False
        if line == b"tls\n":
            self.wants_tls = True
        if line == b"quit\n":
            self.closed = True
        if line == b"long\n":
            self._stream(b"x" * 1000 for _ in range(200))
            return True
        self._say(line)
        return True

    def _lost(self) -> None:
        self.lost = True


def test_pipelined_lines_are_answered_together() -> None:
    engine = Echo()
    engine.receive(b"a\nb\nc")
    assert engine.output() == b"a\nb\n"
    assert engine.output() == b""
    engine.receive(b"\n")
    assert engine.output() == b"c\n"


def test_tls_drops_what_was_sent_before_it() -> None:
    engine = Echo()
    engine.receive(b"tls\ninjected\n")
    assert engine.output() == b"tls\n"
    assert engine.wants_tls
    engine.tls_started()
    assert engine.output() == b""
    engine.receive(b"later\n")
    assert engine.output() == b"later\n"


def test_a_long_line_is_dropped_to_its_end() -> None:
    engine = Echo()
    for _ in range(1000):
        engine.receive(b"0123456789")
        assert engine.output() == b""
        assert len(engine._input) <= 32  # no memory for what is refused anyway
    engine.receive(b"\nnext\n")
    assert engine.output() == b"too long\nnext\n"


@pytest.mark.parametrize("length", [15, 16])
def test_the_limit_counts_the_line_end(length: int) -> None:
    engine = Echo()
    engine.receive(b"y" * length + b"\n")
    assert (engine.output() == b"too long\n") == (length == 16)


def test_a_long_answer_comes_in_parts_before_the_next() -> None:
    engine = Echo()
    engine.receive(b"long\nafter\n")
    first = engine.output()
    assert FLUSH <= len(first) < 2 * FLUSH
    answer = first
    while data := engine.output():
        answer += data
    assert answer == b"x" * 200_000 + b"after\n"


def test_the_end_of_the_peer_ends_the_session() -> None:
    engine = Echo()
    engine.receive(b"a\nhalf")
    engine.receive(b"")
    assert engine.output() == b"a\n"
    assert engine.output() == b""
    assert engine.closed
    assert engine.lost


def test_nothing_is_read_behind_the_end() -> None:
    engine = Echo()
    engine.receive(b"quit\nmore\n")
    assert engine.output() == b"quit\n"
    assert engine.output() == b""
    assert not engine.lost
