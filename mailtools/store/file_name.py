"""Any text as the name of a file: odd characters are written %XX."""

import re

_odd = re.compile(r"[^A-Za-z0-9.:\[\]_@=+-]")


def encode(text: str) -> str:
    """Write a text as a file's name."""
    return _odd.sub(_octets, text)


def decode(name: str) -> str:
    """Read a text from a file's name."""
    octets = re.sub(
        rb"%([0-9A-F]{2})", lambda match: bytes([int(match[1], 16)]), name.encode(errors="replace")
    )
    return octets.decode("utf-8", "replace")


def _octets(match: re.Match[str]) -> str:
    return "".join(f"%{octet:02X}" for octet in match[0].encode("utf-8", "surrogateescape"))
