"""BATV: tags that are made, read and judged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.mail.address import Address, parse_address
from mailtools.trust.batv import DAY, DAYS, is_proved, tagged, untagged

NOW = 1_790_000_000
ALICE = parse_address("Alice@example.org")


def test_a_tag_is_made_and_taken_off():
    sent = tagged(ALICE, b"secret", NOW)
    assert str(sent).startswith("prvs=0")
    assert str(sent).endswith("=Alice@example.org")
    assert len(sent.local) == len("prvs=KDDDHHHHHH=Alice")
    assert untagged(sent) == ALICE
    assert untagged(ALICE) is None


def test_a_tag_lives_for_two_weeks_at_least_and_changes_once_a_week():
    sent = tagged(ALICE, b"secret", NOW)
    assert all(is_proved(sent, [b"new", b"secret"], NOW + day * DAY) for day in range(15))
    assert not is_proved(sent, [b"secret"], NOW + (DAYS + 1) * DAY)
    assert len({tagged(ALICE, b"secret", NOW + day * DAY) for day in range(70)}) in (10, 11)
    for day in range(1200):  # round the thousand
        now = NOW + day * DAY
        assert is_proved(tagged(ALICE, b"secret", now), [b"secret"], now)


@pytest.mark.parametrize(
    "change",
    [
        lambda sent: Address(sent.local.replace("Alice", "bob"), sent.domain),
        lambda sent: Address(sent.local, "example.net"),
        lambda sent: Address("prvs=9" + sent.local[6:], sent.domain),
        lambda sent: Address(sent.local.replace("prvs=", ""), sent.domain),
        lambda sent: Address("prvs=0000000000=Alice", sent.domain),
    ],
)
def test_what_is_forged_proves_nothing(change):
    assert not is_proved(change(tagged(ALICE, b"secret", NOW)), [b"secret"], NOW)
    assert not is_proved(tagged(ALICE, b"secret", NOW), [b"other"], NOW)


def test_hosts_on_the_way_may_change_its_case():
    sent = tagged(ALICE, b"secret", NOW)
    assert is_proved(Address(sent.local.upper(), "EXAMPLE.org"), [b"secret"], NOW)


@given(st.text(max_size=40), st.integers(0, 1 << 40))
def test_any_local_part_comes_back(local, now):
    address = Address(local, "example.org")
    sent = tagged(address, b"secret", now)
    assert untagged(sent) == address
    assert is_proved(sent, [b"secret"], now)
