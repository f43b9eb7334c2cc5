"""Canonical forms of header fields and bodies, and the hashing of bodies (RFC 6376 3.4, 3.7).

Takes messages as they lie on disk (LF) and hashes them as they were on the wire (CRLF). A body
comes in chunks of any size and is held nowhere: one pass serves all signatures of a message.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from mailtools.mail.fields import Field

Canonical = Literal["simple", "relaxed"]
HashName = Literal["sha256", "sha512"]

_PIECE = 65536


def canonical_field(field: Field, form: Canonical) -> bytes:
    """Give a field in canonical form, with CRLF (RFC 6376 3.4.1, 3.4.2)."""
    return _canonical(field.raw, form)


def _canonical(raw: bytes, form: Canonical) -> bytes:
    if form == "simple":
        return raw.rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    name, _, body = raw.partition(b":")
    text = _single_blanks(body.replace(b"\n", b"")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + text + b"\r\n"


def canonical_signature(field: Field, form: Canonical) -> bytes:
    """Give a signature field as it is signed itself: b= empty, no line end (RFC 6376 3.7)."""
    name, colon, body = field.raw.partition(b":")
    tags = body.split(b";")
    for number, tag in enumerate(tags):
        key, equals, _ = tag.partition(b"=")
        if equals and key.strip(b" \t\n") == b"b":
            tags[number] = key + equals
            break
    return _canonical(name + colon + b";".join(tags), form)[:-2]


def select(fields: Sequence[Field], keys: Iterable[bytes]) -> list[Field]:
    """Give the fields h= names: each name the lowest not yet taken, none when used up (5.4.2).

    `keys` are the names in lower case.
    """
    left: dict[bytes, list[Field]] = {}
    for field in fields:
        left.setdefault(field.key, []).append(field)
    found = []
    for key in keys:
        rest = left.get(key)
        if rest:
            found.append(rest.pop())
    return found


class BodyForm(NamedTuple):
    """Which hash of the body a signature wants: the canonical form, l= or None, and the hash."""

    canonical: Canonical
    length: int | None = None
    algorithm: HashName = "sha256"


class BodyHashes:
    """The hashes of a body in every form wanted, computed while the body passes by."""

    def __init__(self, forms: Iterable[BodyForm]) -> None:
        """Prepare to hash; further forms cannot be asked for later."""
        self._hashes = {form: _Limited(form) for form in forms}
        self._streams = [
            _Stream([self._hashes[form] for form in chosen], relaxed=name == "relaxed")
            for name in ("simple", "relaxed")
            if (chosen := [form for form in self._hashes if form.canonical == name])
        ]
        self._finished = False

    def update(self, chunk: bytes) -> None:
        """Take the next chunk of the body, LF text, cut anywhere."""
        for stream in self._streams:
            stream.update(chunk)

    def _finish(self) -> None:
        if not self._finished:
            self._finished = True
            for stream in self._streams:
                stream.finish()

    def digest(self, form: BodyForm) -> bytes:
        """Give the digest of a form; no chunk may follow."""
        self._finish()
        return self._hashes[form].hash.digest()

    def octets(self, form: BodyForm) -> int:
        """Give the length of the canonical body, which l= may fall short of."""
        self._finish()
        return self._hashes[form].seen


class _Limited:
    """A hash of the first octets, as many as l= says; `seen` counts all."""

    def __init__(self, form: BodyForm) -> None:
        self.hash = hashlib.new(form.algorithm)
        self.left = form.length
        self.seen = 0

    def update(self, data: bytes) -> None:
        self.seen += len(data)
        if self.left is None:
            self.hash.update(data)
        elif self.left:
            self.hash.update(data[: self.left])
            self.left = max(0, self.left - len(data))


class _Stream:
    """One canonical form of the body on its way to its hashes (RFC 6376 3.4.3, 3.4.4).

    What might still turn out to stand at the end is held back: a number of line ends, and for
    relaxed whether a blank follows them.
    """

    def __init__(self, hashes: list[_Limited], *, relaxed: bool) -> None:
        self.hashes = hashes
        self.relaxed = relaxed
        self.newlines = 0
        self.space = False
        self.empty = True

    def update(self, chunk: bytes) -> None:
        if self.relaxed:
            chunk = _collapsed(chunk)
        core = chunk.rstrip(b" \n" if self.relaxed else b"\n")
        if core:
            self.empty = False
            self.flush()
            if self.space and core[:1] not in (b" ", b"\n"):
                self.emit(b" ")
            self.space = False
            self.emit(core)
        tail = chunk[len(core) :]
        newlines = tail.count(b"\n")
        self.newlines += newlines
        self.space = tail.endswith(b" ") or (self.space and not newlines)

    def flush(self) -> None:
        while self.newlines:  # in pieces: they may be all of a large body
            count = min(self.newlines, _PIECE)
            self.newlines -= count
            self.emit(b"\n" * count)

    def emit(self, text: bytes) -> None:
        wire = text.replace(b"\n", b"\r\n")
        for each in self.hashes:
            each.update(wire)

    def finish(self) -> None:
        if not (self.relaxed and self.empty):  # RFC 6376 3.4.4: relaxed, nothing is nothing
            self.emit(b"\n")


def _collapsed(chunk: bytes) -> bytes:
    """Make each run of blanks one space, and drop those at line ends."""
    return _single_blanks(chunk).replace(b" \n", b"\n")


def _single_blanks(text: bytes) -> bytes:
    """Make each run of blanks one space; ten times faster than an expression."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:  # each turn halves the longest run
        text = text.replace(b"  ", b" ")
    return text
