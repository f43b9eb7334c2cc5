"""Which hosts take mail for a domain: RFC 5321 5.1 and RFC 7505, each rule and each failure."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import DnsTrouble, MailLoop, NoSuchDomain, NullMx
from mailtools.net.dns import Answer
from mailtools.services.relay.exchangers import (
    HOSTS_MOST,
    TARGETS_MOST,
    Target,
    before_us,
    find,
    interleaved,
    ranked,
)


class Zone:
    """A resolver that is a dict: MX by domain, addresses by host; an Exception is raised."""

    def __init__(self, mx: dict[str, Any], hosts: dict[str, Any]) -> None:
        self.mx, self.hosts = mx, hosts
        self.asked: list[str] = []

    def exchangers(self, domain: str) -> Answer:
        found = self.mx.get(domain, Answer(exists=False))
        if isinstance(found, Exception):
            raise found
        return found

    def addresses(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        found = self.hosts.get(host, ())
        if isinstance(found, Exception):
            raise found
        return found


def nobody(host: str, address: str) -> bool:
    return False


def keep(_: list[str]) -> None:
    """Do not shuffle."""


def look(zone: Zone, ours: Any = nobody, shuffle: Any = keep) -> list[str]:
    targets = find("example.net", zone, port=25, ours=ours, shuffle=shuffle)
    return [f"{target.host} {target.address}" for target in targets]


def mx(*records: str) -> dict[str, Answer]:
    return {"example.net": Answer(records)}


def test_the_lowest_preference_comes_first():
    hosts = {"a.test": ("192.0.2.1",), "b.test": ("192.0.2.2",), "c.test": ("192.0.2.3",)}
    assert look(Zone(mx("20 b.test", "100 c.test", "5 a.test"), hosts)) == [
        "a.test 192.0.2.1",
        "b.test 192.0.2.2",
        "c.test 192.0.2.3",
    ]


def test_equals_are_shuffled_and_others_are_not():
    hosts = {name: (f"192.0.2.{n}",) for n, name in enumerate(("a.test", "b.test", "c.test"), 1)}
    zone = Zone(mx("10 a.test", "10 b.test", "20 c.test"), hosts)
    turned = look(zone, shuffle=lambda names: names.reverse())
    assert [line.split()[0] for line in turned] == ["b.test", "a.test", "c.test"]


def test_really_shuffled():
    hosts = dict.fromkeys(("a.test", "b.test"), ("192.0.2.1",))
    zone = Zone(mx("10 a.test", "10 b.test"), hosts)
    firsts = {find("example.net", zone, port=25, ours=nobody)[0].host for _ in range(64)}
    assert firsts == {"a.test", "b.test"}


def test_without_mx_the_domain_is_its_own_exchanger():
    zone = Zone(mx(), {"example.net": ("2001:db8::1", "192.0.2.1")})
    assert look(zone) == ["example.net 2001:db8::1", "example.net 192.0.2.1"]


def test_addresses_are_no_way_around_an_mx():
    # RFC 5321 5.1: with an MX, the domain's own address is not used.
    zone = Zone(mx("10 gone.test"), {"example.net": ("192.0.2.1",)})
    with pytest.raises(NoSuchDomain, match=r"gone\.test") as caught:
        look(zone)
    assert caught.value.status == "5.4.4"


def test_families_alternate():
    hosts = [
        ("a", ("2001:db8::1", "2001:db8::2", "192.0.2.1")),
        ("b", ("192.0.2.2", "2001:db8::3")),
    ]
    order = [target.address for target in interleaved(hosts, 25)]
    assert order == ["2001:db8::1", "192.0.2.2", "192.0.2.1", "2001:db8::3", "2001:db8::2"]


def test_a_target_says_where_it_is():
    assert Target("mx.test", "192.0.2.1", 25).peer == "mx.test[192.0.2.1]:25"
    assert Target("192.0.2.1", "192.0.2.1", 24).peer == "[192.0.2.1]:24"
    assert Target("/run/x", "/run/x", 0).peer == "/run/x"


@pytest.mark.parametrize(
    ("zone", "failure", "status", "text"),
    [
        (Zone({}, {}), NoSuchDomain, "5.1.2", "does not exist"),
        (Zone(mx("0 "), {}), NullMx, "5.1.10", "null MX"),
        (Zone(mx(), {}), NoSuchDomain, "5.4.4", "neither exchangers nor an address"),
        (Zone({"example.net": DnsTrouble("SERVFAIL")}, {}), DnsTrouble, "4.4.3", "SERVFAIL"),
        (Zone(mx("10 a.test"), {"a.test": DnsTrouble("no answer")}), DnsTrouble, "4.4.3", "no ans"),
        (
            Zone(mx("10 gone.test", "20 a.test"), {"a.test": DnsTrouble("later")}),
            DnsTrouble,
            "4.4.3",
            "later",
        ),
    ],
)
def test_each_way_to_have_no_exchanger(zone, failure, status, text):
    with pytest.raises(failure, match=text) as caught:
        look(zone)
    assert caught.value.status == status


def test_one_exchanger_in_trouble_does_not_hide_another():
    zone = Zone(mx("10 a.test", "20 b.test"), {"a.test": DnsTrouble("x"), "b.test": ("192.0.2.2",)})
    assert look(zone) == ["b.test 192.0.2.2"]


def test_a_null_mx_among_others_is_passed_over():
    zone = Zone(mx("0 ", "10 a.test"), {"a.test": ("192.0.2.1",)})
    assert look(zone) == ["a.test 192.0.2.1"]


HOSTS = {"a.test": ("192.0.2.1",), "us.test": ("192.0.2.2",), "c.test": ("192.0.2.3",)}


def test_we_drop_ourselves_and_all_that_is_not_better():
    zone = Zone(mx("10 a.test", "20 us.test", "20 b.test", "30 c.test"), HOSTS)
    assert look(zone, lambda host, _: host == "us.test") == ["a.test 192.0.2.1"]
    assert zone.asked == ["a.test"]


def test_we_know_ourselves_by_address_too():
    zone = Zone(mx("10 a.test", "20 us.test", "30 c.test"), HOSTS)
    assert look(zone, lambda _, address: address == "192.0.2.2") == ["a.test 192.0.2.1"]


@pytest.mark.parametrize("ours", [lambda h, a: h == "us.test", lambda h, a: a == "192.0.2.2"])
def test_mail_that_would_come_back_is_a_loop(ours):
    with pytest.raises(MailLoop) as caught:
        look(Zone(mx("10 us.test", "30 c.test"), HOSTS), ours)
    assert caught.value.status == "5.4.6"


def test_an_enormous_zone_is_not_read_to_its_end():
    records = [f"{n} h{n}.test" for n in range(500)]
    zone = Zone(mx(*records), {})
    with pytest.raises(NoSuchDomain):
        look(zone)
    assert len(zone.asked) == HOSTS_MOST
    zone = Zone(mx(*records), {f"h{n}.test": ("192.0.2.1", "192.0.2.2") for n in range(500)})
    assert len(look(zone)) == TARGETS_MOST


names = st.sampled_from([f"h{n}.test" for n in range(6)])
records = st.lists(st.tuples(st.integers(0, 65535), names), min_size=1, max_size=8)


@given(records)
def test_ranking_keeps_every_host_and_the_order_of_preferences(pairs):
    levels = ranked([f"{preference} {name}" for preference, name in pairs], "example.net")
    assert {name for level in levels for name in level} == {name for _, name in pairs}
    preferences = sorted({preference for preference, _ in pairs})
    assert len(levels) == len(preferences)
    for preference, level in zip(preferences, levels, strict=True):
        assert level == sorted({name for p, name in pairs if p == preference})


@given(records, names)
def test_nothing_as_far_as_us_is_left(pairs, us):
    levels = ranked([f"{preference} {name}" for preference, name in pairs], "example.net")
    left = before_us(levels, lambda host: host == us)
    assert all(us not in level for level in left)
    ours = [p for p, name in pairs if name == us]
    if ours:
        kept = {p for p, _ in pairs if p < min(ours)}
        assert len(left) == len(kept)
    else:
        assert left == levels


@given(st.lists(st.tuples(names, st.lists(st.sampled_from(["::1", "192.0.2.1", "::2"])))))
def test_interleaving_loses_no_address(hosts):
    targets = interleaved(hosts, 25)
    assert sorted((t.host, t.address) for t in targets) == sorted(
        (host, address) for host, addresses in hosts for address in addresses
    )
