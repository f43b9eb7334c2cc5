"""A signer of DKIM2 for tests: each step of the draft's section 9 in the plainest way.

It shares no code with the verifier but the keys. Messages are LF text.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from mailtools.trust.keys import PrivateKey

NOW = 1_790_000_000
UNSIGNED = re.compile(
    r"(?:received|return-path|delivered-to|dkim-signature|authentication-results|apparently-to"
    r"|arc-.*|x-.*|received-.*|x400-.*|message-instance|dkim2-signature|dl-expansion-history"
    r"|original-recipient|sio-label-history)\Z"
)
Recipe = Mapping[str, object]


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def header_of(message: bytes) -> list[tuple[str, str]]:
    """Give name and body of each field, unfolded."""
    text = re.sub(r"\n(?=[ \t])", "", message.partition(b"\n\n")[0].decode("latin-1"))
    pairs = [line.partition(":") for line in text.split("\n") if line]
    return [(name.strip(), body) for name, _, body in pairs]


def hashes(message: bytes, algorithm: str = "sha256") -> str:
    """Give `name:header-hash:body-hash` (sections 6.1, 6.2)."""
    rows = [
        (name.lower(), re.sub(r"[ \t]+", " ", body).strip(" "))
        for name, body in reversed(header_of(message))
        if not UNSIGNED.match(name.lower())
    ]
    rows.sort(key=lambda row: row[0])
    header = "".join(f"{name}:{body}\r\n" for name, body in rows).encode("latin-1")
    body = message.partition(b"\n\n")[2].rstrip(b"\n") + b"\n"
    digests = (
        hashlib.new(algorithm, text).digest() for text in (header, body.replace(b"\n", b"\r\n"))
    )
    return ":".join([algorithm, *map(b64, digests)])


def numbers(message: bytes, name: str, tag: str) -> list[int]:
    found = [body for field, body in header_of(message) if field.lower() == name]
    return [int(re.search(rf"(?:\A|;)\s*{tag}\s*=\s*(\d+)", body)[1]) for body in found]  # type: ignore[index]


def instance(
    message: bytes,
    recipe: Recipe | str | None = None,
    *,
    algorithms: Sequence[str] = ("sha256",),
    h: str = "",
) -> bytes:
    """Put a Message-Instance on top: how the message is now, and what gives the one before."""
    number = max(numbers(message, "message-instance", "m"), default=0) + 1
    said = h or ",".join(hashes(message, each) for each in algorithms)
    field = f"Message-Instance: m={number}; h={said};"
    if recipe is not None:
        field += f"\n\tr={b64(recipe if isinstance(recipe, str) else json.dumps(recipe))};"
    return field.encode() + b"\n" + message


def sign(
    message: bytes,
    keys: Mapping[str, PrivateKey | str],
    domain: str,
    reverse_path: str,
    forward_paths: Sequence[str],
    *,
    between: str = ",",
    **tags: str | None,
) -> bytes:
    """Put a DKIM2-Signature on top, with a signature by each key, named by its selector.

    A text instead of a key is what stands there: `algorithm:value`. `tags` are added or replaced;
    None: left out.
    """
    number = max(numbers(message, "dkim2-signature", "i"), default=0) + 1
    said: dict[str, str | None] = {
        "i": str(number),
        "m": str(max(numbers(message, "message-instance", "m"), default=1)),
        "t": str(NOW),
        "d": domain,
        "mf": b64(f"<{reverse_path}>"),
        "rt": ",".join(b64(f"<{path}>") for path in forward_paths),
        **tags,
    }
    start = "DKIM2-Signature: " + "".join(f"{k}={v}; " for k, v in said.items() if v is not None)
    covered = ""
    for name, tag in (("message-instance", "m"), ("dkim2-signature", "i")):
        rows = [
            f"{field.lower()}:{body}\r\n"
            for field, body in header_of(message)
            if field.lower() == name
        ]
        rows.sort(key=lambda row: int(re.search(rf"[:;]\s*{tag}\s*=\s*(\d+)", row)[1]))  # type: ignore[index]
        if name == "message-instance":
            rows = rows[: int(re.sub(r"\D", "", said["m"] or "1"))]
        covered += "".join(rows)
    empty = between.join(
        f"{selector}:{key.partition(':')[0] if isinstance(key, str) else key.kind + '-sha256'}:"
        for selector, key in keys.items()
    )
    covered += "dkim2-signature:" + start.partition(":")[2] + f"s={empty};\r\n"
    digest = hashlib.sha256(re.sub(r"[ \t]|(?<!\r)\n", "", covered).encode("latin-1")).digest()
    made = between.join(
        f"{selector}:{key}"
        if isinstance(key, str)
        else f"{selector}:{key.kind}-sha256:{b64(key.sign(digest))}"
        for selector, key in keys.items()
    )
    return f"{start.rstrip()}\n\ts={made};\n".encode() + message
