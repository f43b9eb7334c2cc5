"""The public ARC test suite (github.com/ValiMail/arc_test_suite), where a copy lies.

Put its tests/arc-draft-validation-tests.yml where $ARC_TEST_SUITE says, and beside it
arc-draft-sign-tests.yml; they are not kept here.
"""

import os
from pathlib import Path

import pytest
import yaml

from mailtools.mail.fields import Field, fields, split_message
from mailtools.trust.arc import Arc, verify_message_chain
from mailtools.trust.arc_seal import seal
from mailtools.trust.authres import parse_authres
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim_record import field_tags
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer
from mailtools.trust.keys import load_private_key
from mailtools.trust.own_results import own_results

SUITE = Path(os.environ.get("ARC_TEST_SUITE", "/nonexistent"))
STRICTER = {
    # passes there: a signature that covers no field at all; RFC 6376 5.4 wants From covered
    "ams_fields_h_empty",
    # passes there: signed as if a missing c= meant relaxed; RFC 6376 3.5 says simple
    "ams_fields_c_na",
}


def cases():
    """List (keys, case) for each test of the suite."""
    if not SUITE.exists():
        return [pytest.param({}, {}, marks=pytest.mark.skip(reason="no copy of the suite"))]
    return [
        pytest.param(scenario["txt-records"], {**case, "name": name}, id=name)
        for scenario in yaml.safe_load_all(SUITE.read_text(encoding="utf-8"))
        for name, case in scenario["tests"].items()
    ]


@pytest.mark.parametrize(("keys", "case"), cases())
def test_case(zone, keys, case):
    lookup = zone({name: {"TXT": [text]} for name, text in (keys or {}).items()})
    found = verify_message_chain(case["message"].encode(), lookup, 12345)
    wanted = case["cv"].strip().lower() or "fail"
    if case["name"] in STRICTER:
        wanted = "fail"
    assert found.result == wanted, found.problem


def sealings():
    """List (scenario, case) for each signing test of the suite."""
    suite = SUITE.with_name("arc-draft-sign-tests.yml")
    if not suite.exists():
        return [pytest.param({}, {}, marks=pytest.mark.skip(reason="no copy of the suite"))]
    return [
        pytest.param(scenario, case, id=name)
        for scenario in yaml.safe_load_all(suite.read_text(encoding="utf-8"))
        for name, case in scenario["tests"].items()
    ]


def tags_of(name, text):
    """Read the tag list of a field as the suite or we wrote it."""
    return field_tags(Field(name, name + b":" + text))


@pytest.mark.parametrize(("scenario", "case"), sealings())
def test_sealing(zone, scenario, case):
    """Ours and the suite's set say the same, but for the choice of fields and so the values."""
    lookup = zone({name: {"TXT": [text]} for name, text in scenario["txt-records"].items()})
    message, now = case["message"].encode(), int(case["t"])
    header, body = split_message(message)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    results = own_results(header, case["srv-id"])
    assert results is not None
    key = load_private_key(scenario["privatekey"].encode())
    before = verify_message_chain(message, lookup, now)
    signer = Signer(scenario["domain"], scenario["sel"], key)
    ours = seal(header, hashes, signer, before, results, now=now)
    if not case["AS"]:
        assert ours == b""
        return
    names = (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results")
    texts = [case[each].encode().strip().replace(b"\n", b"\n ") for each in ("AS", "AMS", "AAR")]
    made = {field.name: field.raw.partition(b":")[2] for field in fields(ours)}
    assert tuple(made) == names
    for name, text in zip(names[:2], texts, strict=False):
        wanted, found = tags_of(name, text), tags_of(name, made[name])
        covered = wanted.pop("h", "").split(":"), "".join(found.pop("h", "").split()).split(":")
        assert set(covered[0]) <= set(covered[1])
        assert {**wanted, "b": ""} == {**found, "b": ""}
    wanted, found = (each.decode().partition(";") for each in (texts[2], made[names[2]]))
    assert wanted[0].split() == found[0].split()
    assert parse_authres(wanted[2]) == parse_authres(found[2])
    after = verify_message_chain(ours + message, lookup, now)
    assert after.result is (Arc.FAIL if "cv=fail" in case["AS"] else Arc.PASS), after.problem
