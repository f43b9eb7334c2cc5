"""LIST patterns."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mailtools.protocol.imap.listing import matcher

names = st.text("aB.", min_size=1, max_size=8)
patterns = st.text("aB.%*", max_size=8)


@given(names, patterns)
def test_patterns_match_as_the_rfc_says(name: str, pattern: str) -> None:
    parts = {"*": ".*", "%": r"[^.]*"}
    expression = "".join(parts.get(letter, re.escape(letter)) for letter in pattern)
    assert matcher("", pattern)(name) == bool(re.fullmatch(expression, name))


@given(names, patterns, st.integers(0, 8))
def test_the_reference_stands_in_front(name: str, pattern: str, cut: int) -> None:
    assert matcher(pattern[:cut], pattern[cut:])(name) == matcher("", pattern)(name)


def test_inbox_has_no_case() -> None:
    assert matcher("", "inbox")("INBOX")
    assert matcher("", "i%x")("INBOX")
    assert not matcher("", "sent")("Sent")


def test_many_wildcards_cost_little() -> None:
    assert not matcher("", "%*" * 400 + "x")("a" * 250)
    assert not matcher("", "a*" * 400 + "x")("a" * 250)
