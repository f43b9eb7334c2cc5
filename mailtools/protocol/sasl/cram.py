"""CRAM-MD5's arithmetic (RFC 2195 2, RFC 2104): HMAC-MD5, begun with the key and kept there.

What a server keeps of a password are MD5's states behind the two padded keys, as Dovecot's scheme
{CRAM-MD5} does: enough to check a proof, and to make one. hashlib can neither give nor take such a
state, so the compression of RFC 1321 stands here; where there is a password hashlib's HMAC serves.
"""

import struct
from functools import cache

BLOCK = 64  # octets that MD5 takes at a time
SIZE = 32  # octets of both states

_START = struct.pack("<4I", 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_TURNS = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_STRIDES = ((1, 0), (5, 1), (3, 5), (7, 0))  # which word of the block a step takes
_WORD = 0xFFFFFFFF


def contexts(password: bytes) -> bytes:
    """Give what is kept of a password: the state of the outer hash, then of the inner one."""
    import hashlib  # rare: a login only

    if len(password) > BLOCK:
        password = hashlib.md5(password, usedforsecurity=False).digest()
    key = password.ljust(BLOCK, b"\0")
    outer, inner = (bytes(octet ^ pad for octet in key) for pad in (0x5C, 0x36))
    return _compress(_START, outer) + _compress(_START, inner)


def digest(kept: bytes, challenge: bytes) -> str:
    """Give the proof for a challenge, in hexadecimal; raise ValueError where `kept` is none."""
    if len(kept) != SIZE:
        raise ValueError(f"{SIZE} octets expected")
    return _finish(kept[:16], _finish(kept[16:], challenge)).hex()


def _finish(state: bytes, text: bytes) -> bytes:
    """Go on from a state behind one block, to the end of `text`."""
    octets = BLOCK + len(text)
    padded = text + b"\x80" + bytes((55 - octets) % BLOCK) + struct.pack("<Q", 8 * octets)
    for at in range(0, len(padded), BLOCK):
        state = _compress(state, padded[at : at + BLOCK])
    return state


@cache
def _sines() -> tuple[int, ...]:
    from math import sin  # RFC 1321 3.4

    return tuple(int(abs(sin(step + 1)) * 2**32) for step in range(64))


def _compress(state: bytes, block: bytes) -> bytes:
    words, sines = struct.unpack("<16I", block), _sines()
    before = struct.unpack("<4I", state)
    a, b, c, d = before
    for step in range(64):
        part = step // 16
        if part == 0:
            mixed = (b & c) | (~b & d)
        elif part == 1:
            mixed = (d & b) | (~d & c)
        elif part == 2:
            mixed = b ^ c ^ d
        else:
            mixed = c ^ (b | (~d & _WORD))
        stride, first = _STRIDES[part]
        total = (a + mixed + sines[step] + words[(stride * step + first) % 16]) & _WORD
        turn = _TURNS[part][step % 4]
        turned = ((total << turn) | (total >> (32 - turn))) & _WORD
        a, b, c, d = d, (b + turned) & _WORD, b, c
    sums = ((one + other) & _WORD for one, other in zip(before, (a, b, c, d), strict=True))
    return struct.pack("<4I", *sums)
