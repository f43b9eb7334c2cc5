"""Recipes of DKIM2: how to make of a message what it was before (section 5; see dkim2.py).

    state = header_state(fields)      # the fields that count, each in canonical form
    before = undo_header(state, recipe.header)
    undo = BodyUndo(recipe.body); before = undo.update(chunk) + … + undo.finish()

A recipe lists, for each name of a field and for the body, what is copied, in ascending order, and
what is put between. So the body of an earlier instance flows out while the later one flows in:
nothing is held, and all instances are hashed in one pass.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from mailtools.mail.fields import Field
from mailtools.trust.canonical import canonical_field
from mailtools.trust.tags import BadRecord

# Section 4.1, but for the two below
UNSIGNED = frozenset((
    b"apparently-to", b"arc-authentication-results", b"arc-message-signature", b"arc-seal",
    b"authentication-results", b"delivered-to", b"dkim-signature", b"dl-expansion-history",
    b"original-recipient", b"received", b"return-path", b"sio-label-history", b"x400-received",
    b"x400-trace",
    b"message-instance", b"dkim2-signature",  # these are signed otherwise, section 6.2
))  # fmt: skip
ONCE_UNSIGNED = (b"auto-submitted", b"vbr-info")
"""Fields that are signed since revision 08; a message may be signed either way."""
UNSIGNED_STARTS = (b"received-", b"x-")


class Copy(NamedTuple):
    """Take lines, or fields of a name, from `first` to `last`, counted from 1."""

    first: int
    last: int


Steps = tuple[Copy | bytes, ...]
"""What to copy and what to put: lines with LF, or the body of one field."""
HeaderState = dict[bytes, list[bytes]]
"""The fields that count, in canonical form: by name, in its order, each name's bottom up."""


class Recipe(NamedTuple):
    """What a Message-Instance says of the instance before it."""

    header: Mapping[bytes, Steps] = MappingProxyType({})
    """By name; names that are not there have not changed."""
    body: Steps | None = None
    """None: the body has not changed."""
    lost: bool = False
    """The body before cannot be had again."""

    @property
    def rewrites(self) -> bool:
        """Whether more was done than to add fields."""
        return (
            self.lost
            or self.body is not None
            or any(isinstance(step, bytes) for steps in self.header.values() for step in steps)
        )


def read_recipe(text: bytes) -> Recipe:
    """Read the JSON of a recipe; raise BadRecord (section 5).

    As revision 07 and later have it, names in it are of any case, and a step `u` holds octets in
    base64 that are no UTF-8.
    """
    try:
        read = json.loads(text.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse)
        return _recipe(read)
    except (ValueError, RecursionError):  # halves of surrogate pairs in a name or text, too
        raise BadRecord("bad JSON in a recipe") from None


def _recipe(read: object) -> Recipe:
    if not isinstance(read, dict) or not read.keys() & {"h", "b"}:
        raise BadRecord("a recipe has neither h nor b")
    header: dict[bytes, Steps] = {}
    if "h" in read:
        if not isinstance(read["h"], dict) or not read["h"]:
            raise BadRecord("h of a recipe names no field")
        header = {name.encode(): _steps(steps) for name, steps in read["h"].items()}
    if "b" not in read:
        return Recipe(header)
    if read["b"] is None:
        return Recipe(header, None, lost=True)
    return Recipe(header, tuple(_lined(_steps(read["b"]))))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = {name.lower(): value for name, value in pairs}
    if len(made) < len(pairs):
        raise ValueError("a name stands twice")
    return made


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _steps(steps: object) -> Steps:
    if not isinstance(steps, list):
        raise BadRecord("the steps of a recipe are a list")
    read: list[Copy | bytes] = []
    last = 0
    for step in steps:
        if not isinstance(step, dict) or len(step) != 1:
            raise BadRecord("a step of a recipe says one thing")
        ((what, value),) = step.items()
        if what == "c":
            read.append(_copy(value, last))
            last = read[-1].last  # type: ignore[union-attr]
        elif what in ("d", "u"):
            read.extend(_texts(value, what))
        else:
            raise BadRecord("a step of a recipe is c, d or u")
    return tuple(read)


def _copy(value: object, last: int) -> Copy:
    whole = isinstance(value, list) and all(type(each) is int for each in value)
    if not whole or len(value) != 2 or not last < value[0] <= value[1]:  # type: ignore[arg-type,index]
        raise BadRecord("c of a recipe is two numbers, behind those before")
    return Copy(*value)  # type: ignore[misc]


def _texts(values: object, what: str) -> Iterable[bytes]:
    if not isinstance(values, list) or not values:
        raise BadRecord(f"{what} of a recipe is a list of texts")
    for value in values:
        if not isinstance(value, str):
            raise BadRecord(f"{what} of a recipe is a list of texts")
        text = value.encode() if what == "d" else base64.b64decode(value, validate=True)
        if b"\r" in text or b"\n" in text:
            raise BadRecord(f"{what} of a recipe holds a line end")
        yield text


def _lined(steps: Steps) -> Iterable[Copy | bytes]:
    """Give each text its line end, and join those that follow one another."""
    texts: list[bytes] = []
    for step in steps:
        if isinstance(step, Copy):
            if texts:
                yield b"".join(texts)
            texts = []
            yield step
        else:
            texts += (step, b"\n")
    if texts:
        yield b"".join(texts)


# -- the header -----------------------------------------------------------------------------------


def is_signed(name: bytes) -> bool:
    """Tell whether fields of a name, in lower case, count (section 4)."""
    return name not in UNSIGNED and not name.startswith(UNSIGNED_STARTS)


def header_state(fields: Sequence[Field]) -> HeaderState:
    """Give the fields of a header that count (section 6.2)."""
    state: HeaderState = {}
    for field in reversed(fields):
        name = field.key
        if is_signed(name):
            state.setdefault(name, []).append(canonical_field(field, "relaxed"))
    return dict(sorted(state.items()))


def undo_header(state: HeaderState, recipe: Mapping[bytes, Steps]) -> HeaderState:
    """Give the fields as they were before; raise BadRecord where there are not so many."""
    names = [name for name in recipe if is_signed(name)]
    if not names:
        return state
    before = dict(state)
    for name in names:
        present = state.get(name, [])
        made: list[bytes] = []
        for step in recipe[name]:
            if isinstance(step, Copy):
                if step.last > len(present):
                    raise BadRecord("a recipe copies fields that are not there")
                made += present[step.first - 1 : step.last]
            else:
                made.append(canonical_field(Field(name, name + b":" + step), "relaxed"))
        before[name] = made
    return dict(sorted(before.items()))


# -- the body -------------------------------------------------------------------------------------


class BodyUndo:
    """Turns a body into the one before it, while it passes by (section 5.2); LF text."""

    def __init__(self, steps: Steps) -> None:
        """Take what is to be done."""
        self._steps = [*reversed(steps)]
        self._line = 1  # the number of the line that comes next, or goes on
        self._open = False  # it has begun

    def update(self, chunk: bytes) -> bytes:
        """Take the next chunk, cut anywhere; give what it comes to."""
        if not chunk:
            return b""
        made: list[bytes] = []
        first, last = self._line, self._line + chunk.count(b"\n")
        lines: list[bytes] | None = None
        while self._steps:
            step = self._steps[-1]
            if isinstance(step, bytes):
                made.append(step)
            elif step.first > last or (step.first <= first and last < step.last):
                if step.first <= first:  # all of it: most chunks of a large body are
                    made.append(chunk)
                break
            else:
                lines = chunk.split(b"\n") if lines is None else lines
                start, end = max(step.first, first) - first, min(step.last, last) - first
                made.append(b"\n".join(lines[start : end + 1]))
                if first + end < last:
                    made.append(b"\n")
                if step.last >= last:
                    break
            self._steps.pop()
        self._line, self._open = last, not chunk.endswith(b"\n")
        return b"".join(made)

    def finish(self) -> bytes:
        """Give what still comes at the end; raise BadRecord where lines are missing."""
        made = b""
        if self._open and self._steps:  # the last line has no end: it gets one
            made = self.update(b"\n")
        while self._steps:
            step = self._steps.pop()
            if not isinstance(step, bytes):
                raise BadRecord("a recipe copies lines that are not there")
            made += step
        return made
