"""Who is next: how many jobs a destination takes at a time, and how many a minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.services.queue.deal import Dealer
from mailtools.services.queue.limits import Limit, Limits, parse_limit
from mailtools.services.queue.transports import LOCAL, Transports


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def dealer(clock: Clock, **lines: str) -> Dealer[int]:
    limits = Limits({name.replace("_", "."): value for name, value in lines.items()})
    return Dealer(limited=True, limits=limits, clock=clock)


def take_all(cards: Dealer[int]) -> list[int]:
    found = []
    while (item := cards.take()) is not None:
        found.append(item)
    return found


def test_concurrency_grows_with_answers_up_to_the_limit_and_falls_with_silence() -> None:
    cards = dealer(Clock(), x_test="7")
    for number in range(100):
        cards.put("x.test", "a", 0, number)
    assert len(take_all(cards)) == 5
    counts = []
    for _ in range(4):
        cards.done("x.test", True)
        counts.append(len(take_all(cards)))
    assert counts == [2, 2, 1, 1]  # seven in hand, and no more
    cards.done("x.test", False)
    assert take_all(cards) == []
    for _ in range(5):
        cards.done("x.test", False)
    assert take_all(cards) == []
    cards.done("x.test", False)
    assert len(take_all(cards)) == 1


def test_a_limit_below_the_first_window_holds_from_the_start() -> None:
    cards = dealer(Clock(), x_test="2")
    for number in range(10):
        cards.put("x.test", "a", 0, number)
        cards.put("y.test", "a", 0, 100 + number)
    taken = take_all(cards)
    assert [sum(item < 100 for item in taken), sum(item >= 100 for item in taken)] == [2, 5]


def test_a_rate_spaces_jobs_and_is_remembered_while_nothing_waits() -> None:
    clock = Clock()
    cards = dealer(clock, x_test="5/60")
    for number in range(3):
        cards.put("x.test", "a", 0, number)
    cards.put("y.test", "a", 0, 9)
    assert take_all(cards) == [0, 9]
    assert 0 < cards.pause <= 1
    cards.done("x.test", True)
    clock.now += 0.5
    assert take_all(cards) == []
    clock.now += 0.5
    assert take_all(cards) == [1]
    cards.done("x.test", True)
    clock.now += 60  # what was not sent then is not sent at once now
    assert take_all(cards) == [2]
    cards.done("x.test", True)
    assert cards.waiting == 0
    clock.now += 0.25
    cards.put("x.test", "a", 0, 3)
    assert take_all(cards) == []
    clock.now += 0.75
    assert take_all(cards) == [3]
    cards.done("x.test", True)
    clock.now += 1
    take_all(cards)
    assert "x.test" not in cards.destinations


def test_new_limits_hold_for_what_is_known_already() -> None:
    cards = dealer(Clock())
    for number in range(10):
        cards.put("x.test", "a", 0, number)
    cards.obey(Limits({"": "1"}))
    assert len(take_all(cards)) == 1


def test_limits_are_found_by_domain_parent_and_rest() -> None:
    limits = Limits({"x.test": "1", ".x.test": "2/3", "": "4"})
    found = [limits.find(name) for name in ("x.test", "a.b.x.test", "y.test")]
    assert found == [Limit(1), Limit(2, 3), Limit(4)]
    assert Limits({"x.test": "1"}).find("y.test") == Limit()


def test_a_domain_of_locals_and_transports_may_be_written_either_way() -> None:
    found = Transports(["Bücher.test"], {".köln.test": "uucp", "xn--kln-sna.test": "fax"})
    for domain in ("bücher.test", "xn--bcher-kva.test"):
        assert found.find(f"bob@{domain}") == (LOCAL, LOCAL)
    assert found.find("bob@a.xn--kln-sna.test")[0] == "uucp"
    assert found.find("bob@köln.test")[0] == "fax"


def test_a_domain_of_a_limit_may_be_written_either_way() -> None:
    limits = Limits({"Bücher.test": "1", ".xn--bcher-kva.test": "2"})
    found = [limits.find(name) for name in ("bücher.test", "xn--bcher-kva.test", "a.bücher.test")]
    assert found == [Limit(1), Limit(1), Limit(2)]
    with pytest.raises(ValueError, match=r"ü\.\.test"):
        Limits({"ü..test": "1"})


@pytest.mark.parametrize("value", ["", "0", "5/", "5/0", "/5", "-1", "5/6/7", "many"])
def test_what_is_no_limit_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="no limit"):
        parse_limit(value)


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("tdfw")), max_size=60))
def test_nothing_is_lost_and_no_limit_is_broken(steps: list[tuple[str, str]]) -> None:
    clock = Clock()
    cards: Dealer[int] = Dealer(
        limited=True, limits=Limits({"x": "1/60", "y": "2", "z": "3/600"}), clock=clock
    )
    most, gap = {"x": 1, "y": 2, "z": 3}, {"x": 1.0, "y": 0.0, "z": 0.1}
    in_hand = dict.fromkeys("xyz", 0)
    last = dict.fromkeys("xyz", -1.0)
    names: list[str] = []
    taken: list[int] = []

    def take() -> None:
        while (item := cards.take()) is not None:
            name = names[item]
            in_hand[name] += 1
            assert in_hand[name] <= most[name]
            assert clock.now >= last[name] + gap[name] - 1e-9
            last[name] = clock.now
            taken.append(item)

    for name, step in steps:
        if step == "t":
            names.append(name)
            cards.put(name, "s", 0, len(names) - 1)
        elif step == "w":
            clock.now += 0.3
        elif in_hand[name]:
            in_hand[name] -= 1
            cards.done(name, step == "d")
        take()
    for _ in range(400):
        for name in "xyz":
            while in_hand[name]:
                in_hand[name] -= 1
                cards.done(name, True)
        clock.now += 1
        take()
    assert sorted(taken) == list(range(len(names)))
    assert cards.waiting == 0
