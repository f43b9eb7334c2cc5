"""What the suite leaves open: identities, internationalized senders, words for people, fuzz."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import DnsTrouble
from mailtools.net.dns import Answer
from mailtools.trust.lookup import is_name, remembering
from mailtools.trust.spf import check_helo, check_host, check_mail_from
from mailtools.trust.spf_record import parse_spf
from mailtools.trust.tags import BadRecord

CLIENT = "192.0.2.1"


def test_the_null_reverse_path_is_judged_by_the_helo_name(zone):
    lookup = zone({"mail.example.org": {"TXT": ["v=spf1 a -all"], "A": [CLIENT]}})
    found = check_mail_from(CLIENT, "", "mail.example.org", lookup)
    assert (found.result, found.identity, found.domain) == ("pass", "helo", "mail.example.org")
    assert found.term == "a"


def test_helo_and_mail_from_are_named_apart(zone):
    lookup = zone({"example.org": {"TXT": ["v=spf1 -all"]}})
    assert check_helo(CLIENT, "example.org", lookup).identity == "helo"
    assert check_mail_from(CLIENT, "a@example.org", "h.test", lookup).identity == "mailfrom"


def test_a_domain_with_u_labels_is_asked_with_a_labels(zone):
    lookup = zone({"xn--bcher-kva.example": {"TXT": ["v=spf1 ip4:192.0.2.0/24 -all"]}})
    assert check_mail_from(CLIENT, "a@bücher.example", "h.test", lookup).result == "pass"


def test_a_local_part_beyond_ascii_matches_no_macro(zone):
    # RFC 8616 4: a term whose expansion is not ASCII never matches
    lookup = zone({"example.org": {"TXT": ["v=spf1 exists:%{l}.example.org ?all"]}})
    assert check_mail_from(CLIENT, "é@example.org", "h.test", lookup).result == "neutral"
    assert all(name.isascii() for name, _ in lookup.asked)


def test_problem_names_the_term_at_fault(zone):
    lookup = zone({"example.org": {"TXT": ["v=spf1 a:192.0.2.1/33 -all"]}})
    found = check_mail_from(CLIENT, "a@example.org", "h.test", lookup)
    assert found.result == "permerror"
    assert "a:192.0.2.1/33" in found.problem


def test_trouble_of_dns_is_temporary(zone, trouble):
    lookup = zone({"example.org": {"TXT": trouble}})
    found = check_mail_from(CLIENT, "a@example.org", "h.test", lookup)
    assert found.result == "temperror"
    assert found.problem


def test_an_explanation_knows_client_receiver_and_time(zone):
    lookup = zone(
        {
            "example.org": {"TXT": ["v=spf1 -all exp=why.example.org"]},
            "why.example.org": {"TXT": ["%{c} may not send %{d} to %{r} at %{t}"]},
        }
    )
    found = check_host(
        CLIENT, "example.org", "a@example.org", "h.test", lookup, receiver="mx.test", now=1000
    )
    assert found.explanation == "192.0.2.1 may not send example.org to mx.test at 1000"


def test_an_explanation_with_a_line_end_is_not_passed_on(zone):
    lookup = zone(
        {
            "example.org": {"TXT": ["v=spf1 -all exp=why.example.org"]},
            "why.example.org": {"TXT": ["no\r\n250 yes"]},
        }
    )
    found = check_mail_from(CLIENT, "a@example.org", "h.test", lookup)
    assert (found.result, found.explanation) == ("fail", "")


def test_ipv6_only_exchangers_do_not_use_up_the_void_lookups_of_an_ipv4_client(zone):
    names = {f"m{n}.example.org": {"AAAA": ["2001:db8::1"]} for n in range(5)}
    names["example.org"] = {
        "TXT": ["v=spf1 mx ip4:192.0.2.1 -all"],
        "MX": [f"10 m{n}.example.org" for n in range(5)],
    }
    assert check_mail_from(CLIENT, "a@example.org", "h.test", zone(names)).result == "pass"


def test_reverse_names_are_looked_up_once_and_trouble_skips_them(zone, trouble):
    names = {
        "example.org": {"TXT": ["v=spf1 ptr:a.test ptr:b.test ptr:c.test ~all"]},
        "1.2.0.192.in-addr.arpa": {"PTR": ["slow.a.test", "host.b.test"]},
        "slow.a.test": {"A": trouble},
        "host.b.test": {"A": [CLIENT]},
    }
    lookup = zone(names)
    found = check_mail_from(CLIENT, "a@example.org", "h.test", lookup)
    assert (found.result, found.term) == ("pass", "ptr:b.test")
    assert lookup.asked.count(("1.2.0.192.in-addr.arpa", "PTR")) == 1
    names["1.2.0.192.in-addr.arpa"] = {"PTR": trouble}
    assert check_mail_from(CLIENT, "a@example.org", "h.test", zone(names)).result == "softfail"


def test_include_takes_only_a_pass_for_a_match(zone):
    names = {
        "example.org": {"TXT": ["v=spf1 include:inner.example.org a ~all"], "A": [CLIENT]},
        "inner.example.org": {"TXT": ["v=spf1 ?all"]},
    }
    found = check_mail_from(CLIENT, "a@example.org", "h.test", zone(names))
    assert (found.result, found.term) == ("pass", "a")


@pytest.mark.parametrize(
    "text",
    ["v=spf1 redirect=a.test redirect=b.test", "v=spf1 exp=a.test exp=b.test", "v=spf1 a:%{d0}"],
)
def test_bad_records(text):
    with pytest.raises(BadRecord):
        parse_spf(text)


def test_remembering_asks_once_and_remembers_trouble(zone, trouble):
    lookup = zone({"example.org": {"TXT": ["one"], "MX": trouble}})
    ask = remembering(lookup)
    assert ask("example.org", "TXT") == ask("EXAMPLE.org", "TXT") == Answer(("one",))
    for _ in range(2):
        with pytest.raises(DnsTrouble):
            ask("example.org", "MX")
    assert lookup.asked == [("example.org", "TXT"), ("example.org", "MX")]


def test_names_dns_can_be_asked_for():
    assert is_name("a" * 63 + ".example")
    assert not is_name("a" * 64 + ".example")
    assert not is_name("a..example")
    assert not is_name("é.example")
    assert not is_name(".".join(["abcdefg"] * 32))


TERMS = st.sampled_from(
    ["a", "mx", "ptr", "-all", "ip4:", "ip6:", "include:", "exists:", "redirect=", "exp=", " ", "/",
     "%{", "}", "%", "d", "s", "L2r-", ".", "example", "com", "1", ":", "=", "\x00", "é", "//64"]
)  # fmt: skip
RECORDS = st.lists(TERMS, max_size=20).map("".join) | st.text(max_size=60)


@given(RECORDS)
def test_a_record_is_read_or_refused(text):
    with contextlib.suppress(BadRecord):
        assert len(parse_spf("v=spf1 " + text).mechanisms) <= text.count(" ") + 1


@given(RECORDS, st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_published_gives_a_result(text, sender, helo):
    def lookup(name, rrtype):
        assert is_name(name)
        return Answer(("v=spf1 " + text,) if rrtype == "TXT" else ())

    found = check_host(CLIENT, "example.org", sender, helo, lookup)
    assert found.result in ("pass", "fail", "softfail", "neutral", "permerror", "none")
