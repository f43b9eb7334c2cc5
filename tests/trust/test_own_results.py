"""What we found ourselves, told from what others claim in our name."""

import pytest

from mailtools.trust.own_results import author_forbids, own_results

OURS = b"Authentication-Results: mx.example.org;\n\tdmarc=%s header.from=a.test policy.dmarc=%s\n"
FAILED = OURS % (b"fail", b"reject")
RECEIVED = b"Received: from a by mx.example.org; Mon, 1 Jan 2024 00:00:00 +0000\n"
REST = b"From: a@a.test\nSubject: x\n"


def test_only_above_the_topmost_received():
    assert own_results(FAILED + RECEIVED + REST, "mx.example.org")
    assert own_results(b"Delivered-To: b@example.org\n" + FAILED + RECEIVED, "MX.Example.org")
    assert own_results(RECEIVED + FAILED + REST, "mx.example.org") is None
    assert own_results(FAILED + RECEIVED + REST, "other.example.org") is None
    assert own_results(REST, "mx.example.org") is None
    assert own_results(b"Authentication-Results: ;;\n" + RECEIVED, "mx.example.org") is None


def test_several_fields_are_one():
    milter = b"Authentication-Results: mx.example.org; x-spam=pass\n"
    other = b"Authentication-Results: other.example.org; spf=pass\n"
    broken = b"Authentication-Results: ;;\n"
    found = own_results(milter + broken + other + FAILED + RECEIVED + milter, "mx.example.org")
    assert found is not None
    assert [each.method for each in found.results] == ["x-spam", "dmarc"]


@pytest.mark.parametrize(
    ("result", "policy", "forbids"),
    [
        (b"fail", b"reject", True),
        (b"fail", b"quarantine", False),
        (b"fail", b"none", False),
        (b"pass", b"reject", False),
        (b"temperror", b"reject", False),
    ],
)
def test_what_an_author_forbids(result, policy, forbids):
    found = own_results(OURS % (result, policy) + RECEIVED, "mx.example.org")
    assert found is not None
    assert author_forbids(found) is forbids
