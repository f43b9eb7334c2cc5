"""dkimpy's own tests and messages, with our verifiers in place of its own.

They are in its source distribution alone; tests/run.sh puts that where $MAILTOOLS_DKIMPY says.
"""

import importlib.util
import os
import unittest
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailtools.net.dns import Answer
from mailtools.trust.arc import verify_message_chain
from mailtools.trust.dkim import verify_message

SOURCE = Path(os.environ.get("MAILTOOLS_DKIMPY", "/nonexistent")) / "dkim" / "tests"
MODULES = ("test_dkim", "test_dkim_ed25519", "test_dkim_rsavariants", "test_arc")
NOW = 1_700_000_000
STRICTER = {
    # passes there: a key of 512 bits; RFC 8301 3.2
    "test_dkim.TestSignAndVerify.test_dkim_signature_canonicalization": "policy",
    # passes there: text behind what l= covers; RFC 6376 8.2
    "test_dkim.TestSignAndVerify.test_l_verify": "policy",
}


def flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Yield the cases of a suite."""
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from flat(each)
        else:
            yield each


def cases():
    """List dkimpy's test cases."""
    if not SOURCE.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason="no source of dkimpy"))]
    found = []
    for name in MODULES:
        spec = importlib.util.spec_from_file_location(name, SOURCE / f"{name}.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += flat(unittest.defaultTestLoader.loadTestsFromModule(module))
    # that one asks for what dkimpy's object keeps
    return [pytest.param(c, id=c.id()) for c in found if "test_extra_headers" not in c.id()]


@pytest.mark.parametrize("case", cases())
def test_case(monkeypatch, case):
    dkim = pytest.importorskip("dkim")
    told = []

    def zone(dnsfunc):
        def lookup(name, rrtype):
            try:
                text = dnsfunc(f"{name}.".encode())
            except AssertionError:  # a name that the case does not know
                return Answer()
            return Answer((text.decode("latin-1") if isinstance(text, bytes) else text,))

        return lookup

    def judge(message, dnsfunc):
        results = verify_message(message.replace(b"\r\n", b"\n"), zone(dnsfunc), NOW)
        told.extend(results[:1])
        return bool(results) and results[0].result == "pass"

    def verify_object(self, idx=0, dnsfunc=None):
        fields = b"".join(name + b":" + body for name, body in self.headers)
        return judge(fields + b"\r\n" + self.body, dnsfunc)

    def verify_arc(message, dnsfunc):
        found = verify_message_chain(message.replace(b"\r\n", b"\n"), zone(dnsfunc), NOW)
        told.append(found)
        return found.result.encode(), [], found.problem

    monkeypatch.setattr(dkim, "arc_verify", verify_arc)
    monkeypatch.setattr(dkim, "verify", lambda message, dnsfunc, **_: judge(message, dnsfunc))
    monkeypatch.setattr(dkim.DKIM, "verify", verify_object)
    result = unittest.TestResult()
    case.run(result)
    broken = [text for _, text in (*result.failures, *result.errors)]
    if case.id() in STRICTER:
        assert broken
        assert told[-1].result == STRICTER[case.id()]
    else:
        assert not broken or not told, (broken, told)
