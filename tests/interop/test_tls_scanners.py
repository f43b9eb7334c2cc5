"""sslscan looks for what is weak in the TLS of each listener; there are RSA and ECDSA chains."""

import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, Site

pytestmark = pytest.mark.skipif(not shutil.which("sslscan"), reason="needs sslscan")

LISTENERS = {
    "exchanger": (("smtpd-accept",), "--starttls-smtp"),
    "submission": (("smtpd-accept", "--submission"), "--starttls-smtp"),
    "submissions": (("smtpd-accept", "--submission", "--tls"), ""),
    "pop3": (("pop3d",), "--starttls-pop3"),
    "pop3s": (("pop3d", "--tls"), ""),
    "imap": (("imapd",), "--starttls-imap"),
    "imaps": (("imapd", "--tls"), ""),
}


@pytest.fixture
def chains(secure_site: Site, authority: Any) -> Site:
    """A site with an ECDSA and an RSA chain for its name, and one for another name."""
    trustme = pytest.importorskip("trustme")

    def kept(name: str, certificate: Any) -> str:
        path = secure_site.etc / f"{name}.pem"
        path.write_bytes(certificate.private_key_and_cert_chain_pem.bytes())
        path.chmod(0o600)
        return str(path)

    rsa = authority.issue_cert("mail.example.org", key_type=trustme.KeyType.RSA)
    other = authority.issue_cert("mail.example.net")
    secure_site.set(
        "tls-certificates",
        f"*: {kept('rsa', rsa)}",
        f"mail.example.net: {kept('other', other)}",
    )
    secure_site.account("alice")
    return secure_site


def scan(server: Server, tmp_path: Path, *options: str) -> ET.Element:
    report = tmp_path / "scan.xml"
    done = subprocess.run(
        [
            "sslscan", "--no-colour", f"--xml={report}", *filter(None, options),
            f"{server.host}:{server.port}",
        ],
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    found = ET.parse(report).find("ssltest")
    assert found is not None, done.stdout
    return found


@pytest.mark.parametrize("name", LISTENERS)
def test_nothing_weak_is_offered(chains: Site, tmp_path: Path, name: str) -> None:
    command, starttls = LISTENERS[name]
    found = scan(chains.listen(*command), tmp_path, starttls)
    enabled = {
        f"{one.get('type')}{one.get('version')}"
        for one in found.iter("protocol")
        if one.get("enabled") == "1"
    }
    assert enabled == {"tls1.2", "tls1.3"}
    renegotiation = found.find("renegotiation")
    assert renegotiation is not None
    assert renegotiation.get("supported") == "0"
    assert all(one.get("vulnerable") == "0" for one in found.iter("heartbleed"))
    ciphers = list(found.iter("cipher"))
    assert {one.get("strength") for one in ciphers} <= {"strong", "acceptable"}
    old = [one.get("cipher", "") for one in ciphers if one.get("sslversion") == "TLSv1.2"]
    assert all(cipher.startswith("ECDHE-") for cipher in old)  # forward secrecy
    assert {cipher.split("-")[1] for cipher in old} == {"ECDSA", "RSA"}
    assert "GCM" in old[0]  # ours is the order
    assert min(int(one.get("bits", "0")) for one in found.iter("group")) >= 112


def test_the_name_asked_for_chooses_the_chain(chains: Site, tmp_path: Path) -> None:
    server = chains.listen("imapd", "--tls")
    for asked, there in (
        ("mail.example.net", "mail.example.net"),
        ("mail.example.com", "mail.example.org"),
    ):
        found = scan(server, tmp_path, f"--sni-name={asked}")
        names = [one.text or "" for one in found.iter("altnames")]
        assert any(there in name for name in names), names
