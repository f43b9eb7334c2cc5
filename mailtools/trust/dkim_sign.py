"""DKIM: vouch for a message (RFC 6376 5, RFC 8301, RFC 8463).

    hashes = BodyHashes([SIGNING_FORM])
    for chunk in body: hashes.update(chunk)
    header = sign(header, hashes, signers, now) + header

Always relaxed/relaxed, never l=. A field that a reader sees is signed once more than it occurs,
so that none can be added (RFC 6376 8.15); fields that lists and resenders add are not.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mailtools.errors import BadMessage
from mailtools.mail.fields import Field, fields
from mailtools.trust.canonical import (
    BodyForm,
    BodyHashes,
    canonical_field,
    canonical_signature,
    select,
)
from mailtools.trust.keys import PrivateKey

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


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: a domain (A-labels), the selector its key is published at, and the key."""

    domain: str
    selector: str
    key: PrivateKey
    identity: str = ""
    """i=, where it says more than the domain."""


def names_to_sign(listed: Iterable[Field]) -> list[str]:
    """Give the h= for a header: each signed field as often as it occurs, some once more."""
    counts = Counter(field.key.decode("ascii") for field in listed)
    names = [name for name in OVERSIGNED for _ in range(counts[name] + 1)]
    return names + [name for name in SIGNED for _ in range(counts[name])]


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
    names = names_to_sign(listed)
    covered = hashlib.sha256()
    chosen = select(listed, names)
    if not any(field.key == b"from" for field in chosen):
        raise BadMessage("The message has no From field (RFC 5322 3.6)")
    for field in chosen:
        covered.update(canonical_field(field, "relaxed"))
    made = [f"t={now}"] + ([f"x={now + lifetime}"] if lifetime else [])
    body_hash = base64.b64encode(hashes.digest(SIGNING_FORM)).decode("ascii")
    signed = []
    for signer in signers:
        tags = ["v=1", f"a={signer.key.kind}-sha256", "c=relaxed/relaxed", f"d={signer.domain}"]
        tags += [f"s={signer.selector}"] + ([f"i={signer.identity}"] if signer.identity else [])
        unsigned = unsigned_field("DKIM-Signature", [*tags, *made], names, body_hash)
        digest = covered.copy()
        digest.update(canonical_signature(Field(b"DKIM-Signature", unsigned), "relaxed"))
        signed.append(signed_field(unsigned, signer.key.sign(digest.digest())))
    return b"".join(signed)


def unsigned_field(name: str, tags: Sequence[str], names: Sequence[str], body_hash: str) -> bytes:
    """Write a signature field folded, up to an empty b=; without `names` there is no h= and bh=."""
    units = [(" ", f"{tag};") for tag in tags]
    if names:
        units += [(" ", f"bh={body_hash};"), (" ", f"h={names[0]}")]
        units += [("", f":{each}") for each in names[1:]]
        units.append(("", ";"))
    lines = [f"{name}:"]
    for glue, unit in units:
        if len(lines[-1]) + len(glue) + len(unit) > LINE_MOST:
            lines.append(f"\t{unit}")
        else:
            lines[-1] += glue + unit
    return "\n".join([*lines, "\tb="]).encode("ascii")


def signed_field(unsigned: bytes, value: bytes) -> bytes:
    """Put the signature into an unsigned field, folded, with its line end."""
    text = base64.b64encode(value)
    lines = [text[start : start + 72] for start in range(0, len(text), 72)]
    return unsigned + b"\n\t".join(lines) + b"\n"
