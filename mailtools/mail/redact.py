"""A header that may be shown to a stranger: no local-part of an address, no names, few fields.

RFC 6590: a local-part becomes a digest by a secret key, the same one each time, so that a reader
sees that two messages were for one person, and not for whom. What is dropped, and that Subject
stays with its addresses redacted, is ours.
"""

import base64
import hmac
import re

from mailtools.mail.address_list import parse_address_list
from mailtools.mail.fields import Field, fields
from mailtools.mail.mime_words import decode_words

TOKEN = 12  # characters of base64: 72 bits
GONE = b"(redacted)"
_LISTS = frozenset((b"from", b"sender", b"reply-to", b"to", b"cc", b"return-path", b"resent-from"))
_IDS = frozenset((b"message-id",))
_SHOWN = frozenset(
    (
        *_LISTS,
        *_IDS,
        *(b"received", b"authentication-results", b"received-spf", b"dkim-signature"),
        *(b"arc-seal", b"arc-message-signature", b"arc-authentication-results"),
        *(b"subject", b"date", b"list-id", b"auto-submitted", b"precedence", b"mime-version"),
        *(b"content-type", b"content-transfer-encoding", b"user-agent", b"x-mailer"),
    )
)
_token = rb'[^\s<>"(),:;@\[\]\\]'
# A quoted one as long as it may be (RFC 5321 4.5.3.1.1, and what escapes add), and no longer.
_address = re.compile(rb'("(?:[^"\\\n]|\\.){0,256}"|(?<!%b)%b+)@(?=[^\s@])'.replace(b"%b", _token))
# What the words of Authentication-Results and DKIM say before an address stays.
_keyword = re.compile(rb"(?:(?:smtp|header|policy|body)\.[a-z]+|envelope-from|i)=")
_uri = re.compile(rb"http(s?)://", re.IGNORECASE)


def redact_local_part(local: bytes, key: bytes) -> bytes:
    """Give what stands for a local-part (RFC 6590 3)."""
    digest = hmac.digest(key, local.strip(b'"'), "sha256")
    return base64.urlsafe_b64encode(digest)[:TOKEN]


def redact_text(text: bytes, key: bytes) -> bytes:
    """Redact the local-part of whatever looks like an address."""

    def hidden(match: re.Match[bytes]) -> bytes:
        keyword = _keyword.match(match[1])
        kept = keyword[0] if keyword else b""
        local = match[1][len(kept) :]
        return kept + (redact_local_part(local, key) if local else b"") + b"@"

    return _address.sub(hidden, text)


def redact_header(header: bytes, key: bytes) -> bytes:
    """Redact a header: LF text, ASCII; what may be shown of it, in its order."""
    shown = b"".join(_redacted(each, key) for each in fields(header) if each.key in _SHOWN)
    text = shown.replace(b"\r\n", b"\n").replace(b"\r", b"?")
    return bytes(octet if octet < 0x7F and (octet >= 0x20 or octet in b"\t\n") else 0x3F
                 for octet in text)  # fmt: skip


def _redacted(field: Field, key: bytes) -> bytes:
    name, _, body = field.raw.partition(b":")
    if field.key in _IDS:
        return field.raw if field.raw.endswith(b"\n") else field.raw + b"\n"
    if field.key in _LISTS:
        return name + b": " + _list(field.body, key) + b"\n"
    if field.key == b"subject" and b"=?" in body and "@" in decode_words(field.body):
        return name + b": " + GONE + b"\n"  # an address in disguise
    text = _uri.sub(rb"hxxp\1://", redact_text(body.rstrip(b"\r\n"), key))
    return name + b":" + text + b"\n"


def _list(body: bytes, key: bytes) -> bytes:
    """Write a list of addresses without names, groups and comments."""
    found = [
        b"<" + redact_local_part(one.local, key) + b"@" + one.domain + b">"
        for one in parse_address_list(body)
        if one.local is not None and one.domain
    ]
    return b",\n\t".join(found) if found else b"<>" if body == b"<>" else GONE
