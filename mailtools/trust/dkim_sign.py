"""DKIM: vouch for a message (RFC 6376 5, RFC 8301, RFC 8463).

    hashes = BodyHashes([SIGNING_FORM])
    for chunk in body: hashes.update(chunk)
    header = sign(header, hashes, signers, now) + header

Always relaxed/relaxed, never l=. A field that a reader sees is signed once more than it occurs,
so that none can be added (RFC 6376 8.15); fields that lists and resenders add are not.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from mailtools.errors import BadMessage
from mailtools.mail.fields import Field, fields
from mailtools.trust.canonical import BodyForm, BodyHashes, canonical_field
from mailtools.trust.keys import PrivateKey
from mailtools.trust.tags import KEPT

if TYPE_CHECKING:
    from hashlib import _Hash

SIGNING_FORM = BodyForm("relaxed")
LINE_MOST = 76  # octets of a folded line; RFC 5322 2.1.1 recommends 78

# RFC 6376 5.4.1, with the MIME fields that decide what a reader sees
OVERSIGNED = (
    *("from", "to", "cc", "subject", "date", "reply-to"),
    *("message-id", "in-reply-to", "references", "mime-version"),
    *("content-type", "content-transfer-encoding", "content-disposition", "content-id"),
)
SIGNED = (
    *("sender", "resent-date", "resent-from", "resent-sender", "resent-to", "resent-cc"),
    *("resent-message-id", "list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post"),
    *("list-subscribe", "list-post", "list-owner", "list-archive", "auto-submitted"),
)
_KEYS = tuple(name.encode("ascii") for name in (*OVERSIGNED, *SIGNED))


class Signer(NamedTuple):
    """Who signs: a domain (A-labels), the selector its key is published at, and the key."""

    domain: str
    selector: str
    key: PrivateKey
    identity: str = ""
    """i=, where it says more than the domain."""


class Cover(NamedTuple):
    """What a signature covers of a header."""

    names: str
    """h=, folded, to stand behind another tag."""
    digest: "_Hash"
    """SHA-256 of the fields in canonical form, in the order of h=."""


def cover(listed: Iterable[Field]) -> Cover:
    """Choose what to sign: each signed field as often as it occurs, some once more."""
    found: dict[bytes, list[Field]] = {}
    for field in listed:
        found.setdefault(field.key, []).append(field)
    digest, counts = hashlib.sha256(), []
    for name in _KEYS:
        fields_ = found.get(name, ())
        counts.append(len(fields_))
        for field in reversed(fields_):  # RFC 6376 5.4.2: from the bottom up
            digest.update(canonical_field(field, "relaxed"))
    write = _names if len(counts) < sum(counts) else _usual_names
    return Cover(write(tuple(counts)), digest)


def _names(counts: tuple[int, ...]) -> str:
    more = (1,) * len(OVERSIGNED) + (0,) * len(SIGNED)
    names = [
        name
        for name, count, extra in zip((*OVERSIGNED, *SIGNED), counts, more, strict=True)
        for _ in range(count + extra)
    ]
    lines = [f"\n\th={names[0]}"]
    for name in names[1:]:
        if len(lines[-1]) + len(name) + 1 > LINE_MOST:
            lines.append("\n\t")
        lines[-1] += f":{name}"
    return "".join(lines) + ";"


_usual_names = lru_cache(KEPT)(_names)  # few headers differ in what they have; not for floods


def sign(
    header: bytes,
    hashes: BodyHashes,
    signers: Sequence[Signer],
    now: int,
    *,
    lifetime: int = 0,
) -> bytes:
    """Give a DKIM-Signature field a signer, LF text to stand above `header`.

    `hashes` has hashed the body in SIGNING_FORM; `now` and `lifetime` are seconds, 0 sets no x=.
    Raise BadMessage for a message without From, which nobody could verify.
    """
    listed = list(fields(header))
    if not any(field.key == b"from" for field in listed):
        raise BadMessage("The message has no From field (RFC 5322 3.6)")
    covered = cover(listed)
    made = [f"t={now}"] + ([f"x={now + lifetime}"] if lifetime else [])
    body_hash = base64.b64encode(hashes.digest(SIGNING_FORM)).decode("ascii")
    signed = []
    for signer in signers:
        tags = ["v=1", f"a={signer.key.kind}-sha256", "c=relaxed/relaxed", f"d={signer.domain}"]
        tags += [f"s={signer.selector}"] + ([f"i={signer.identity}"] if signer.identity else [])
        unsigned = unsigned_field("DKIM-Signature", [*tags, *made], covered.names, body_hash)
        digest = covered.digest.copy()
        digest.update(canonical_unsigned(unsigned))
        signed.append(signed_field(unsigned, signer.key.sign(digest.digest())))
    return b"".join(signed)


def unsigned_field(name: str, tags: Iterable[str], names: str = "", body_hash: str = "") -> bytes:
    """Write a signature field folded, up to an empty b=; `names` is a Cover's, with bh= or none."""
    lines = [f"{name}:"]
    for tag in tags:
        if len(lines[-1]) + len(tag) + 2 > LINE_MOST:
            lines.append(f"\t{tag};")
        else:
            lines[-1] += f" {tag};"
    rest = f"\n\tbh={body_hash};{names}" if names else ""
    return ("\n".join(lines) + rest + "\n\tb=").encode("ascii")


def canonical_unsigned(unsigned: bytes) -> bytes:
    """Give such a field as it is signed itself: relaxed, without its line end."""
    return canonical_field(Field(b"", unsigned), "relaxed")[:-2]


def signed_field(unsigned: bytes, value: bytes) -> bytes:
    """Put the signature into an unsigned field, folded, with its line end."""
    text = base64.b64encode(value)
    lines = [text[start : start + 72] for start in range(0, len(text), 72)]
    return unsigned + b"\n\t".join(lines) + b"\n"
