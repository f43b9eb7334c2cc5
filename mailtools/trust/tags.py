"""Tag lists, `v=DKIM1; k=rsa; p=…`: the grammar DKIM, ARC and DMARC share (RFC 6376 3.2)."""

import re

from mailtools.errors import Failure

_name = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")
_BLANK = " \t\r\n"
KEPT = 256  # records and keys, once read, that are remembered: the same few domains send most mail


class BadRecord(Failure):
    """A published record or signature breaks its grammar."""

    status = "5.7.0"
    reply = 550


def parse_tags(text: str) -> dict[str, str]:
    """Read `tag=value` pairs separated by ';', white space around each dropped.

    Names and values keep their case, white space inside values stays. Raise BadRecord when a tag
    stands twice or is none.
    """
    tags: dict[str, str] = {}
    pieces = text.split(";")
    if not pieces[-1].strip(_BLANK):
        pieces.pop()
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip(_BLANK)
        if not equals or not _name.match(name):
            raise BadRecord(f"{piece.strip()[:60]!r} is not of the form tag=value (RFC 6376 3.2)")
        if name in tags:
            raise BadRecord(f"the tag {name}= stands twice (RFC 6376 3.2)")
        tags[name] = value.strip(_BLANK)
    return tags
