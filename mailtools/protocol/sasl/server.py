"""SASL mechanisms for servers, sans-IO (RFC 4422): responses in, challenges out.

PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login, with Outlook's initial data), SCRAM-SHA-256 and
SCRAM-SHA-1 (RFC 5802, RFC 7677), OAUTHBEARER (RFC 7628), XOAUTH2, EXTERNAL (RFC 4422 A) and, for
old clients, CRAM-MD5 (RFC 2195) and POP3's APOP, which is no mechanism but much like it.
SMTP, POP3, IMAP and ManageSieve share this. The -PLUS variants are left out: Python's ssl cannot
give the channel binding that TLS 1.3 needs (RFC 9266). The client's half is `client.py`; what
engines need before anybody logs in is in `wire.py`.

An engine does this, and never looks at a mechanism:

    exchange = start(name, authority)                 # a Failure: no such mechanism
    challenge = exchange.respond(decode(initial))     # or respond(None): no initial response
    while challenge is not None:                      # None: logged in
        ... send encode(challenge), read a line ...
        challenge = exchange.respond(decode(line))    # a Failure: refused, or cancelled with "*"
    use exchange.identity
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Generator
from typing import Generic, NamedTuple, Protocol, TypeVar

from mailtools.errors import BadCredentials, BadParameter, BadSyntax
from mailtools.protocol.sasl import scram
from mailtools.protocol.sasl.scram import ScramKeys
from mailtools.protocol.sasl.wire import APOP, CRAM, HASHES, encode

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Password(NamedTuple):
    """A login and a password, as they came; `authorize_as` is "" or the identity asked for."""

    login: str
    password: str
    authorize_as: str = ""
    mechanism: str = "PLAIN"


class Proven(NamedTuple):
    """A login that proved by SCRAM or CRAM-MD5 to know its password."""

    login: str
    authorize_as: str = ""
    mechanism: str = ""


class Disproved(NamedTuple):
    """A login whose proof was wrong: only there to be refused, and noted."""

    login: str
    mechanism: str = ""


class Token(NamedTuple):
    """A bearer token (RFC 6750) and the login it is said to be for ("" where none was named)."""

    login: str
    token: str
    mechanism: str = "OAUTHBEARER"


class External(NamedTuple):
    """Whoever the TLS client certificate names; `authorize_as` is "" or the identity asked for."""

    authorize_as: str
    mechanism: str = "EXTERNAL"


Credentials = Password | Proven | Disproved | Token | External


class Authority(Protocol[T_co]):
    """Who decides: the service behind an engine."""

    def authenticate(self, credentials: Credentials) -> T_co:
        """Give the identity (an account), or raise BadCredentials or AuthTrouble."""

    def scram_keys(self, login: str, mechanism: str) -> ScramKeys:
        """Give the keys to check `login` by; for one that has none, made-up ones, always the same.

        An unknown login must look like a known one until the proof fails.
        """

    def cram_contexts(self, login: str) -> bytes:
        """Give what CRAM-MD5 checks `login` by (cram.py), where it has none 32 random octets."""

    def apop_digest(self, login: str, stamp: str) -> str:
        """Give what APOP must answer to a greeting with `stamp`; for nobody, what fits nothing."""


Steps = Generator[bytes, bytes, T]


class Exchange(Generic[T]):
    """One authentication under way."""

    identity: T
    """Who logged in; there once `respond` has given None."""

    def __init__(self, steps: Steps[T]) -> None:
        self._steps = steps
        self._first: bytes | None = next(steps)

    def respond(self, response: bytes | None) -> bytes | None:
        """Take a decoded response, give the next challenge, or None when the peer is logged in.

        The first call takes the initial response, None where the command carried none. Raises
        BadCredentials, AuthTrouble, or BadSyntax where the response is not what the mechanism says.
        """
        first, self._first = self._first, None
        if response is None:
            if first is None:
                raise BadSyntax("A response is missing")
            return first
        try:
            return self._steps.send(response)
        except StopIteration as finished:
            self.identity = finished.value
            return None


def start(mechanism: str, authority: Authority[T], *, nonce: str = "") -> Exchange[T]:
    """Begin an exchange; raise BadParameter (504) for a mechanism we do not have.

    Whether it may be used now (PLAINTEXT ones need TLS) is the engine's to check before.
    `nonce` is SCRAM's and CRAM-MD5's; made at random where it is not given.
    """
    name = mechanism.upper()
    if name in HASHES:
        return Exchange(_scram(authority, name, nonce or make_nonce()))
    if name == CRAM:
        return Exchange(_cram(authority, nonce or make_nonce()))
    steps: Callable[[Authority[T]], Steps[T]] | None = {
        "PLAIN": _plain,
        "LOGIN": _login,
        "XOAUTH2": _xoauth2,
        "OAUTHBEARER": _oauthbearer,
        "EXTERNAL": _external,
    }.get(name)
    if steps is None:
        raise BadParameter("Unrecognized authentication type", status="5.5.4", reply=504)
    return Exchange(steps(authority))


def make_nonce() -> str:
    """Make a nonce: 24 printable characters without a comma."""
    import secrets  # rare: only where SCRAM is used

    return secrets.token_urlsafe(18)


def check_apop(authority: Authority[T], login: str, stamp: str, proof: str) -> T:
    """Give the identity that a POP3 client proves by APOP (RFC 1939 7); raise BadCredentials."""
    import hmac

    name = _login_name(login)
    wanted = authority.apop_digest(name, stamp)
    if not hmac.compare_digest(wanted.encode(), proof.lower().encode()):
        authority.authenticate(Disproved(name, APOP))
        raise BadCredentials
    return authority.authenticate(Proven(name, "", APOP))


# -- mechanisms: each yields challenges, receives responses, returns the identity -----------------


def _plain(authority: Authority[T]) -> Steps[T]:
    parts = _text((yield b"")).split("\0")
    if len(parts) != 3:
        raise BadSyntax("PLAIN takes authorization identity, login and password (RFC 4616)")
    authorize_as, login, password = parts
    return authority.authenticate(Password(_login_name(login), password, authorize_as))


def _login(authority: Authority[T]) -> Steps[T]:
    login = yield b"Username:"
    password = yield b"Password:"
    return authority.authenticate(Password(_login_name(_text(login)), _text(password), "", "LOGIN"))


def _external(authority: Authority[T]) -> Steps[T]:
    return authority.authenticate(External(_text((yield b""))))


def _scram(authority: Authority[T], name: str, nonce: str) -> Steps[T]:
    hash_name = HASHES[name]
    # RFC 5802 7: gs2-header [reserved-mext ","] username "," nonce ["," extensions]
    first = _text((yield b""))
    binding, comma, rest = first.partition(",")
    authorize_as, another_comma, bare = rest.partition(",")
    named = not authorize_as or authorize_as.startswith("a=")
    if not comma or not another_comma or binding not in ("n", "y") or not named:
        raise BadSyntax("SCRAM without channel binding begins with n,, (RFC 5802 7)")
    said = _attributes(bare, "nr")
    try:
        login = scram.saslprep(scram.unescape_name(said["n"]))
        authorize_as = scram.unescape_name(authorize_as.removeprefix("a="))
    except ValueError:
        raise BadSyntax("Bad login in SCRAM (RFC 5802 5.1)") from None
    keys = authority.scram_keys(login, name)
    whole_nonce = said["r"] + nonce
    salt = encode(keys.salt).decode()
    server_first = f"r={whole_nonce},s={salt},i={keys.iterations}"
    final = _text((yield server_first.encode()))
    without_proof, _, proof = final.rpartition(",p=")
    answered = _attributes(without_proof, "cr")
    header = first[: len(first) - len(bare)]
    if answered["c"] != encode(header.encode()).decode() or answered["r"] != whole_nonce:
        raise BadCredentials
    auth_message = f"{bare},{server_first},{without_proof}".encode()
    try:
        signature = scram.check(keys, auth_message, _base64(proof), hash_name)
    except BadCredentials:
        authority.authenticate(Disproved(login, name))
        raise
    identity = authority.authenticate(Proven(login, authorize_as, name))
    yield b"v=" + encode(signature)  # the peer answers with an empty line
    return identity


def _cram(authority: Authority[T], nonce: str) -> Steps[T]:
    import hmac

    from mailtools.protocol.sasl import cram  # rare: off by default

    challenge = f"<{nonce}@localhost>".encode()  # a Message-ID by its grammar, RFC 2195 2
    login, blank, proof = _text((yield challenge)).rpartition(" ")
    if not blank:
        raise BadSyntax("CRAM-MD5 takes login and digest (RFC 2195 2)")
    login = _login_name(login)
    wanted = cram.digest(authority.cram_contexts(login), challenge)
    if not hmac.compare_digest(wanted.encode(), proof.lower().encode()):
        authority.authenticate(Disproved(login, CRAM))
        raise BadCredentials
    return authority.authenticate(Proven(login, "", CRAM))


def _xoauth2(authority: Authority[T]) -> Steps[T]:
    # "user=" login ^A "auth=Bearer " token ^A ^A, as the large providers define it
    return (yield from _bearer(authority, _text((yield b"")).split("\x01"), "", "XOAUTH2"))


def _oauthbearer(authority: Authority[T]) -> Steps[T]:
    # RFC 7628 3.1: gs2-header kvsep *kvpair kvsep
    header, *pairs = _text((yield b"")).split("\x01")
    binding, _, login = header.rstrip(",").partition(",a=")
    if binding not in ("n", "y"):
        raise BadSyntax("OAUTHBEARER begins with n,a=login, (RFC 7628 3.1)")
    try:
        login = scram.unescape_name(login)
    except ValueError:
        raise BadSyntax("Bad login in OAUTHBEARER") from None
    return (yield from _bearer(authority, pairs, login, "OAUTHBEARER"))


def _bearer(authority: Authority[T], pairs: list[str], login: str, name: str) -> Steps[T]:
    said = dict(pair.partition("=")[::2] for pair in pairs if pair)
    scheme, _, token = said.get("auth", "").partition(" ")
    if scheme.lower() != "bearer":
        raise BadSyntax("A bearer token is missing")
    try:
        return authority.authenticate(Token(login or said.get("user", ""), token.strip(), name))
    except BadCredentials:
        # RFC 7628 3.2.2: the reason goes as a challenge; the peer acknowledges; then the failure.
        yield b'{"status":"invalid_token","schemes":"bearer"}'
        raise


# -- grammar --------------------------------------------------------------------------------------


def _text(response: bytes) -> str:
    try:
        return response.decode("utf-8")
    except UnicodeDecodeError:
        raise BadCredentials from None  # whatever it is, it is nobody's password here


def _login_name(name: str) -> str:
    try:
        return scram.saslprep(name)
    except ValueError:
        raise BadCredentials from None


def _attributes(text: str, first: str) -> dict[str, str]:
    """Read attributes that must begin with those in `first`, in order."""
    try:
        found = scram.attributes(text)
    except ValueError:
        raise BadSyntax("Bad SCRAM message (RFC 5802 7)") from None
    if "".join(found)[: len(first)] != first:
        raise BadSyntax("Bad SCRAM message (RFC 5802 7)")
    return found


def _base64(text: str) -> bytes:
    try:
        return a2b_base64(text.encode(), strict_mode=True)
    except Base64Error:
        raise BadCredentials from None
