"""TLS contexts, and certificates that are read again when their file changes."""

from __future__ import annotations

import os
import ssl

from mailtools.errors import Misconfigured


class Certificates:
    """A server's certificate chain and key; `context` follows the files as they are renewed."""

    def __init__(self, certificate: str, key: str = "") -> None:
        """Name the PEM files; without `key` the certificate's file holds it too."""
        self._files = (certificate, key or certificate)
        self._stamp: tuple[tuple[int, int], ...] = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Give a server context for the files as they are now; raise Misconfigured."""
        try:
            stamp = tuple((s.st_mtime_ns, s.st_ino) for s in map(os.stat, self._files))
            if self._context is None or stamp != self._stamp:
                self._context = _server_context(*self._files)
                self._stamp = stamp
        except (OSError, ssl.SSLError) as error:
            if self._context is not None:
                return self._context  # a renewal half done: the old one still serves
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise Misconfigured(
                detail=f"tls-certificate {self._files[0]}, tls-key {self._files[1]}: {reason}"
            ) from error
        return self._context


def _server_context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996, RFC 9325 3.1.1
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(certificate, key)
    return context


def client_context(*, verify: bool, authorities: str = "") -> ssl.SSLContext:
    """Give a client context: verifying name and chain, or opportunistic (RFC 7435).

    `authorities` is a PEM file of the only authorities to trust (default: the system's).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif authorities:
        context.load_verify_locations(authorities)
    else:
        context.load_default_certs()
    return context
