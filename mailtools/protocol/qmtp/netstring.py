"""Netstrings, and the answers that QMTP and QMQP write with them.

`12:hello world!,` is a length in decimal without needless zeros, a colon, the octets, a comma
(qmtp.txt 6). An answer is a netstring whose first octet is K (taken), Z (try again) or D (never),
with words for a person behind it; `(#5.1.1)` among them is a status of RFC 3463 (qmtp.txt 5).
"""

import re

from mailtools.errors import BadSyntax, Failure
from mailtools.mail.reply import Reply, one_line

DIGITS_MOST = 10  # of a length: gigabytes; more is no length anybody means

_length = re.compile(rb"0|[1-9][0-9]*")
_digits = re.compile(rb"[0-9]*")
_status = re.compile(r"#([245]\.[0-9]{1,3}\.[0-9]{1,3})\b")

_CODES = {"K": 250, "Z": 450, "D": 550}


def netstring(data: bytes) -> bytes:
    """Write a netstring."""
    return b"%d:%b," % (len(data), data)


def take_length(buffer: bytearray) -> int | None:
    """Take a length and its colon off the front; None: it has not ended yet; raise BadSyntax."""
    end = buffer.find(b":", 0, DIGITS_MOST + 1)
    if end >= 0:
        digits = bytes(buffer[:end])
        if not _length.fullmatch(digits):
            raise BadSyntax("A netstring begins with its length, without needless zeros")
        del buffer[: end + 1]
        return int(digits)
    start = bytes(buffer[: DIGITS_MOST + 1])
    if len(start) > DIGITS_MOST or not _digits.fullmatch(start):
        raise BadSyntax("A netstring begins with its length and a colon")
    return None


# -- answers --------------------------------------------------------------------------------------


def accepted(text: str) -> bytes:
    """Write the answer that takes responsibility."""
    return netstring(b"K" + _words(text).encode())


def refused(failure: Failure) -> bytes:
    """Write the answer that a failure is."""
    letter = "D" if failure.permanent else "Z"
    text = _words(" ".join(failure.text.split("\n")))
    return netstring(f"{letter}{text} (#{failure.status})".encode())


def _words(text: str) -> str:
    # qmtp.txt 5: "#" is for codes, and a space first for extensions that nobody has made.
    return one_line(text).replace("#", "?").lstrip()


def read_answer(data: bytes) -> Reply | None:
    """Read what stood in an answer's netstring, as an SMTP reply of that kind; None if bad."""
    text = one_line(data.decode("utf-8", "replace"))
    code = _CODES.get(text[:1])
    if code is None:
        return None
    found = _status.search(text)
    status = found[1] if found and found[1][0] == str(code)[0] else ""
    return Reply(code, status, (text,))
