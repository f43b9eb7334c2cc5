"""Dot-stuffed text on the wire and LF text on disk (RFC 5321 4.5.2, RFC 1939 3).

Works a buffer at a time.

Only CRLF . CRLF ends a text, and a CR or LF that stands alone is a fault that the reader names:
what one server takes for the end of a message, the next must not take for a line of it. A reader
that is to mend them makes a line's end of the LF and a space of the CR, as Postfix does; what ends
the text and where a dot was stuffed is the same for both.
"""

import re
from collections.abc import Iterable, Iterator

RUN_MOST = 64  # CRs before an LF that are one line's end, where such are mended
END = b"\r\n.\r\n"
_TAILS = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")  # what may yet become END, the longest first


class DotReader:
    """Reads one dot-stuffed text: `feed` takes wire octets and gives LF text."""

    def __init__(self, *, mend: bool = False) -> None:
        self._mend = mend
        self.finished = False
        """The end was seen; `rest` holds what came behind it."""
        self.rest = b""
        self.fault = ""
        """What is wrong with the text ("" for nothing); it is read to its end all the same."""
        self._carry = b"\r\n"  # a text begins as if a line had just ended
        self._virtual = True

    def feed(self, data: bytes) -> bytes:
        """Take wire octets, give the LF text they complete."""
        text = self._carry + data
        end = text.find(END)
        if end >= 0:
            self.finished = True
            self.rest = text[end + len(END) :]
            body = text[: end + 2]
            self._carry = b""
        else:
            tail = next((tail for tail in _TAILS if text.endswith(tail)), b"")
            body = text[: len(text) - len(tail)]
            if self._mend:
                body = _without_run(body)
            self._carry = text[len(body) :]
        return self._unstuff(body) if body else b""

    def _unstuff(self, body: bytes) -> bytes:
        text, fault = _disk_text(body, body.replace(b"\r\n.", b"\r\n"), self._mend)
        self.fault = self.fault or fault
        if self._virtual:
            self._virtual = False
            return text[1:]
        return text


class ChunkReader:
    """Reads CRLF text that is not dot-stuffed, in pieces (BDAT, RFC 3030): gives LF text."""

    def __init__(self, *, mend: bool = False) -> None:
        self._mend = mend
        self.fault = ""
        self._held = b""

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """Take wire octets, give LF text; `last` gives up a CR that was held back."""
        text = self._held + data
        self._held = b""
        if text.endswith(b"\r") and not last:
            body = _without_run(text) if self._mend else text[:-1]
            self._held, text = text[len(body) :], body
        found, fault = _disk_text(text, text, self._mend)
        self.fault = self.fault or fault
        return found


def _without_run(text: bytes) -> bytes:
    """Leave out the CRs at the end: with what comes behind them they may be a line's end."""
    return text[: len(text) - RUN_MOST] + text[-RUN_MOST:].rstrip(b"\r")


def _disk_text(wire: bytes, plain: bytes, mend: bool) -> tuple[bytes, str]:
    """Give `plain`, wire text without its stuffing, as LF text, and what is wrong with it."""
    lines = wire.count(b"\r\n")
    odd = wire.count(b"\n") != lines or wire.count(b"\r") != lines
    if odd and mend:
        # From the first of a run only: of many CRs without LF each would be tried.
        plain = re.sub(rb"(?<!\r)\r+\n", b"\n", plain).replace(b"\r", b" ")
    elif odd:
        return plain, "bare CR or LF in the message: lines end in CRLF"
    return plain.replace(b"\r\n", b"\n"), "NUL in the message" if b"\0" in wire else ""


def crlf(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Give disk text as wire text: every line ends in CRLF, whether LF or CRLF lay on disk."""
    held = b""
    for chunk in chunks:
        text = held + chunk
        held = b""
        if text.endswith(b"\r"):
            held, text = b"\r", text[:-1]
        if b"\r\n" in text:
            text = text.replace(b"\r\n", b"\n")
        yield text.replace(b"\n", b"\r\n")
    if held:
        yield held


def dot_stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Give disk text as dot-stuffed wire text, with the final CRLF . CRLF."""
    ending = b"\r\n"  # the last two octets sent
    for wire in crlf(chunks):
        if not wire:
            continue
        text = wire.replace(b"\r\n.", b"\r\n..")
        if ending == b"\r\n" and wire.startswith(b"."):
            text = b"." + text
        ending = (ending + wire)[-2:]
        yield text
    yield b".\r\n" if ending == b"\r\n" else b"\r\n.\r\n"


def lf(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Give text of any line ends (a file, a pipe) as disk text: CRLF and a lone CR become LF."""
    held = b""
    for chunk in chunks:
        text = held + chunk
        held = b""
        if text.endswith(b"\r"):
            held, text = b"\r", text[:-1]
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield text
    if held:
        yield b"\n"
