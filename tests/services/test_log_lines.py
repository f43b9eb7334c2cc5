"""Log lines read back: every stamp in use, what is quoted, and what is no event."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools import log
from mailtools.services.why.log_lines import read_facts, read_line, read_log
from mailtools.services.why.refusals import of_log

NOW = 1764000000.0  # 2025-11-24 16:00:00 UTC
EVENT = 'refused at=rcpt said=TO:<bob@example.org> code=550 text="No such \\"mailbox\\" here"'
CLOCK = time.strftime("%b %d %H:%M:%S", time.localtime(NOW - 60))


@pytest.mark.parametrize(
    ("stamp", "when"),
    [
        ("", 0.0),
        (f"{CLOCK} mx smtpd-accept[99]: ", NOW - 60),
        ("2025-11-24T15:59:00+00:00 mx smtpd-accept[99]: ", NOW - 60),
        ("2025-11-24T16:59:00.5+0100 mx smtpd-accept[99]: ", NOW - 59.5),
        ("2025-11-24_15:59:00.12345 ", NOW - 60 + 0.12345),
        ("2025-11-24 15:59:00.123456Z ", NOW - 60 + 0.123456),
        ("1763999940.000001 mx smtpd-accept[99]: ", NOW - 59.999999),
        ("@400000006924808e1d2c3b4c ", float(0x6924808E - 10)),
        ("Foo 99 77:00:00 mx x: ", 0.0),
    ],
)
def test_stamps(stamp: str, when: float) -> None:
    line = read_line(stamp + EVENT, NOW)
    assert line is not None
    assert line.word == "refused"
    assert line.time == pytest.approx(when, abs=1e-5)
    assert line.get("text") == 'No such "mailbox" here'
    assert line.get("said") == "TO:<bob@example.org>"


def test_journalds_json() -> None:
    text = '{"__REALTIME_TIMESTAMP":"1763999940000000","MESSAGE":"queued id=1 from=<a@x.test>"}'
    line = read_line(text, NOW)
    assert line is not None
    assert (line.time, line.word, line.get("from")) == (NOW - 60, "queued", "<a@x.test>")
    assert read_line('{"MESSAGE": [1, 2]}', NOW) is None


def test_a_value_cannot_pose_as_an_event() -> None:
    text = f'Nov 24 10:00:00 mx smtpd-accept[1]: lost client=192.0.2.7 reason="{"x " * 9}{EVENT}'
    line = read_line(text, NOW)
    assert line is not None
    assert line.word == "lost"


@given(st.dictionaries(st.from_regex(r"\A[a-z]{1,9}\Z"), st.text(st.characters(codec="utf-8"))))
def test_facts_come_back_as_they_were_said(facts: dict[str, str]) -> None:
    safe = {key: "".join(c if c.isprintable() else "?" for c in v) for key, v in facts.items()}
    assert read_facts(log.facts(safe)).keys() == facts.keys()
    plain = {key: text for key, text in safe.items() if text.isascii()}
    assert {key: read_facts(log.facts(safe))[key] for key in plain} == plain


@given(st.lists(st.binary()), st.text())
def test_no_log_is_too_odd(lines: list[bytes], asked: str) -> None:
    of_log(read_log([EVENT.encode() + line for line in lines] + lines, NOW), asked)


def test_the_same_refusal_again_and_again_is_told_once() -> None:
    lines = [
        f'2025-11-24T15:0{n}:00Z refused at=rcpt said=TO:<b@x.test> status=4.7.1 client=192.0.2.7'
        f' from=<a@x.test> text="Greylisted: try again in {300 - n} seconds"'.encode()
        for n in range(3)
    ]  # fmt: skip
    (one,) = of_log(read_log(lines, NOW), "A@x.test")
    assert (one.count, one.last - one.first) == (3, 120)
    assert one.text.endswith("298 seconds")
    assert of_log(read_log(lines, NOW), "c@x.test") == []
