"""All cases of the openspf.org test suite for RFC 7208 (tests/trust/data)."""

from pathlib import Path

import pytest
import yaml

from mailtools.trust.spf import check_mail_from

SUITE = Path(__file__).parent / "data" / "rfc7208-tests.yml"


def scenarios():
    """Yield each scenario of the file."""
    text = SUITE.read_text(encoding="utf-8")
    return [scenario for scenario in yaml.safe_load_all(text) if scenario]


def cases():
    """Yield (zone data, case) for each test."""
    for number, scenario in enumerate(scenarios()):
        for name, case in scenario["tests"].items():
            yield pytest.param(scenario["zonedata"], case, id=f"{number}-{name}")


def as_text(value):
    """Give TXT data as a lookup does: strings joined, a character a byte."""
    joined = value if isinstance(value, str) else "".join(value)
    return joined.encode().decode("latin-1")


def read_zone(zonedata, trouble):
    """Turn the suite's zone format into a dict: SPF stands for TXT where there is no TXT."""
    names = {}
    for name, rows in zonedata.items():
        types = {}
        timeout = "TIMEOUT" in rows
        pairs = [pair for row in rows if row != "TIMEOUT" for pair in row.items()]
        has_txt = any(rrtype == "TXT" for rrtype, _ in pairs)
        for rrtype, value in pairs:
            if rrtype == "TXT" and value == "NONE":
                continue
            if rrtype == "SPF":
                if has_txt:
                    continue
                rrtype = "TXT"  # noqa: PLW2901
            if rrtype == "TXT":
                data = as_text(value)
            elif rrtype == "MX":
                data = f"{value[0]} {value[1]}"
            else:
                data = str(value)
            types.setdefault(rrtype, []).append(data)
        if timeout:
            for rrtype in ("A", "AAAA", "MX", "TXT", "PTR"):
                types.setdefault(rrtype, trouble)
        names[name] = types
    return names


def test_the_suite_is_whole():
    assert sum(len(scenario["tests"]) for scenario in scenarios()) == 203


@pytest.mark.parametrize(("zonedata", "case"), list(cases()))
def test_case(zone, trouble, zonedata, case):
    lookup = zone(read_zone(zonedata, trouble))
    found = check_mail_from(case["host"], case["mailfrom"], case["helo"], lookup)
    wanted = case["result"] if isinstance(case["result"], list) else [case["result"]]
    assert found.result in wanted, found
    if "explanation" in case:
        explanation = found.explanation or "DEFAULT"
        assert explanation == case["explanation"]
