"""A message as milters see it and change it: its fields, its body, its envelope.

They do not see the fields that we put on top, as with Sendmail and Postfix; so those cannot be
changed, and places count from the first field that came with the message. Where a field is to be
inserted, our fields count as one: 0 is above them, 1 right below.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mailtools.errors import Failure
from mailtools.mail.address import Address, parse_path
from mailtools.mail.envelope import JUNK, Envelope, ForwardPath
from mailtools.mail.fields import fields, header_end
from mailtools.protocol.milter.answers import (
    Change,
    HeaderAdded,
    HeaderChanged,
    HeaderInserted,
    RecipientAdded,
    RecipientRemoved,
    SenderChanged,
)
from mailtools.protocol.milter.client import new_body

_SENDER_PARAMETERS = frozenset(("RET", "ENVID"))  # what may come with another reverse-path
_RCPT_PARAMETERS = frozenset(("NOTIFY", "ORCPT"))
_JUNK_FIELDS = frozenset((b"x-spam", b"x-spam-flag"))  # rspamd's, and SpamAssassin's

_line_end = re.compile(rb"(?<!\r)\r*\n|\r")  # the line end is tried at the first of many CRs only


class _Line(NamedTuple):
    name: bytes
    raw: bytes
    ours: bool = False


class Draft:
    """A message between milters: each sees what those before it made of it."""

    def __init__(self, text: bytes, id_: str, envelope: Envelope) -> None:
        """Take LF text with our Received field, which names the entry's ID, and the envelope."""
        self.envelope = envelope
        self.complaints: list[str] = []
        """Changes that could not be made, since they make no sense."""
        header, self._rest = _split(text)
        mark = f" id {id_}".encode()
        last = next((i for i, line in enumerate(header) if mark in line.raw), -1)
        self._header = [line._replace(ours=i <= last) for i, line in enumerate(header)]

    @property
    def header(self) -> list[tuple[bytes, bytes]]:
        """The fields that milters see: names, and what stands behind the colon."""
        seen = (line for line in self._header if not line.ours)
        return [(line.name, line.raw.partition(b":")[2].removesuffix(b"\n")) for line in seen]

    @property
    def body(self) -> bytes:
        """The body, as LF text."""
        return self._rest.removeprefix(b"\n")

    @property
    def junk(self) -> bool:
        """Whether it is for the folder Junk."""
        return JUNK in self.envelope.parameters

    @property
    def text(self) -> bytes:
        """The whole message."""
        return b"".join((*(line.raw for line in self._header), self._rest))

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes that a milter wants."""
        for change in changes:
            try:
                self._change(change)
            except Failure as failure:
                self.complaints.append(f"{type(change).__name__}: {failure.text}")
        body = new_body(changes)
        if body is not None:
            plain = _line_end.sub(b"\n", body)
            self._rest = b"\n" + (plain if plain.endswith(b"\n") or not plain else plain + b"\n")

    def _change(self, change: Change) -> None:
        match change:
            case HeaderAdded(name, value):
                self._header.append(_line(name, value))
                self._see_junk(name, value)
            case HeaderInserted(place, name, value):
                self._header.insert(self._index(place), _line(name, value))
                self._see_junk(name, value)
            case HeaderChanged(place, name, value):
                self._replace(place, name, value)
            case RecipientAdded(path, parameters):
                self._add(_address(path), parameters)
            case RecipientRemoved(path):
                self._remove(_address(path))
            case SenderChanged(path, parameters):
                self._set_sender(_address(path), parameters)

    # -- the header -------------------------------------------------------------------------------

    def _index(self, place: int) -> int:
        """Where the `place`th field stands; our own count as one."""
        ours = sum(line.ours for line in self._header)
        index = counted = 0
        while counted < place and index < len(self._header):
            counted += 1
            index += ours if self._header[index].ours else 1
        return index

    def _replace(self, place: int, name: bytes, value: bytes) -> None:
        key = name.lower()
        same = [
            index
            for index, line in enumerate(self._header)
            if not line.ours and line.name.lower() == key
        ]
        if place <= len(same):
            self._header[same[place - 1] : same[place - 1] + 1] = (
                [_line(name, value)] if value else []
            )
        elif value:  # smfi_chgheader: it is added then
            self._header.append(_line(name, value))
        if value:
            self._see_junk(name, value)

    def _see_junk(self, name: bytes, value: bytes) -> None:
        """A spam filter that marks a message wants it in the folder Junk."""
        if name.lower() in _JUNK_FIELDS and value.strip().lower().startswith(b"yes"):
            self._set_parameters({JUNK: ""})

    # -- the envelope -----------------------------------------------------------------------------

    def _set_parameters(self, more: dict[str, str]) -> None:
        parameters = {**self.envelope.parameters, **more}
        self.envelope = self.envelope._replace(parameters=parameters)

    def _add(self, address: Address | None, words: str) -> None:
        if address is None or not address.domain:
            self.complaints.append("RecipientAdded: a path without a domain")
            return
        paths = self.envelope.forward_paths
        if any(path.address == str(address) for path in paths):
            return
        new = ForwardPath(str(address), self._parameters(words, _RCPT_PARAMETERS))
        self.envelope = self.envelope._replace(forward_paths=(*paths, new))

    def _remove(self, address: Address | None) -> None:
        gone = str(address).lower()
        paths = self.envelope.forward_paths
        kept = tuple(path for path in paths if path.address.lower() != gone)
        self.envelope = self.envelope._replace(forward_paths=kept)

    def _set_sender(self, address: Address | None, words: str) -> None:
        reverse_path = str(address) if address else ""
        self.envelope = self.envelope._replace(reverse_path=reverse_path)
        self._set_parameters(self._parameters(words, _SENDER_PARAMETERS))

    def _parameters(self, words: str, known: Iterable[str]) -> dict[str, str]:
        found = {}
        for word in words.split():
            key, _, value = word.partition("=")
            if key.upper() in known and value and word.isprintable():
                found[key.upper()] = value
            else:
                self.complaints.append(f"the parameter {word[:80]!r}")
        return found


def _split(text: bytes) -> tuple[list[_Line], bytes]:
    """Part the fields of a message from what follows: an empty line, or one that is no field."""
    header, end = [], 0
    for field in fields(text[: header_end(text)]):
        if not text.startswith(field.raw, end):
            break
        end += len(field.raw)
        header.append(_Line(field.name, field.raw))
    if header and not header[-1].raw.endswith(b"\n"):
        header[-1] = header[-1]._replace(raw=header[-1].raw + b"\n")
    return header, text[end:]


def _line(name: bytes, value: bytes) -> _Line:
    """Write a field: each further line of the value goes on with a space, and none is empty."""
    first, *more = value.replace(b"\r", b"").split(b"\n")
    folded = [part if part[:1] in (b" ", b"\t") else b"\t" + part for part in more if part.strip()]
    return _Line(name, b"\n".join((name + b":" + first, *folded)) + b"\n")


def _address(path: str) -> Address | None:
    """Read a path, with or without its brackets; None is the null one. Raises BadAddress."""
    text = path.strip()
    return parse_path(text if text.startswith("<") else f"<{text}>")
