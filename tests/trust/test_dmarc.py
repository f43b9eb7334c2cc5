"""DMARC as RFC 9989 has it: its examples, each tag, each way to be aligned or not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.trust.dkim import Dkim, DkimResult
from mailtools.trust.dmarc import evaluate, evaluate_header
from mailtools.trust.dmarc_record import names_of_walk, parse_dmarc
from mailtools.trust.spf import Spf, SpfResult, check_mail_from
from mailtools.trust.tags import BadRecord


def spf(domain, result=Spf.PASS):
    return SpfResult(result, domain)


def dkim(*domains, result=Dkim.PASS):
    return [DkimResult(result, domain) for domain in domains]


def policies(zone, texts):
    return zone({f"_dmarc.{name}": {"TXT": [text]} for name, text in texts.items()})


def questions(lookup):
    return [name.removeprefix("_dmarc.") for name, _ in dict.fromkeys(lookup.asked)]


# -- RFC 9989 appendix B.4 ------------------------------------------------------------------------


def test_b_4_1_a_simple_hierarchy(zone):
    lookup = policies(
        zone, {"example.com": "v=DMARC1; p=reject", "signing.example.com": "v=DMARC1; p=reject"}
    )
    found = evaluate("example.com", spf("example.com"), dkim("signing.example.com"), lookup)
    assert (found.result, found.organizational) == ("pass", "example.com")
    assert (found.spf, found.dkim) == ("example.com", ("signing.example.com",))
    assert questions(lookup) == ["example.com", "com", "signing.example.com"]


def test_b_4_2_a_deep_walk(zone):
    author = "a.b.c.d.e.f.g.h.i.j.k.example.com"
    lookup = policies(
        zone, {"example.com": "v=DMARC1; p=reject", "signing.example.com": "v=DMARC1; p=reject"}
    )
    found = evaluate(author, spf("example.com"), dkim("signing.example.com"), lookup)
    assert (found.result, found.organizational) == ("pass", "example.com")
    assert found.record is not None
    assert found.record.domain == "example.com"
    assert found.dkim == ("signing.example.com",)
    assert questions(lookup) == [
        author,
        "g.h.i.j.k.example.com",
        "h.i.j.k.example.com",
        "i.j.k.example.com",
        "j.k.example.com",
        "k.example.com",
        "example.com",
        "com",
        "signing.example.com",
    ]


def test_b_4_3_a_public_suffix_with_a_record(zone):
    lookup = policies(
        zone,
        {"bank.example": "v=DMARC1; p=reject; psd=y", "giant.bank.example": "v=DMARC1; p=none"},
    )
    found = evaluate(
        "giant.bank.example",
        spf("mail.giant.bank.example"),
        dkim("mail.mega.bank.example"),
        lookup,
    )
    assert (found.result, found.organizational) == ("pass", "giant.bank.example")
    assert (found.spf, found.dkim) == ("mail.giant.bank.example", ())
    assert found.record is not None
    assert found.record.domain == "giant.bank.example"


# -- the tree walk --------------------------------------------------------------------------------


def test_the_names_of_a_walk():
    assert names_of_walk("example.org") == ["example.org", "org"]
    eight = names_of_walk("a.b.c.d.e.f.example.org")
    assert eight[:2] == ["a.b.c.d.e.f.example.org", "b.c.d.e.f.example.org"]
    assert len(eight) == 8
    assert names_of_walk("x.a.b.c.d.e.f.example.org")[1] == "b.c.d.e.f.example.org"


@given(st.lists(st.sampled_from(["a", "b", "example", "org"]), min_size=1, max_size=60))
def test_a_walk_never_asks_more_than_eight_times(labels):
    names = names_of_walk(".".join(labels))
    assert len(names) <= 8
    assert names[0] == ".".join(labels)
    assert names[-1] == labels[-1]


@pytest.mark.parametrize(
    ("author", "texts", "wanted"),
    [
        # 4.10.2: the fewest labels win
        ("a.b.example.org", {"b.example.org": "p=none", "example.org": "p=reject"},
         ("example.org", "example.org", "reject")),
        # psd=n stops the walk
        ("a.b.example.org", {"b.example.org": "p=reject; psd=n", "example.org": "p=none"},
         ("b.example.org", "b.example.org", "reject")),
        # a record of the author's own is taken, whoever is the organization
        ("a.example.org", {"a.example.org": "p=quarantine", "example.org": "p=reject"},
         ("example.org", "a.example.org", "quarantine")),
        # psd=y: the organization is one label below, even without a record
        ("a.b.example", {"example": "p=reject; psd=y"}, ("b.example", "example", "reject")),
        # psd=y at the author itself does not make it one below
        ("bank.example", {"bank.example": "p=reject; psd=y"},
         ("bank.example", "bank.example", "reject")),
        # nothing above: the author is its own organization
        ("mail.example.org", {"mail.example.org": "p=reject"},
         ("mail.example.org", "mail.example.org", "reject")),
        # psd=y above a deep name, whose walk skips labels
        ("a.b.c.d.e.f.g.h.i.example", {"example": "p=reject; psd=y"},
         ("i.example", "example", "reject")),
    ],
)  # fmt: skip
def test_who_decides(zone, author, texts, wanted):
    lookup = policies(zone, {name: f"v=DMARC1; {text}" for name, text in texts.items()})
    found = evaluate(author, None, [], lookup)
    assert found.result == "fail"
    assert found.record is not None
    assert (found.organizational, found.record.domain, found.policy) == wanted


def test_several_records_are_none(zone):
    lookup = zone(
        {
            "_dmarc.mail.example.org": {"TXT": ["v=DMARC1; p=reject", "v=DMARC1; p=none"]},
            "_dmarc.example.org": {"TXT": ["other", "v=DMARC1; p=none; sp=quarantine"]},
        }
    )
    found = evaluate("mail.example.org", None, [], lookup)
    assert (found.result, found.policy) == ("fail", "quarantine")
    del lookup.names["_dmarc.example.org"]
    assert evaluate("mail.example.org", None, [], lookup).result == "none"


# -- policies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("author", "text", "policy", "disposition"),
    [
        ("example.org", "p=reject; sp=none; np=none", "reject", "reject"),
        ("here.example.org", "p=reject; sp=quarantine; np=none", "quarantine", "quarantine"),
        ("gone.example.org", "p=none; sp=quarantine; np=reject", "reject", "reject"),
        ("gone.example.org", "p=none; sp=quarantine", "quarantine", "quarantine"),
        ("gone.example.org", "p=reject", "reject", "reject"),
        ("here.example.org", "p=reject; np=none", "reject", "reject"),
        ("example.org", "p=reject; t=y", "reject", "quarantine"),
        ("example.org", "p=quarantine; t=y", "quarantine", "none"),
        ("example.org", "p=none; t=y", "none", "none"),
        ("example.org", "p=reject; t=n; pct=0", "reject", "reject"),
        ("example.org", "rua=mailto:a@example.org", "none", "none"),
        ("example.org", "", "none", "none"),
        ("example.org", "rua=mailto:a@b.test; p=reject", "reject", "reject"),
        ("example.org", "p=bogus; rua=mailto:a@b.test", "none", "none"),
        ("example.org", "p=reject; sp=bogus; rua=mailto:a@b.test", "none", "none"),
        ("example.org", "P = Reject ; x=y; ; z", "reject", "reject"),
    ],
)
def test_the_policy_that_applies(zone, author, text, policy, disposition):
    lookup = zone(
        {
            "_dmarc.example.org": {"TXT": [f"v=DMARC1; {text}"]},
            "here.example.org": {"MX": ["0 mail.example.org"]},
        }
    )
    found = evaluate(author, spf("other.test"), dkim("other.test"), lookup)
    assert (found.result, found.policy, found.disposition) == ("fail", policy, disposition)
    passed = evaluate(author, spf(author), [], lookup)
    assert (passed.result, passed.policy, passed.disposition) == ("pass", policy, "none")


@pytest.mark.parametrize("text", ["p=bogus", "p=reject; np=never", "p=x; rua=https://a.test/"])
def test_a_record_that_makes_no_sense_does_not_apply(zone, text):
    lookup = policies(zone, {"example.org": f"v=DMARC1; {text}"})
    assert evaluate("example.org", None, [], lookup).result == "none"


@pytest.mark.parametrize(
    "text", ["v=dmarc1; p=reject", "p=reject; v=DMARC1", "v=DMARC1x", "V=DMARC1"]
)
def test_what_is_no_record(zone, text):
    assert evaluate("example.org", None, [], policies(zone, {"example.org": text})).result == "none"
    with pytest.raises(BadRecord):
        parse_dmarc(text, "example.org")


def test_where_reports_go():
    record = parse_dmarc(
        "v=DMARC1;rua=mailto:a%40x@example.org!10m , https://x.test, MAILTO:b@example.net,mailto:;"
        "fo=1:d",
        "example.org",
    )
    assert record.rua == ("a@x@example.org", "b@example.net")
    assert record.fo == ("1", "d")


# -- alignment ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "spf_domain", "dkim_domain", "result"),
    [
        ("", "example.org", "other.test", "pass"),
        ("", "bounce.example.org", "other.test", "pass"),
        ("", "other.test", "mail.example.org", "pass"),
        ("", "notexample.org", "org", "fail"),
        ("aspf=s", "example.org", "other.test", "fail"),
        ("aspf=s", "mail.example.org", "other.test", "pass"),
        ("adkim=s", "other.test", "example.org", "fail"),
        ("adkim=s", "other.test", "mail.example.org", "pass"),
        ("adkim=s", "example.org", "example.org", "pass"),
    ],
)
def test_alignment(zone, tags, spf_domain, dkim_domain, result):
    lookup = policies(zone, {"example.org": f"v=DMARC1; p=reject; {tags}"})
    found = evaluate("mail.example.org", spf(spf_domain), dkim(dkim_domain), lookup)
    assert found.result == result


def test_what_did_not_pass_does_not_count(zone):
    lookup = policies(zone, {"example.org": "v=DMARC1; p=reject"})
    for spf_result, dkim_result in ((Spf.SOFTFAIL, Dkim.FAIL), (Spf.NEUTRAL, Dkim.POLICY)):
        found = evaluate(
            "example.org",
            spf("example.org", spf_result),
            dkim("example.org", result=dkim_result),
            lookup,
        )
        assert (found.result, found.disposition) == ("fail", "reject")


def test_an_organization_of_its_own_below_is_not_aligned(zone):
    lookup = policies(
        zone, {"example.org": "v=DMARC1; p=reject", "sub.example.org": "v=DMARC1; p=none; psd=n"}
    )
    assert evaluate("example.org", spf("sub.example.org"), [], lookup).result == "fail"


# -- trouble --------------------------------------------------------------------------------------


def test_trouble_with_the_policy(zone, trouble):
    lookup = zone({"_dmarc.example.org": {"TXT": trouble}})
    found = evaluate("example.org", spf("example.org"), [], lookup)
    assert (found.result, found.disposition) == ("temperror", "none")


def test_trouble_above_the_author_is_for_those_whom_it_concerns(zone, trouble):
    lookup = policies(zone, {"mail.example.org": "v=DMARC1; p=reject"})
    lookup.names["_dmarc.org"] = {"TXT": trouble}
    author = "mail.example.org"
    assert evaluate(author, spf(author), [], lookup).result == "pass"
    assert evaluate(author, spf("other.test"), dkim("third.test"), lookup).result == "fail"
    assert evaluate(author, spf("other.test"), dkim("example.org"), lookup).result == "temperror"
    strict = "v=DMARC1; p=reject; adkim=s"
    lookup.names["_dmarc.mail.example.org"] = {"TXT": [strict]}
    assert evaluate(author, spf("other.test"), dkim("example.org"), lookup).result == "fail"
    below = evaluate(f"sub.{author}", spf(author), [], lookup)  # whose policy is above
    assert below.result == "temperror"


def test_trouble_with_an_identifier_is_no_failure_and_no_hindrance(zone, trouble):
    lookup = policies(zone, {"example.org": "v=DMARC1; p=reject"})
    lookup.names["_dmarc.sub.example.org"] = {"TXT": trouble}
    assert evaluate("example.org", spf("sub.example.org"), [], lookup).result == "temperror"
    both = evaluate("example.org", spf("sub.example.org"), dkim("example.org"), lookup)
    assert both.result == "pass"


def test_a_check_that_met_trouble_is_no_failure_if_aligned(zone):
    lookup = policies(zone, {"example.org": "v=DMARC1; p=reject"})
    key = dkim("example.org", result=Dkim.TEMPERROR)
    assert evaluate("example.org", None, key, lookup).result == "temperror"
    other = dkim("other.test", result=Dkim.TEMPERROR)
    assert evaluate("example.org", None, other, lookup).result == "fail"
    sender = spf("example.org", Spf.TEMPERROR)
    assert evaluate("example.org", sender, [], lookup).result == "temperror"


@pytest.mark.parametrize("domain", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"])
def test_an_internationalized_reverse_path_is_aligned(zone, domain):
    lookup = zone(
        {
            "xn--bcher-kva.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
            "_dmarc.xn--bcher-kva.example": {"TXT": ["v=DMARC1; p=reject; aspf=s"]},
        }
    )
    sender = check_mail_from("192.0.2.1", f"ü@{domain}", "mx.test", lookup)
    found = evaluate_header(f"From: ü@{domain}\n".encode(), sender, [], lookup)
    assert (found.result, found.spf) == ("pass", "xn--bcher-kva.example")


def test_more_than_one_author_cannot_be_judged(zone):
    found = evaluate_header(b"From: a@a.test, b@b.test\n", None, [], zone({}))
    assert (found.result, "2 domains" in found.problem) == ("permerror", True)
    lookup = policies(zone, {"a.test": "v=DMARC1; p=reject"})
    assert evaluate_header(b"From: a@a.test\n", spf("a.test"), [], lookup).result == "pass"


def test_an_author_without_a_domain_has_no_policy(zone):
    lookup = zone({})
    found = evaluate_header(b"From: Printer <scan@[192.0.2.1]>\n", spf("a.test"), [], lookup)
    assert (found.result, found.author, found.disposition) == ("none", "", "none")
    assert not lookup.asked


@given(st.text(max_size=80))
def test_any_text_is_a_record_or_none(text):
    record = parse_dmarc("v=DMARC1;" + text, "example.org")
    assert record.applied(record.policy(below=True, exists=False)) in (
        "none",
        "quarantine",
        "reject",
    )
