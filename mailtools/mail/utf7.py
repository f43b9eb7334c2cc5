"""Modified UTF-7, how mailbox names are written on disk and to rev1 clients (RFC 3501 5.1.3)."""

import base64
import codecs
import re

from mailtools.errors import BadFolderName

codecs.lookup("utf-16-be")  # now: a process that gave up root may not be able to read it later
_shifted = re.compile(r"&([^-]*)-")
_unprintable = re.compile(r"[^ -~]+")


def encode(name: str) -> str:
    """Write a name in modified UTF-7, which is ASCII; raise BadFolderName for a lone surrogate."""
    try:
        return _unprintable.sub(_shift, name.replace("&", "&-"))
    except UnicodeEncodeError:
        raise BadFolderName("The name is not Unicode text") from None


def decode(text: str) -> str:
    """Read modified UTF-7; raise BadFolderName for what `encode` cannot have written."""
    if not text.isascii():
        raise BadFolderName("Modified UTF-7 is ASCII")
    try:
        name = _shifted.sub(_unshift, text)
    except (ValueError, UnicodeDecodeError):
        raise BadFolderName(f"Not modified UTF-7: {text[:80]!r}") from None
    if encode(name) != text:  # also what could be written in another way (RFC 3501 5.1.3)
        raise BadFolderName(f"Not modified UTF-7: {text[:80]!r}")
    return name


def _shift(run: re.Match[str]) -> str:
    octets = base64.b64encode(run[0].encode("utf-16-be"), b"+,")
    return f"&{octets.rstrip(b'=').decode('ascii')}-"


def _unshift(run: re.Match[str]) -> str:
    if not run[1]:
        return "&"
    padded = run[1] + "=" * (-len(run[1]) % 4)
    return base64.b64decode(padded, b"+,", validate=True).decode("utf-16-be")
