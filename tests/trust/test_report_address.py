"""Where reports may go: rua, and the consent of others (RFC 9990 4, RFC 8460 3)."""

import pytest

from mailtools.errors import DnsTrouble
from mailtools.net.dns import Answer
from mailtools.trust.report_address import Places, dmarc_places, tls_places


class Zone:
    """TXT records by name; names in `silent` do not answer."""

    def __init__(self, **records: str) -> None:
        self.records: dict[str, tuple[str, ...]] = {
            name.replace("__", "."): (text,) for name, text in records.items()
        }
        self.silent: set[str] = set()
        self.asked: list[str] = []

    def __call__(self, name: str, rrtype: str) -> Answer:
        assert rrtype == "TXT"
        self.asked.append(name)
        if name in self.silent:
            raise DnsTrouble("no answer")
        return Answer(self.records.get(name, ()))


def zone(**records: str) -> Zone:
    return Zone(**{f"_dmarc__{name}": text for name, text in records.items()})


def test_an_address_of_the_same_organization_needs_no_consent() -> None:
    lookup = zone(
        example__net="v=DMARC1; p=none; rua=mailto:a@example.net,mailto:b@mail.example.net!10m"
    )
    found = dmarc_places("example.net", lookup)
    assert found == Places(("a@example.net", "b@mail.example.net"))
    assert not [name for name in lookup.asked if "_report" in name]


def test_a_subdomain_with_a_record_of_its_own_may_report_to_its_organization() -> None:
    lookup = zone(
        a__example__net="v=DMARC1; p=none; rua=mailto:a@example.net",
        example__net="v=DMARC1; p=none",
    )
    assert dmarc_places("a.example.net", lookup) == Places(("a@example.net",))


@pytest.mark.parametrize(
    ("consent", "addresses"),
    [
        ("", ()),
        ("v=spf1 -all", ()),
        ("v=DMARC1", ("a@other.test",)),
        ("v=DMARC1;", ("a@other.test",)),
        ("v=DMARC1; rua=mailto:b@other.test", ("b@other.test",)),
        ("v=DMARC1; rua=mailto:b@victim.test", ()),
        ("v=DMARC1; rua=mailto:b@other.test,mailto:b@victim.test", ()),
    ],
)
def test_another_organization_has_to_agree(consent: str, addresses: tuple[str, ...]) -> None:
    lookup = zone(example__net="v=DMARC1; p=none; rua=mailto:a@other.test")
    if consent:
        lookup.records["example.net._report._dmarc.other.test"] = (consent,)
    found = dmarc_places("example.net", lookup)
    assert found.addresses == addresses
    assert bool(found.faults) == (not addresses)


def test_one_record_of_several_is_enough_to_agree() -> None:
    lookup = zone(example__net="v=DMARC1; p=none; rua=mailto:a@other.test")
    lookup.records["example.net._report._dmarc.other.test"] = ("v=other", "v=DMARC1", "v=DMARC1;")
    assert dmarc_places("example.net", lookup).addresses == ("a@other.test",)


def test_what_the_record_says_now_counts() -> None:
    assert dmarc_places("example.net", zone()) == Places()
    assert dmarc_places("example.net", zone(example__net="v=DMARC1; p=none")) == Places()


def test_trouble_of_dns_is_not_a_no() -> None:
    lookup = zone(example__net="v=DMARC1; p=none; rua=mailto:a@other.test")
    lookup.silent.add("example.net._report._dmarc.other.test")
    with pytest.raises(DnsTrouble):
        dmarc_places("example.net", lookup)


def test_a_name_too_long_to_ask_for_is_no_consent() -> None:
    host = ".".join(["a" * 60] * 3) + ".test"
    domain = ".".join(["b" * 60] * 2) + ".test"
    lookup = Zone()
    lookup.records[f"_dmarc.{domain}"] = (f"v=DMARC1; p=none; rua=mailto:a@{host}",)
    assert not dmarc_places(domain, lookup).addresses


@pytest.mark.parametrize(
    ("rua", "addresses", "uris"),
    [
        ("mailto:t@example.net", ("t@example.net",), ()),
        ("mailto:t%2Bx@other.test", ("t+x@other.test",), ()),
        ("https://t.example.net/v1?x=1", (), ("https://t.example.net/v1?x=1",)),
        ("mailto:t@a.test, https://b.test/", ("t@a.test",), ("https://b.test/",)),
        ("http://t.example.net/", (), ()),
        ("mailto:nobody", (), ()),
        ("mailto:%0d%0aBcc:x@victim.test", (), ()),
    ],
)
def test_tls_reports_go_by_mail_and_by_https(
    rua: str, addresses: tuple[str, ...], uris: tuple[str, ...]
) -> None:
    lookup = Zone()
    lookup.records["_smtp._tls.example.net"] = (f"v=TLSRPTv1; rua={rua}",)
    found = tls_places("example.net", lookup)
    assert (found.addresses, found.uris) == (addresses, uris)


def test_two_records_are_none() -> None:
    lookup = Zone()
    text = "v=TLSRPTv1; rua=mailto:t@example.net"
    lookup.records["_smtp._tls.example.net"] = (text, text)
    assert not tls_places("example.net", lookup)
