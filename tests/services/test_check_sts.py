"""What mail-check says of MTA-STS and DANE: nothing where all fits, else how grave it is."""

from pathlib import Path
from typing import Any

import pytest

from mailtools.errors import DnsTrouble, NoAnswer
from mailtools.net.dns import Answer
from mailtools.services.check.check_sts import policies, tlsa
from mailtools.services.check.finding import Weight
from mailtools.services.publish.sts import StsFiles
from mailtools.services.publish.tlsa import chain_of, zone_lines
from mailtools.trust.mta_sts import Mode, StsPolicy, format_sts_policy, policy_id

POLICY = StsPolicy(Mode.ENFORCE, ("mx.example.org",), 86400)
TLSRPT = "v=TLSRPTv1; rua=mailto:tls@example.org"


def zone(**more: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {
        "example.org MX": ("10 mx.example.org",),
        "_mta-sts.example.org TXT": (f"v=STSv1; id={policy_id(POLICY)};",),
        "_smtp._tls.example.org TXT": (TLSRPT,),
        **more,
    }


def lookup_in(found: dict[str, tuple[str, ...]]) -> Any:
    def lookup(name: str, rrtype: str) -> Answer:
        if name == "silent.test":
            raise DnsTrouble("no answer")
        return Answer(found.get(f"{name} {rrtype}", ()))

    return lookup


def served(_: str) -> bytes:
    return format_sts_policy(POLICY)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    StsFiles(str(tmp_path)).write("example.org", POLICY)
    return str(tmp_path)


def test_nothing_is_said_where_all_fits_or_there_is_no_policy(folder: str) -> None:
    domains = ("example.org", ".example.org", "localhost", "none.test")
    assert list(policies(domains, folder, lookup_in(zone()), served)) == []
    assert list(policies(domains, "", lookup_in(zone()), served)) == []  # seen from outside alone


def test_an_exchanger_that_is_left_out_keeps_mail_away(folder: str) -> None:
    found = zone(**{"example.org MX": ("10 mx.example.org", "20 new.example.org")})
    (finding,) = policies(("example.org",), folder, lookup_in(found), served)
    assert finding.weight is Weight.FAULT
    assert "leaves out new.example.org" in finding.what
    assert finding.mend.startswith("mail-sts set example.org")


def test_what_others_do_not_see_is_a_warning(folder: str) -> None:
    def silent(_: str) -> bytes:
        raise NoAnswer("https://mta-sts.example.org does not answer")

    found = {"example.org MX": ("10 mx.example.org",)}
    findings = list(policies(("example.org",), folder, lookup_in(found), silent))
    assert {finding.weight for finding in findings} == {Weight.WARNING}
    assert [finding.what.split(":")[1].split()[0] for finding in findings] == ["no", "https", "no"]


def test_dns_that_does_not_answer_is_a_warning(tmp_path: Path) -> None:
    StsFiles(str(tmp_path)).write("silent.test", POLICY)
    (finding,) = policies(("silent.test",), str(tmp_path), lookup_in({}), served)
    assert (finding.weight, finding.what) == (Weight.WARNING, "no answer")


def test_tlsa_records_of_another_key_keep_mail_away(tmp_path: Path, authority: Any) -> None:
    chains, records = [], []
    for name in ("one.pem", "two.pem"):
        path = tmp_path / name
        authority.issue_cert("mx.example.org").private_key_and_cert_chain_pem.write_to_path(path)
        chains.append([chain_of(str(path))])
        (line,) = zone_lines("mx.example.org", chains[-1])
        records.append(line.partition(" IN TLSA ")[2])
    name = "_25._tcp.mx.example.org TLSA"
    assert list(tlsa("mx.example.org", chains[0], lookup_in({}))) == []
    assert list(tlsa("mx.example.org", chains[0], lookup_in({name: (records[0],)}))) == []
    both = lookup_in({name: tuple(records)})  # while keys change
    assert list(tlsa("mx.example.org", chains[1], both)) == []
    (finding,) = tlsa("mx.example.org", chains[0], lookup_in({name: (records[1],)}))
    assert finding.weight is Weight.FAULT
    assert finding.mend == "mail-sts tlsa mx.example.org"
