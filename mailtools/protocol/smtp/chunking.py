"""A message on its way out by BDAT (RFC 3030): pieces whose octets are counted, nothing stuffed.

Worth it where a line is longer than DATA may carry (RFC 5321 4.5.3.1.6); else DATA is the road that
every host knows best.
"""

from collections.abc import Iterable, Iterator

from mailtools.protocol.dotted import crlf

PIECE = 512 * 1024  # octets of a BDAT command, about


def pieces(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Cut LF text into pieces of wire text; each with whether it is the last one."""
    held: list[bytes] = []
    size = 0
    ending = b"\n"
    for wire in crlf(chunks):
        if size >= PIECE:
            yield b"".join(held), False
            held, size = [], 0
        held.append(wire)
        size += len(wire)
        ending = wire[-1:] or ending
    if ending != b"\n":
        held.append(b"\r\n")  # as by DATA, which cannot say that a line has no end
    yield b"".join(held), True
