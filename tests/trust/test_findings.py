"""What the checks found, in the words a reader of Authentication-Results knows."""

import pytest

from mailtools.trust.arc import Arc, ArcResult, Chain
from mailtools.trust.authres import AuthenticationResults, format_authres, parse_authres
from mailtools.trust.dkim import Dkim, DkimResult
from mailtools.trust.dmarc import Dmarc, DmarcResult
from mailtools.trust.dmarc_record import DmarcRecord, Policy
from mailtools.trust.findings import (
    arc_finding,
    auth_finding,
    dkim_findings,
    dmarc_finding,
    iprev_finding,
    spf_finding,
)
from mailtools.trust.iprev import Iprev, IprevResult
from mailtools.trust.spf import Spf, SpfResult


def test_the_whole_field():
    record = DmarcRecord("example.org", Policy.REJECT, testing=True)
    results = (
        iprev_finding(IprevResult(Iprev.PASS, "out.example.org"), "192.0.2.1"),
        auth_finding("alice", "SCRAM-SHA-256"),
        spf_finding(SpfResult(Spf.PASS, "example.org"), "alice@example.org", "out.example.org"),
        *dkim_findings(
            [
                DkimResult(
                    Dkim.PASS, "example.org", "s1", "@example.org", "rsa-sha256", 2048, "AbCdEfG="
                ),
                DkimResult(Dkim.PERMERROR, problem='no "key"', testing=True),
            ]
        ),
        dmarc_finding(DmarcResult(Dmarc.PASS, "example.org", Policy.REJECT, record=record)),
        arc_finding(ArcResult(Arc.PASS, chain=Chain(highest=2), oldest_pass=0), "192.0.2.1"),
    )
    whole = AuthenticationResults("mx.example.net", results)
    text = format_authres(whole).decode()
    assert text == (
        "Authentication-Results: mx.example.net;\n"
        "\tiprev=pass (out.example.org) policy.iprev=192.0.2.1;\n"
        "\tauth=pass (scram-sha-256) smtp.auth=alice;\n"
        "\tspf=pass smtp.mailfrom=alice@example.org;\n"
        "\tdkim=pass (2048-bit key) header.d=example.org header.i=@example.org\n"
        '\theader.s=s1 header.a=rsa-sha256 header.b="AbCdEfG=";\n'
        '\tdkim=permerror reason="no \\"key\\"";\n'
        "\tdmarc=pass header.from=example.org policy.dmarc=quarantine;\n"
        "\tarc=pass (i=2) smtp.remote-ip=192.0.2.1 header.oldest-pass=0\n"
    )
    read = parse_authres(text.partition(":")[2])
    assert [(each.method, each.result) for each in read.results] == [
        (each.method, each.result) for each in results
    ]


def test_a_stranger_reads_it_too():
    authres = pytest.importorskip("authres")
    results = (
        spf_finding(SpfResult(Spf.PASS, "example.org"), "a+b=c/d@example.org", "h.test"),
        *dkim_findings(
            [
                DkimResult(
                    Dkim.PASS, "example.org", "s", "@example.org", "rsa-sha256", 2048, "a/b="
                ),
                DkimResult(Dkim.FAIL, "example.org", problem="the body was changed"),
            ]
        ),
        iprev_finding(IprevResult(Iprev.PASS, "o.test"), "2001:db8::1"),
    )
    field = format_authres(AuthenticationResults("mx.example.net", results)).decode()
    read = authres.AuthenticationResultsHeader.parse(field.replace("\n", "").strip())
    assert [(each.method, each.result) for each in read.results] == [
        ("spf", "pass"),
        ("dkim", "pass"),
        ("dkim", "fail"),
        ("iprev", "pass"),
    ]
    assert read.results[0].smtp_mailfrom == "a+b=c/d@example.org"
    assert read.results[2].reason == "the body was changed"
    assert read.results[3].properties[0].value == "2001:db8::1"


def test_none_is_said_too():
    assert [(each.method, each.result) for each in dkim_findings([])] == [("dkim", "none")]
    found = dmarc_finding(DmarcResult(Dmarc.NONE, "example.org"))
    assert (found.result, found.properties) == ("none", (("header.from", "example.org"),))
    assert arc_finding(ArcResult(Arc.NONE), "192.0.2.1").comment == ""


def test_a_null_reverse_path_is_told_by_the_helo_name():
    found = spf_finding(SpfResult(Spf.FAIL, "h.test", "helo", problem="x" * 999), "", "h.test")
    assert found.properties == (("smtp.helo", "h.test"),)
    assert len(found.reason) == 200
