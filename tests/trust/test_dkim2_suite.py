"""Public DKIM2 vectors, where a copy lies: resources/dkim2 of github.com/stalwartlabs/mail-auth.

That holds the vectors of turscar/dkim2tests and some of dkim2wg/interop, with what is expected and
the keys. Put it where $DKIM2_TEST_SUITE says; it is not kept here.
"""

import base64
import json
import os
import re
from pathlib import Path

import pytest

from mailtools.mail.address import parse_path
from mailtools.mail.envelope import Envelope, ForwardPath
from mailtools.trust import dkim2_fields
from mailtools.trust.dkim2 import verify_message_dkim2

SUITE = Path(os.environ.get("DKIM2_TEST_SUITE", "/nonexistent"))
OTHERWISE = {
    # Received-SPF was signed then; since revision 05 all of Received-* is not
    "interop_brong_chain_hop5.eml": "fail",
    "interop_brong_chain_hop6.eml": "fail",
    # the copy is cut short within its last CRLF
    "simple-rsa1024.eml": "fail",
}

_time = re.compile(rb"[:;]\s*t\s*=\s*(\d+)", re.IGNORECASE)
_sender = re.compile(rb";\s*mf\s*=([A-Za-z0-9+/=\s]+)", re.IGNORECASE)


def cases():
    """List (file, envelope or None, expected result) for each message of the suite."""
    if not SUITE.is_dir():
        return [pytest.param("", None, "", marks=pytest.mark.skip(reason="no copy of the suite"))]
    found = {}
    for case in json.loads((SUITE / "cases.json").read_text(encoding="utf-8")):
        paths = [path.strip("<>") for path in (case["mail_from"], *case["rcpt_to"])]
        envelope = Envelope(paths[0], tuple(map(ForwardPath, paths[1:])))
        found[case["file"]] = envelope, case["expected"]
    for path in (SUITE / "expected").glob("*.eml"):
        found.setdefault(path.name, (None, "pass"))  # those of interop that all must take
    return [
        pytest.param(file, envelope, OTHERWISE.get(file, wanted), id=file)
        for file, (envelope, wanted) in sorted(found.items())
    ]


@pytest.fixture
def lookup(zone):
    """DNS with the keys of the suite."""
    zones = json.loads((SUITE / "dns.json").read_text(encoding="utf-8"))
    return zone(
        {
            f"{name}.{domain}": {"TXT": [text for _, text in records]}
            for domain, names in zones.items()
            for name, records in names.items()
        }
    )


@pytest.mark.parametrize(("file", "envelope", "wanted"), cases())
def test_case(lookup, monkeypatch, file, envelope, wanted):
    message = (SUITE / "expected" / file).read_bytes().replace(b"\r\n", b"\n")
    now = max(int(time) for time in _time.findall(message)) + 60
    found = verify_message_dkim2(message, lookup, now, envelope)
    sender = _sender.search(message)
    if file.startswith(("interop", "multihop", "simple-rsa1024")):
        # Made before revision 03, which wants angle brackets in mf= and rt= (8.5, 8.6).
        assert sender
        assert not base64.b64decode(sender[1]).startswith(b"<")
        assert "syntax error" in found.problem
        monkeypatch.setattr(dkim2_fields, "parse_path", lambda text: parse_path(f"<{text}>"))
        found = verify_message_dkim2(message, lookup, now, envelope)
    assert found.result == wanted, found
