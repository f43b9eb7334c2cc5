"""TLS contexts, and certificates that are read again when their file changes."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mailtools.errors import Misconfigured

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!SHA1:!AESCCM:!PSK:!aNULL"
"""Of TLS 1.2, with forward secrecy (RFC 9325 4.1): Debian's Python offers all that OpenSSL has."""


class Chain(NamedTuple):
    """A certificate chain and its key, PEM files, and the host name that it is for.

    `name` is "" for who asks for no name, or for one that has no chain of its own; `*.example.org`
    is any one label before that domain. Several chains of a name, RSA and ECDSA, are a choice.
    """

    name: str
    certificate: str
    key: str


class ServerContext(ssl.SSLContext):
    """A server's context, and what it serves: who speaks none of these protocols is sent away."""

    protocols: tuple[str, ...] = ()
    """As ALPN names them (RFC 7301); none: whatever a client speaks."""


class Certificates:
    """A server's certificates; `context` follows the files as they are renewed."""

    def __init__(
        self,
        chains: Sequence[Chain],
        *,
        tickets: bool = True,
        clients: str = "",
        ask_clients: Callable[[], bool] = bool,
        protocols: Sequence[str] = (),
    ) -> None:
        """Take the chains; one of them at least is for the name "".

        `tickets`: sessions may be resumed. `clients` is a PEM file of clients' certificates, or of
        authorities for them: a client is asked for one while `ask_clients` says so. `protocols`
        are those of ALPN that are served.
        """
        self._chains = chains
        self._tickets = tickets
        self._clients, self._ask_clients = clients, ask_clients
        self._protocols = tuple(protocols)
        self._files = [path for chain in chains for path in (chain.certificate, chain.key)]
        self._stamp: tuple[object, ...] = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Give a server context for the files as they are now; raise Misconfigured."""
        clients = self._clients if self._clients and self._ask_clients() else ""
        files = [*self._files, clients] if clients else self._files
        try:
            stamp = (clients, *((s.st_mtime_ns, s.st_ino) for s in map(os.stat, files)))
            if self._context is None or stamp != self._stamp:
                self._context = self._build(clients)
                self._stamp = stamp
        except (OSError, Misconfigured) as error:
            if self._context is not None:
                return self._context  # a renewal half done: the old one still serves
            if isinstance(error, Misconfigured):
                raise
            unreadable = [what for path in dict.fromkeys(files) if (what := _unreadable(path))]
            raise Misconfigured(detail="\n".join(unreadable) or str(error)) from error
        return self._context

    def _build(self, clients: str) -> ssl.SSLContext:
        contexts: dict[str, ServerContext] = {}
        for name, certificate, key in self._chains:
            if name not in contexts:
                contexts[name] = self._empty(clients)
            _load(contexts[name], certificate, key)
        default = contexts.pop("")
        if contexts:
            default.sni_callback = _choose(contexts)
        return default

    def _empty(self, clients: str) -> ServerContext:
        context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
        context.protocols = self._protocols
        if self._protocols:
            context.set_alpn_protocols(self._protocols)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996, RFC 9325 3.1.1
        context.set_ciphers(CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        if not self._tickets:
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0  # those of TLS 1.3
        if clients:
            context.verify_mode = ssl.CERT_OPTIONAL
            # A certificate of the file is believed as it is, whoever issued it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(clients)
        return context


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # nobody is asked for one
    except ssl.SSLError as error:
        raise Misconfigured(detail=_complaint(error, certificate, key)) from error


def _complaint(error: ssl.SSLError, certificate: str, key: str) -> str:
    with open(certificate, "rb") as file, open(key, "rb") as other:
        chain, secret = file.read(), other.read()
    if b"-----BEGIN CERTIFICATE" not in chain:
        return f"{certificate}: there is no PEM certificate in it"
    if b"ENCRYPTED" in secret:
        return f"{key}: the key has a password, and nobody is there to type it"
    if b"PRIVATE KEY-----" not in secret:
        return f"{key}: there is no PEM key in it"
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return f"{key}: is not the key of {certificate}"
    return f"{certificate}: cannot be used with {key}: {error.reason or error}"


def _unreadable(path: str) -> str:
    try:
        with open(path, "rb"):
            return ""
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}"


def _choose(
    contexts: Mapping[str, ssl.SSLContext],
) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """Give what chooses the context for the name a client asks for (RFC 6066 3)."""

    def choose(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        wanted = (name or "").lower().rstrip(".")
        found = contexts.get(wanted) or contexts.get("*." + wanted.partition(".")[2])
        if found is not None:
            tls.context = found

    return choose


def client_context(*, verify: bool, authorities: str = "", lenient: bool = False) -> ssl.SSLContext:
    """Give a client context: verifying name and chain, or opportunistic (RFC 7435).

    `authorities` is a PEM file of the only authorities to trust (default: the system's). `lenient`:
    keys that are too small for OpenSSL are taken too, where the choice is between them and none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if lenient:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authorities:
        context.load_verify_locations(authorities)
    else:
        context.load_default_certs()
    return context
