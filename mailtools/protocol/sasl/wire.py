"""SASL as every protocol writes it: names of mechanisms, base64 (RFC 4422, RFC 4954).

What engines need before anybody logs in; the mechanisms themselves are in `server.py`.
"""

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from mailtools.errors import BadSyntax

RESPONSE_MOST = 12288  # octets of a base64 line, RFC 4954 4
HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
"""SCRAM's mechanisms, and what hashlib calls their hashes."""
CRAM, APOP = "CRAM-MD5", "APOP"
PLAINTEXT = frozenset(("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", CRAM))
"""Mechanisms that show the secret to whoever listens: only under TLS, or where there is no wire.

CRAM-MD5 is of them: one login heard is enough to try billions of passwords a second.
"""


def encode(challenge: bytes) -> bytes:
    """Write a challenge or response in base64, without a line end."""
    return b2a_base64(challenge, newline=False)


def decode(line: bytes) -> bytes:
    """Read a base64 response, without its line end; raise BadSyntax, also for the cancelling `*`.

    `=` is the empty initial response of SMTP, POP3 and IMAP (RFC 4954 4).
    """
    if line == b"*":
        raise BadSyntax("Authentication cancelled", status="5.7.0")
    if line == b"=":
        return b""
    if len(line) > RESPONSE_MOST:
        raise BadSyntax("Authentication exchange line is too long", status="5.5.6", reply=500)
    try:
        return a2b_base64(line, strict_mode=True)
    except Base64Error:
        raise BadSyntax("Cannot decode the response: not base64", status="5.5.2") from None
