"""Whose mail is relayed for strangers, and who there gets mail."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailtools.errors import Misconfigured, NoSuchMailbox
from mailtools.mail.address import parse_address
from mailtools.services.reception.relay_domains import RelayDomains


def made(tmp_path: Path, *recipients: str, domains: tuple[str, ...] = ()) -> RelayDomains:
    path = tmp_path / "relay-recipients"
    path.write_text("".join(f"{line}\n" for line in recipients))
    return RelayDomains(domains or ("example.net", ".example.com"), str(path))


def taken(relayed: RelayDomains, address: str) -> bool:
    try:
        relayed.check(parse_address(address))
    except NoSuchMailbox:
        return False
    return True


@pytest.mark.parametrize(
    ("domain", "line"),
    [
        ("example.net", "example.net"),
        ("EXAMPLE.net", "example.net"),
        ("a.example.net", ""),
        ("example.com", ""),
        ("a.example.com", ".example.com"),
        ("b.A.example.com", ".example.com"),
        ("badexample.net", ""),
        ("net", ""),
        ("[192.0.2.1]", ""),
        ("bücher.test", "xn--bcher-kva.test"),
        ("xn--bcher-kva.test", "xn--bcher-kva.test"),
    ],
)
def test_a_domain_is_listed_or_below_one_that_is(tmp_path: Path, domain: str, line: str) -> None:
    domains = ("Example.net", ".example.com", "bücher.test")
    assert RelayDomains(domains, str(tmp_path / "none")).find(domain) == line


def test_without_the_file_anybody_is_taken_and_with_it_those_listed(tmp_path: Path) -> None:
    relayed = RelayDomains(["example.net"], str(tmp_path / "relay-recipients"))
    assert taken(relayed, "who@example.net")
    made(tmp_path, "# ours", "", "bob@example.net")
    assert not taken(relayed, "who@example.net")
    assert taken(relayed, "bob@example.net")
    (tmp_path / "relay-recipients").write_text("carol@example.net\n")
    assert not taken(relayed, "bob@example.net")
    (tmp_path / "relay-recipients").unlink()
    assert taken(relayed, "bob@example.net")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("bob@example.net", True),
        ("BOB@Example.NET", True),
        ("bob+lists@example.net", True),
        ("bob-lists@example.net", False),
        ('"bob"@example.net', True),
        ("bo@example.net", False),
        ("bob@a.example.com", False),
        ("who@b.example.com", True),
        ("who@x.c.example.com", True),
        ("who@c.example.com", False),
        ("postmaster@example.net", True),  # RFC 5321 4.5.1
        ("Postmaster@z.example.com", True),
        ("abuse@example.net", False),
    ],
)
def test_who_is_taken(tmp_path: Path, address: str, expected: bool) -> None:
    recipients = ("Bob@example.net", "@b.example.com", "@.c.example.com")
    assert taken(made(tmp_path, *recipients), address) is expected


def test_what_is_no_recipient_is_said_with_its_line_and_is_temporary(tmp_path: Path) -> None:
    relayed = made(tmp_path, "bob@example.net", "bob", "@", "@-x", "a@b c")
    with pytest.raises(Misconfigured) as caught:
        relayed.check(parse_address("bob@example.net"))
    places = [line.split(": ")[0].rpartition("/")[2] for line in caught.value.detail.split("\n")]
    assert places == [f"relay-recipients:{number}" for number in (2, 3, 4, 5)]
    assert not caught.value.permanent


def test_what_an_operator_should_look_at(tmp_path: Path) -> None:
    domains = ("example.net", "example.org", ".example.com", ".b.test")
    relayed = made(
        tmp_path, "bob@example.net", "@.example.com", "x@a.b.test", "@else.test", domains=domains
    )
    relayed.refresh()
    assert [line for line in domains if relayed.takes_anybody(line)] == [".example.com"]
    assert [line for line in domains if not relayed.has_recipients(line)] == ["example.org"]
    assert relayed.strays() == ["@else.test"]


@given(st.text(max_size=60))
def test_any_file_is_read_or_complained_of(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.mktemp("relay") / "relay-recipients"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    relayed = RelayDomains(["example.net"], str(path))
    try:
        relayed.check(parse_address("postmaster@example.net"))
        said = []
    except Misconfigured as failure:
        said = failure.detail.split("\n")
    assert all(line.startswith(f"{path}:") for line in said)
