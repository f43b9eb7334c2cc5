"""ARC: add to the chain what we found, before the message goes on (RFC 8617 5.1).

Call with the message as it leaves: every change, our own DKIM-Signature too, comes first.
"""

import base64
import hashlib
from collections.abc import Sequence

from mailtools.mail.fields import Field, fields
from mailtools.trust.arc import SETS_MOST, Arc, ArcResult
from mailtools.trust.authres import AuthenticationResults, format_payload
from mailtools.trust.canonical import BodyHashes, canonical_field
from mailtools.trust.dkim_sign import (
    SIGNING_FORM,
    Signer,
    canonical_unsigned,
    cover,
    signed_field,
    unsigned_field,
)


def seal(
    header: bytes,
    hashes: BodyHashes,
    signer: Signer,
    found: ArcResult,
    results: AuthenticationResults,
    *,
    now: int,
) -> bytes:
    """Give an ARC set, LF text to stand above `header`; b"" where none may be added.

    `found` is what `verify_chain` said of the message as it came, `results` all that we found;
    `hashes` has hashed the body as it leaves in SIGNING_FORM; `now` is seconds since 1970.
    """
    instance = found.chain.highest + 1
    if found.chain.ended or instance > SETS_MOST:
        return b""
    ours = _results_field(instance, results)
    message = _message_signature(header, hashes, signer, instance, now)
    before = found.chain.sets if found.result is Arc.PASS else ()  # 5.1.2: else ours alone
    covered = [f for each in before for f in (each.results, each.signature.field, each.seal.field)]
    tags = [f"i={instance}", f"a={signer.key.kind}-sha256", f"t={now}", f"cv={found.result}"]
    tags += [f"d={signer.domain}", f"s={signer.selector}"]
    unsigned = unsigned_field("ARC-Seal", tags)
    seal_ = _seal_signature(unsigned, [*covered, ours, message], signer)
    return seal_ + message.raw + ours.raw


def _results_field(instance: int, results: AuthenticationResults) -> Field:
    name = "ARC-Authentication-Results"
    text = f"{name}: i={instance}; {format_payload(results)}\n"
    return Field(name.encode(), text.encode(errors="replace"))


def _message_signature(
    header: bytes, hashes: BodyHashes, signer: Signer, instance: int, now: int
) -> Field:
    listed = list(fields(header))
    covered = cover(listed)
    names = covered.names[:-1]
    for field in reversed(listed):
        if field.key == b"dkim-signature":
            covered.digest.update(canonical_field(field, "relaxed"))
            names += "\n\t:dkim-signature"
    tags = [f"i={instance}", f"a={signer.key.kind}-sha256", "c=relaxed/relaxed"]
    tags += [f"d={signer.domain}", f"s={signer.selector}", f"t={now}"]
    body_hash = base64.b64encode(hashes.digest(SIGNING_FORM)).decode("ascii")
    unsigned = unsigned_field("ARC-Message-Signature", tags, f"{names};", body_hash)
    covered.digest.update(canonical_unsigned(unsigned))
    raw = signed_field(unsigned, signer.key.sign(covered.digest.digest()))
    return Field(b"ARC-Message-Signature", raw)


def _seal_signature(unsigned: bytes, covered: Sequence[Field], signer: Signer) -> bytes:
    digest = hashlib.sha256()
    for field in covered:
        digest.update(canonical_field(field, "relaxed"))
    digest.update(canonical_unsigned(unsigned))
    return signed_field(unsigned, signer.key.sign(digest.digest()))
