"""SRS: there and back, over several forwarders, with old secrets, and nothing forged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import BadAddress
from mailtools.mail.address import Address
from mailtools.trust.srs import DAYS, is_srs, srs_forward, srs_reverse

NOW = 1_700_000_000
SECRET = b"secret"
ALICE = Address("alice", "example.org")


def test_there_and_back():
    rewritten = srs_forward(ALICE, "fwd.test", SECRET, NOW)
    assert rewritten.domain == "fwd.test"
    assert rewritten.local.startswith("SRS0=")
    assert rewritten.local.endswith("=example.org=alice")
    assert is_srs(rewritten)
    assert not is_srs(ALICE)
    assert srs_reverse(rewritten, [SECRET], NOW) == ALICE


def test_over_three_forwarders():
    first = srs_forward(ALICE, "one.test", b"1", NOW)
    second = srs_forward(first, "two.test", b"2", NOW)
    third = srs_forward(second, "three.test", b"3", NOW)
    assert second.local.startswith("SRS1=")
    assert len(third.local) == len(second.local)  # it does not grow any more
    assert srs_reverse(third, [b"3"], NOW) == first
    assert srs_reverse(second, [b"2"], NOW) == first
    assert srs_reverse(first, [b"1"], NOW) == ALICE


def test_secrets_are_changed_without_a_gap():
    rewritten = srs_forward(ALICE, "fwd.test", b"old", NOW)
    assert srs_reverse(rewritten, [b"new", b"old"], NOW) == ALICE
    with pytest.raises(BadAddress):
        srs_reverse(rewritten, [b"new"], NOW)


def test_it_expires():
    rewritten = srs_forward(ALICE, "fwd.test", SECRET, NOW)
    day = 86400
    assert srs_reverse(rewritten, [SECRET], NOW + (DAYS - 1) * day) == ALICE
    assert srs_reverse(rewritten, [SECRET], NOW - day) == ALICE  # clocks of two hosts
    for later in (DAYS, 200, 1000):
        with pytest.raises(BadAddress):
            srs_reverse(rewritten, [SECRET], NOW + later * day)


@pytest.mark.parametrize(
    "local",
    [
        "alice",
        "SRS0",
        "SRS0=",
        "SRS0==AA=example.org=alice",
        "SRS0=A=AA=example.org=alice",
        "SRS0=AAAA=AA=example.org=alice",
        "SRS1=AAAA=example.org==x=y",
        "SRS1==example.org==x",
    ],
)
def test_what_is_not_ours(local):
    with pytest.raises(BadAddress):
        srs_reverse(Address(local, "fwd.test"), [SECRET], NOW)


def test_a_changed_part_is_seen():
    rewritten = srs_forward(ALICE, "fwd.test", SECRET, NOW)
    for old, new in (("alice", "bob"), ("example.org", "example.com")):
        with pytest.raises(BadAddress):
            srs_reverse(Address(rewritten.local.replace(old, new), "fwd.test"), [SECRET], NOW)


def test_a_host_that_changes_the_case_does_no_harm():
    rewritten = srs_forward(ALICE, "fwd.test", SECRET, NOW)
    lower = Address(rewritten.local.lower(), "fwd.test")
    assert srs_reverse(lower, [SECRET], NOW) == ALICE


def test_srslib_agrees():
    srslib = pytest.importorskip("srslib")
    theirs = srslib.SRS("secret")
    theirs._time_fn = lambda: NOW
    rewritten = srs_forward(ALICE, "fwd.test", SECRET, NOW)
    assert theirs.forward("alice@example.org", "fwd.test") == str(rewritten)
    assert theirs.reverse(str(rewritten)) == "alice@example.org"
    again = srs_forward(rewritten, "two.test", SECRET, NOW)
    assert theirs.forward(str(rewritten), "two.test") == str(again)


LOCALS = st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable())


@given(LOCALS, st.integers(0, 2**33))
def test_any_local_part_comes_back(local, now):
    address = Address(local, "example.org")
    rewritten = srs_forward(address, "fwd.test", SECRET, now)
    if not is_srs(address):
        assert srs_reverse(rewritten, [SECRET], now) == address


@given(st.text(max_size=40))
def test_any_local_part_is_reversed_or_refused(local):
    with pytest.raises(BadAddress):
        srs_reverse(Address("SRS0=" + local, "fwd.test"), [SECRET], NOW)
