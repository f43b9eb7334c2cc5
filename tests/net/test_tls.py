"""Servers' certificates: by name, in pairs, renewed; tickets; and clients' certificates."""

import datetime
import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailtools.errors import Misconfigured
from mailtools.net.tls import Certificates, Chain

x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402

Make = Callable[..., Chain]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a self-signed certificate for a name; it and its key in one file."""

    def made(name: str, kind: str = "ec", file: str = "", *, chain: str = "") -> Chain:
        key: Any = ec.generate_private_key(ec.SECP256R1())
        if kind == "rsa":
            key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(
                subject, subject, key.public_key(), serial_number=x509.random_serial_number()
            )
            .not_valid_before(now - datetime.timedelta(1))
            .not_valid_after(now + datetime.timedelta(1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        path = tmp_path / (file or f"{name}.{kind}.pem".replace("*", "any"))
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return Chain(chain, str(path), str(path))

    return made


def client(**options: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for name, value in options.items():
        setattr(context, name, value)
    return context


def handshake(
    server: ssl.SSLContext, ours: ssl.SSLContext, name: str | None, session: Any = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Let both ends talk in memory; give client and server."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = ours.wrap_bio(down, up, server_hostname=name, session=session)
    other = server.wrap_bio(up, down, server_side=True)
    undone = [one, other]
    for _ in range(10):
        for end in list(undone):
            try:
                end.do_handshake()
                undone.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not undone
    other.write(b"x")
    assert one.read() == b"x"  # and with it what TLS 1.3 sends behind the handshake
    return one, other


def names(tls: ssl.SSLObject) -> str:
    der = tls.getpeercert(binary_form=True)
    assert der
    return str(x509.load_der_x509_certificate(der).subject.rfc4514_string())


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, "mail.test"),
        ("mail.test", "mail.test"),
        ("two.test", "two.test"),
        ("TWO.test", "two.test"),
        ("a.three.test", "*.three.test"),
        ("a.b.three.test", "mail.test"),
        ("three.test", "mail.test"),
        ("other.test", "mail.test"),
    ],
)
def test_a_client_gets_the_certificate_of_the_name(
    make: Make, asked: str | None, given: str
) -> None:
    chains = [
        make("mail.test"),
        make("two.test", chain="two.test"),
        make("*.three.test", chain="*.three.test"),
    ]
    one, _ = handshake(Certificates(chains).context(), client(), asked)
    assert names(one) == f"CN={given}"


@pytest.mark.parametrize(
    ("ciphers", "size"),
    [("ECDHE-RSA-AES128-GCM-SHA256", 2048), ("ECDHE-ECDSA-AES128-GCM-SHA256", 256)],
)
@pytest.mark.parametrize("asked", [None, "two.test"])
def test_a_pair_serves_either_client(
    make: Make, ciphers: str, size: int, asked: str | None
) -> None:
    chains = [
        make(name, kind, chain=chain)
        for name, chain in (("mail.test", ""), ("two.test", "two.test"))
        for kind in ("rsa", "ec")
    ]
    ours = client(maximum_version=ssl.TLSVersion.TLSv1_2)
    ours.set_ciphers(ciphers)
    one, _ = handshake(Certificates(chains).context(), ours, asked)
    der = one.getpeercert(binary_form=True)
    assert der
    assert x509.load_der_x509_certificate(der).public_key().key_size == size
    assert names(one) == f"CN={asked or 'mail.test'}"


def test_a_renewed_file_is_read_again_and_a_torn_one_is_not(make: Make) -> None:
    chains = [make("mail.test"), make("two.test", file="two.pem", chain="two.test")]
    certificates = Certificates(chains)
    certificates.context()
    Path(chains[1].certificate).unlink()
    make("new.test", file="two.pem", chain="two.test")
    assert names(handshake(certificates.context(), client(), "two.test")[0]) == "CN=new.test"
    Path(chains[1].certificate).write_text("torn")
    assert names(handshake(certificates.context(), client(), "two.test")[0]) == "CN=new.test"
    with pytest.raises(Misconfigured, match="configuration"):
        Certificates(chains).context()


@pytest.mark.parametrize("tickets", [True, False])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_only_where_tickets_are_on(
    make: Make, tickets: bool, version: ssl.TLSVersion
) -> None:
    server = Certificates([make("mail.test")], tickets=tickets).context()
    ours = client(maximum_version=version)
    one, _ = handshake(server, ours, None)
    session = one.session
    resumed = False
    if session is not None and session.has_ticket:
        resumed = bool(handshake(server, ours, None, session)[0].session_reused)
    assert resumed is tickets


def test_a_client_is_asked_for_a_certificate_while_somebody_has_one(make: Make) -> None:
    asks = [False]
    user, stranger = make("user"), make("stranger")
    certificates = Certificates(
        [make("mail.test"), make("two.test", chain="two.test")],
        clients=user.certificate,
        ask_clients=lambda: asks[0],
    )
    ours = client()
    ours.load_cert_chain(user.certificate)
    assert handshake(certificates.context(), ours, None)[1].getpeercert(binary_form=True) is None
    asks[0] = True
    wanted = hashlib.sha256(
        ssl.PEM_cert_to_DER_cert(Path(user.certificate).read_text().partition("-----BEGIN PRIV")[0])
    ).digest()
    for name in (None, "two.test"):
        der = handshake(certificates.context(), ours, name)[1].getpeercert(binary_form=True)
        assert der
        assert hashlib.sha256(der).digest() == wanted
        assert handshake(certificates.context(), client(), name)[1].getpeercert(True) is None
    other = client()
    other.load_cert_chain(stranger.certificate)
    with pytest.raises(ssl.SSLError, match=r"(?i)verify failed"):
        handshake(certificates.context(), other, None)
