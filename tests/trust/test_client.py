"""Who the client is: reverse DNS, HELO names, lists in DNS."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import Misconfigured
from mailtools.trust.dnsbl import (
    address_query,
    check_address,
    check_health,
    parse_list,
)
from mailtools.trust.iprev import check_helo_name, check_iprev

# -- reverse DNS ----------------------------------------------------------------------------------


def reverse(*names):
    return {"1.2.0.192.in-addr.arpa": {"PTR": list(names)}}


def test_a_name_that_leads_back(zone):
    lookup = zone({**reverse("a.test", "B.test."), "b.test": {"A": ["192.0.2.9", "192.0.2.1"]}})
    found = check_iprev("192.0.2.1", lookup)
    assert (found.result, found.name) == ("pass", "b.test")
    assert check_iprev("::ffff:192.0.2.1", lookup).result == "pass"


def test_a_name_of_an_ipv6_client(zone):
    arpa = "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.ip6.arpa"
    lookup = zone({arpa: {"PTR": ["a.test"]}, "a.test": {"AAAA": ["2001:0db8::1"]}})
    assert check_iprev("2001:db8::1%eth0", lookup).result == "pass"


def test_a_name_that_leads_elsewhere(zone):
    lookup = zone({**reverse("a.test"), "a.test": {"A": ["192.0.2.9"]}})
    found = check_iprev("192.0.2.1", lookup)
    assert (found.result, found.name) == ("fail", "a.test")


def test_no_name_and_trouble(zone, trouble):
    assert check_iprev("192.0.2.1", zone({})).result == "permerror"
    assert check_iprev("192.0.2.1", zone(reverse("..", ""))).result == "permerror"
    lookup = zone({"1.2.0.192.in-addr.arpa": {"PTR": trouble}})
    assert check_iprev("192.0.2.1", lookup).result == "temperror"
    lookup = zone({**reverse("a.test", "b.test"), "a.test": {"A": trouble}})
    assert check_iprev("192.0.2.1", lookup).result == "temperror"


def test_ten_names_are_enough(zone):
    lookup = zone(reverse(*(f"n{n}.test" for n in range(500))))
    assert check_iprev("192.0.2.1", lookup).result == "fail"
    assert len(lookup.asked) == 11


# -- HELO -----------------------------------------------------------------------------------------

OURS = frozenset({"mx.example.org", "192.0.2.25", "2001:db8::25"})


@pytest.mark.parametrize(
    ("helo", "wanted"),
    [
        ("a.test", "proved"),
        ("A.Test.", "proved"),
        ("b.test", "unproved"),
        ("six.test", "unproved"),
        ("gone.test", "unknown"),
        ("slow.test", "unsure"),
        ("localhost", "bad"),
        ("192.0.2.1", "bad"),
        ("my_pc", "bad"),
        ("[192.0.2.1]", "proved"),
        ("[192.0.2.2]", "bad"),
        ("[192.0.2.25]", "ours"),
        ("[IPv6:2001:db8::25]", "ours"),
        ("[x]", "bad"),
        ("MX.example.org", "ours"),
    ],
)
def test_helo_names(zone, trouble, helo, wanted):
    lookup = zone(
        {
            "a.test": {"A": ["192.0.2.1"]},
            "b.test": {"A": ["192.0.2.9"]},
            "six.test": {"AAAA": ["2001:db8::1"]},
            "slow.test": {"A": trouble},
            "mx.example.org": {"A": ["192.0.2.25"]},
        }
    )
    assert check_helo_name(helo, "192.0.2.1", OURS, lookup) == wanted


def test_we_may_use_our_own_name(zone):
    lookup = zone({"mx.example.org": {"A": ["192.0.2.25"]}})
    assert check_helo_name("mx.example.org", "192.0.2.25", OURS, lookup) == "proved"


@given(st.text(max_size=40))
def test_any_helo_is_judged(helo):
    from mailtools.net.dns import Answer

    found = check_helo_name(helo, "2001:db8::1", OURS, lambda name, rrtype: Answer(exists=False))
    assert found in ("bad", "unknown", "ours", "proved")


# -- lists ----------------------------------------------------------------------------------------


def test_the_names_asked_for():
    assert address_query("192.0.2.99", "bad.test") == "99.2.0.192.bad.test"
    # RFC 5782 2.4
    assert address_query("2001:db8:1:2:3:4:567:89ab", "ugly.test") == (
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.test"
    )


def test_weights_add_up(zone):
    lookup = zone(
        {
            "1.2.0.192.zen.test": {"A": ["127.0.0.10", "127.0.0.4"]},
            "1.2.0.192.good.test": {"A": ["127.0.5.1"]},
        }
    )
    lists = [
        parse_list(text)
        for text in (
            "zen.test=127.0.0.[10;11]*8",
            "zen.test=127.0.0.[4..7]*6",
            "zen.test=127.0.0.3*4",
            "good.test=127.0.[0..255].[1..3]*-5",
            "other.test",
        )
    ]
    verdict = check_address("192.0.2.1", lists, lookup)
    assert verdict.score == 9
    assert [(hit.list.text, hit.answers) for hit in verdict.hits] == [
        ("zen.test=127.0.0.[10;11]*8", ("127.0.0.10",)),
        ("zen.test=127.0.0.[4..7]*6", ("127.0.0.4",)),
        ("good.test=127.0.[0..255].[1..3]*-5", ("127.0.5.1",)),
    ]
    assert verdict.problems == ()
    assert len([name for name, _ in lookup.asked if not name.startswith("1.0.0.127.")]) == 3


@pytest.mark.parametrize("answer", ["127.255.255.254", "127.255.255.252", "203.0.113.7"])
def test_an_error_code_or_a_stray_answer_is_never_a_hit(zone, answer):
    lookup = zone({"1.2.0.192.zen.test": {"A": [answer]}})
    verdict = check_address("192.0.2.1", [parse_list("zen.test*9")], lookup)
    assert (verdict.score, verdict.hits) == (0, ())
    assert answer in verdict.problems[0]


def test_a_list_that_does_not_answer_counts_nothing(zone, trouble):
    lookup = zone({"1.2.0.192.zen.test": {"A": trouble}})
    verdict = check_address("192.0.2.1", [parse_list("zen.test")], lookup)
    assert verdict.score == 0
    assert verdict.problems


@pytest.mark.parametrize(
    ("ip", "asked", "control"),
    [
        ("192.0.2.1", "1.2.0.192", "1.0.0.127"),
        ("2001:db8::1", "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2",
         "1.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20),
    ],
)  # fmt: skip
def test_a_list_that_lists_everybody_counts_nothing(zone, trouble, ip, asked, control):
    lists = [parse_list("zen.test*2"), parse_list("zen.test=127.0.0.2*3")]
    names = {f"{asked}.zen.test": {"A": ["127.0.0.2"]}}
    assert check_address(ip, lists, zone(names)).score == 5
    verdict = check_address(ip, lists, zone({**names, f"{control}.zen.test": {"A": ["127.0.0.9"]}}))
    assert (verdict.score, verdict.hits) == (0, ())
    assert verdict.problems == ("zen.test lists 127.0.0.1, so it lists everything",)
    unsure = zone({**names, f"{control}.zen.test": {"A": trouble}})
    assert check_address(ip, lists, unsure).score == 0


@pytest.mark.parametrize(
    "text",
    ["", "*3", "a b", "zen.test=", "zen.test=127.0.0", "zen.test=127.0.0.[9..2]", "a..b",
     "zen.test=127.0.0.300", "zen.test=127.0.0.2*x", "zen.test=127.0.0.[2", "z=127.0.0.2.3"]
)  # fmt: skip
def test_lists_that_make_no_sense(text):
    with pytest.raises(Misconfigured):
        parse_list(text)


@given(st.text(alphabet="azAZ09.=[];*+- 127", max_size=30))
def test_any_text_is_a_list_or_refused(text):
    try:
        found = parse_list(text)
    except Misconfigured:
        return
    assert isinstance(found.counts("127.0.0.2"), bool)


@pytest.mark.parametrize(
    ("two", "one", "word"),
    [
        (["127.0.0.2"], [], ""),
        (["127.0.0.2"], ["127.0.0.2"], "everything"),
        ([], [], "nothing"),
        (["127.255.255.254"], ["127.255.255.254"], "refuses"),
    ],
)
def test_health(zone, two, one, word):
    lookup = zone({"2.0.0.127.l.test": {"A": two}, "1.0.0.127.l.test": {"A": one}})
    assert word in check_health("l.test", lookup)
    assert bool(check_health("l.test", lookup)) == bool(word)


def test_health_of_a_list_that_is_silent(zone, trouble):
    assert "does not answer" in check_health("l.test", zone({"2.0.0.127.l.test": {"A": trouble}}))
