"""EXTERNAL: a client certificate logs in at submission, POP3 and IMAP, and nobody else's does."""

import base64
import hashlib
import imaplib
import poplib
import smtplib
import ssl
from typing import Any

import pytest
from conftest import Site


@pytest.fixture
def certified(secure_site: Site, authority: Any) -> tuple[Site, ssl.SSLContext, ssl.SSLContext]:
    """A site whose bob has a certificate; a client with it, and one with that of nobody."""
    mine, other = (authority.issue_cert(f"{name}@example.org") for name in ("bob", "carol"))
    der = ssl.PEM_cert_to_DER_cert(mine.cert_chain_pems[0].bytes().decode())
    secure_site.set("accounts", f"bob:!::::::cert=sha256:{hashlib.sha256(der).hexdigest()}")
    authority.cert_pem.write_to_path(str(secure_site.etc / "clients.pem"))
    secure_site.set("tls-clients", "clients.pem")
    contexts = []
    for certificate in (mine, other):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        certificate.configure_cert(context)
        contexts.append(context)
    return secure_site, contexts[0], contexts[1]


def test_submission(certified: Any) -> None:
    site, mine, other = certified
    server = site.listen("smtpd-accept", "--submission")
    with smtplib.SMTP(*server.address, timeout=30) as smtp:
        smtp.starttls(context=mine)
        smtp.ehlo()
        assert "EXTERNAL" in smtp.esmtp_features["auth"].split()
        assert smtp.docmd("AUTH", "EXTERNAL =")[0] == 235
        smtp.sendmail("bob@example.org", ["x@example.net"], "From: bob@example.org\r\n\r\nx\r\n")
    with smtplib.SMTP(*server.address, timeout=30) as smtp:
        smtp.starttls(context=other)
        smtp.ehlo()
        assert "EXTERNAL" not in smtp.esmtp_features["auth"].split()
        assert smtp.docmd("AUTH", "EXTERNAL =")[0] == 504


def test_imap(certified: Any) -> None:
    site, mine, other = certified
    server = site.listen("imapd", "--tls")
    with imaplib.IMAP4_SSL(*server.address, ssl_context=mine, timeout=30) as imap:
        assert "AUTH=EXTERNAL" in imap.capabilities
        assert imap.authenticate("EXTERNAL", lambda _: b"")[0] == "OK"
        assert imap.select()[0] == "OK"
    with imaplib.IMAP4_SSL(*server.address, ssl_context=other, timeout=30) as imap:
        assert "AUTH=EXTERNAL" not in imap.capabilities


def test_pop3(certified: Any) -> None:
    site, mine, _ = certified
    server = site.listen("pop3d", "--tls")
    pop = poplib.POP3_SSL(*server.address, context=mine, timeout=30)
    assert "EXTERNAL" in pop.capa()["SASL"]
    said = base64.b64encode(b"bob@example.org").decode()
    assert pop._shortcmd(f"AUTH EXTERNAL {said}").startswith(b"+OK")
    assert pop.stat() == (0, 0)
    pop.quit()


def test_acting_for_another_is_refused(certified: Any) -> None:
    site, mine, _ = certified
    server = site.listen("smtpd-accept", "--submission")
    said = base64.b64encode(b"alice@example.org").decode()
    with smtplib.SMTP(*server.address, timeout=30) as smtp:
        smtp.starttls(context=mine)
        smtp.ehlo()
        assert smtp.docmd("AUTH", f"EXTERNAL {said}")[0] == 535


def test_a_fingerprint_that_is_none_is_a_fault(site: Site) -> None:
    site.set("accounts", "bob:!::::::cert=md5:00")
    result = site.run("mail-account", "list")
    assert result.returncode == 78
    assert b"fingerprint" in result.stderr
