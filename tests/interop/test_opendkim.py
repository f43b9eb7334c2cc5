"""OpenDKIM reads what we sign, and we what it signs: RSA and Ed25519."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from mailtools.mail.fields import split_message
from mailtools.net.dns import Answer
from mailtools.trust.canonical import BodyHashes
from mailtools.trust.dkim import Dkim, verify_message
from mailtools.trust.dkim_sign import SIGNING_FORM, Signer, sign
from mailtools.trust.keys import PrivateKey, new_private_key

pytestmark = pytest.mark.skipif(not shutil.which("opendkim"), reason="no opendkim")

MESSAGE = (
    b"From: Alice <alice@example.org>\nTo: bob@example.net\nSubject: two  blanks\n\tand a fold \n"
    b"Date: Mon, 23 Nov 2026 10:00:00 +0000\nMessage-ID: <1@example.org>\n\n"
    b"Blanks  in\tlines \n\n.\n\n\n"
)
NAME = "s1._domainkey.example.org"


@pytest.fixture(params=["rsa", "ed25519"])
def key(request: pytest.FixtureRequest, tmp_path: Path) -> PrivateKey:
    made = new_private_key(request.param)
    (tmp_path / "key.pem").write_bytes(made.pem())
    (tmp_path / "key.pem").chmod(0o600)
    (tmp_path / "dns").write_text(f"{NAME} {made.record()}\n")
    return made


def opendkim(folder: Path, message: bytes, *settings: str) -> str:
    """Let it take a message in its test mode; give what it would do, and what it logs."""
    (folder / "conf").write_text("\n".join(("Syslog no", "RequireSafeKeys no", *settings, "")))
    (folder / "message").write_bytes(message.replace(b"\n", b"\r\n"))
    run = subprocess.run(
        ["opendkim", "-x", folder / "conf", "-vvv", "-t", folder / "message"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


@pytest.mark.parametrize("changed", [b"", b"more\n"])
def test_opendkim_verifies_what_we_sign(key: PrivateKey, tmp_path: Path, changed: bytes) -> None:
    header, body = split_message(MESSAGE)
    hashes = BodyHashes([SIGNING_FORM])
    hashes.update(body)
    signature = sign(header, hashes, [Signer("example.org", "s1", key)], int(time.time()))
    said = opendkim(
        tmp_path, signature + MESSAGE + changed, "Mode v", f"TestDNSData {tmp_path}/dns"
    )
    assert f"dkim={'fail' if changed else 'pass'}" in said


@pytest.mark.parametrize("form", ["simple/simple", "relaxed/relaxed", "simple/relaxed"])
def test_we_verify_what_opendkim_signs(key: PrivateKey, tmp_path: Path, form: str) -> None:
    if key.kind == "ed25519" and form.startswith("simple"):
        pytest.skip("OpenDKIM 2.11's Ed25519 over simple header fields: dkimpy refuses it too")
    said = opendkim(
        tmp_path,
        MESSAGE,
        *("Mode s", "Domain example.org", "Selector s1", f"KeyFile {tmp_path}/key.pem"),
        *(f"Canonicalization {form}", f"SignatureAlgorithm {key.kind}-sha256"),
    )
    match = re.search(r"hname='DKIM-Signature' hvalue='([^']*)'", said)
    assert match, said
    signature = f"DKIM-Signature: {match[1]}\n".encode()
    now = int(time.time())
    for text, wanted in ((MESSAGE, Dkim.PASS), (MESSAGE + b"more\n", Dkim.FAIL)):
        (found,) = verify_message(signature + text, lambda *_: Answer((key.record(),)), now)
        assert (found.result, found.domain) == (wanted, "example.org"), found.problem
