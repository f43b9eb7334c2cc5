"""SASL mechanisms for clients, sans-IO.

SCRAM-SHA-256 and -1, PLAIN, LOGIN, CRAM-MD5 (RFC 2195), XOAUTH2, OAUTHBEARER.

client = start(choose(offered, tls=True), login, secret)
... send "AUTH", client.name, encode(client.initial) unless it is None ...
for each challenge: send encode(client.respond(decode(challenge)))
at success: client.finish()       # SCRAM: a Failure when the server has proved nothing
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Generator, Iterable

from mailtools.errors import AuthTrouble
from mailtools.protocol.sasl import scram
from mailtools.protocol.sasl.server import make_nonce
from mailtools.protocol.sasl.wire import CRAM, HASHES, PLAINTEXT, encode

BY_PASSWORD = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", CRAM)  # the best first
BY_TOKEN = ("OAUTHBEARER", "XOAUTH2")
ITERATIONS_MOST = 1_000_000  # a server must not keep us busy for minutes

Steps = Generator[bytes | None, bytes, None]


class Client:
    """One authentication under way."""

    def __init__(self, name: str, steps: Steps) -> None:
        self.name = name
        """The mechanism."""
        self._steps = steps
        self.initial = next(steps)
        """The initial response; None: this mechanism waits for the server to speak."""
        self._finished = False

    def respond(self, challenge: bytes) -> bytes:
        """Answer a decoded challenge; raise AuthTrouble where it is not what the mechanism says."""
        try:
            answer = self._steps.send(challenge)
        except StopIteration:
            if self._finished:
                raise AuthTrouble("The server asks more than its mechanism knows") from None
            self._finished = True
            return b""
        return answer or b""

    def finish(self, data: bytes | None = None) -> None:
        """Note the server's success, with the `data` that came with it; raise AuthTrouble.

        SCRAM's server has to prove that it knows the password too.
        """
        if data is not None:
            self.respond(data)
        if self.name in HASHES and not self._finished:
            raise AuthTrouble("The server did not prove that it knows the password")


def choose(
    offered: Iterable[str], *, tls: bool, token: bool = False, plaintext: bool = False
) -> str:
    """Choose the best mechanism a server offers; "" where none will do.

    Without `tls`, those that show the secret are passed over unless `plaintext` allows them.
    """
    have = {name.upper() for name in offered}
    for name in BY_TOKEN if token else BY_PASSWORD:
        if name in have and (tls or plaintext or name not in PLAINTEXT):
            return name
    return ""


def start(
    mechanism: str, login: str, secret: str, *, host: str = "", port: int = 0, nonce: str = ""
) -> Client:
    """Begin a mechanism of `BY_PASSWORD` or `BY_TOKEN`; `secret` is the password or the token.

    `host` and `port` are OAUTHBEARER's; `nonce` is SCRAM's, made at random where it is not given.
    """
    name = mechanism.upper()
    makers: dict[str, Callable[[], Steps]] = {
        "PLAIN": lambda: _once(f"\0{login}\0{secret}".encode()),
        "LOGIN": lambda: _login(login, secret),
        CRAM: lambda: _cram(login, secret),
        "XOAUTH2": lambda: _bearer(f"user={login}\x01auth=Bearer {secret}\x01\x01"),
        "OAUTHBEARER": lambda: _bearer(_oauthbearer(login, secret, host, port), b"\x01"),
    }
    if name in HASHES:
        return Client(name, _scram(name, login, secret, nonce or make_nonce()))
    return Client(name, makers[name]())


def _once(message: bytes) -> Steps:
    yield message


def _login(login: str, password: str) -> Steps:
    yield None
    yield login.encode()
    yield password.encode()


def _cram(login: str, password: str) -> Steps:
    import hmac  # rare: where nothing better is offered

    challenge = yield None
    assert challenge is not None
    yield f"{login} {hmac.digest(password.encode(), challenge, 'md5').hex()}".encode()


def _oauthbearer(login: str, token: str, host: str, port: int) -> str:
    place = (f"host={host}\x01" if host else "") + (f"port={port}\x01" if port else "")
    return f"n,a={scram.escape_name(login)},\x01{place}auth=Bearer {token}\x01\x01"


def _bearer(message: str, acknowledge: bytes = b"") -> Steps:
    yield message.encode()
    yield acknowledge  # a challenge here is the server's reason for the failure that follows


def _scram(name: str, login: str, password: str, nonce: str) -> Steps:
    hash_name = HASHES[name]
    try:
        prepared = scram.saslprep(login)
    except ValueError:
        prepared = login
    bare = f"n={scram.escape_name(prepared)},r={nonce}"
    server_first = _text((yield f"n,,{bare}".encode()))
    said = _attributes(server_first)
    if not said.get("r", "").startswith(nonce) or len(said["r"]) == len(nonce):
        raise AuthTrouble("The server's nonce is not an extension of ours (RFC 5802 5.1)")
    without_proof = f"c=biws,r={said['r']}"
    auth_message = f"{bare},{server_first},{without_proof}".encode()
    salt, iterations = _salt_and_iterations(said)
    proofs = scram.prove(password, salt, iterations, auth_message, hash_name)
    proof = encode(proofs.client_proof).decode()
    final = _attributes(_text((yield f"{without_proof},p={proof}".encode())))
    if final.get("v") != encode(proofs.server_signature).decode():
        raise AuthTrouble("The server does not know the password it asks for (RFC 5802 3)")


def _salt_and_iterations(said: dict[str, str]) -> tuple[bytes, int]:
    try:
        salt, iterations = a2b_base64(said["s"].encode(), strict_mode=True), int(said["i"])
    except (KeyError, ValueError, Base64Error):
        raise AuthTrouble("Bad SCRAM challenge (RFC 5802 7)") from None
    if not 0 < iterations <= ITERATIONS_MOST:
        raise AuthTrouble(f"The server asks for {iterations} iterations")
    return salt, iterations


def _attributes(text: str) -> dict[str, str]:
    try:
        return scram.attributes(text)
    except ValueError:
        raise AuthTrouble("Bad SCRAM challenge (RFC 5802 7)") from None


def _text(challenge: bytes) -> str:
    try:
        return challenge.decode("utf-8")
    except UnicodeDecodeError:
        raise AuthTrouble("Bad SCRAM challenge: not UTF-8") from None
