"""DMARC aggregate reports as they come: RFC 9990 appendix A, RFC 7489 appendix C, and what is near.

Elements are known by their names, whatever their namespace and order. Entities cannot be declared:
a document with a DOCTYPE is not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.parsers import expat

from mailtools.services.reports.read_unpack import Unreadable
from mailtools.services.reports.read_values import (
    DMARC,
    Incoming,
    Mail,
    address,
    clean,
    count_of,
    domain,
    word,
)

DEPTH_MOST = 20  # elements inside one another
VALUE_MOST = 4096  # characters of an element
CHILDREN_MOST = 2000  # elements in one record
ROWS_MOST = 200_000  # records in a report
ELEMENTS_MOST = 6_000_000  # in a report: RFC 9990 needs some 25 for a record
FAULTS_MOST = 20
_CHUNK = 65536

Node = dict[str, list[Any]]
"""The children of an element by name: Nodes, or texts."""


class _Reader:
    """Builds one part of the document at a time, and hands it on."""

    def __init__(self, take: Callable[[str, Node], None]) -> None:
        self._take = take
        self._stack: list[tuple[str, Node]] = []
        self._text: list[str] = []
        self._length = self._children = self._elements = 0

    def start(self, name: str, _: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if not self._stack:
            if local == "schema":  # some wrap the report in what should describe it
                return
            if local != "feedback":
                raise Unreadable(f"its root is <{clean(local)[:40]}>, not <feedback>")
        self._elements += 1
        if self._elements > ELEMENTS_MOST:
            raise Unreadable(f"it has more than {ELEMENTS_MOST} elements")
        if len(self._stack) >= DEPTH_MOST:
            raise Unreadable(f"more than {DEPTH_MOST} elements stand inside one another")
        self._children = self._children + 1 if len(self._stack) > 1 else 0
        if self._children > CHILDREN_MOST:
            raise Unreadable(f"a record has more than {CHILDREN_MOST} elements")
        self._stack.append((local, {}))
        self._text, self._length = [], 0

    def text(self, text: str) -> None:
        self._length += len(text)
        if self._length <= VALUE_MOST:
            self._text.append(text)

    def end(self, _: str) -> None:
        if not self._stack:
            return
        name, node = self._stack.pop()
        if not self._stack:
            return
        if len(self._stack) == 1:
            self._take(name, node)
        else:
            self._stack[-1][1].setdefault(name, []).append(node or "".join(self._text))
        self._text, self._length = [], 0


def read(data: bytes) -> Incoming:
    """Read a report; raise Unreadable."""
    parts: dict[str, Node] = {}
    rows: list[Mail] = []
    faults: list[str] = []
    left_out = 0

    def take(name: str, node: Node) -> None:
        nonlocal left_out
        if name != "record":
            parts.setdefault(name, node)
            return
        if len(rows) + left_out >= ROWS_MOST:
            raise Unreadable(f"it has more than {ROWS_MOST} records")
        try:
            rows.append(_mail(node))
        except ValueError as fault:
            left_out += 1
            if left_out <= FAULTS_MOST:
                faults.append(f"a record is left out: {fault}")

    try:
        _parse(_utf8(data), _Reader(take))
    except Unreadable as fault:
        if not rows:
            raise
        faults.append(f"{fault}; what stands before that counts")
    about, published = parts.get("report_metadata", {}), parts.get("policy_published", {})
    if not about and not rows:
        raise Unreadable("it is XML, but no DMARC report")
    period = _child(about, "date_range")
    wanted = (f"{name}={_text(published, name)}" for name in ("p", "sp", "np") if name in published)
    return Incoming(
        DMARC,
        clean(_text(about, "org_name")) or clean(_text(about, "email")) or "-",
        clean(_text(about, "report_id")),
        domain(_text(published, "domain")) or next((row.author for row in rows), ""),
        _seconds(_text(period, "begin")),
        _seconds(_text(period, "end")),
        clean(" ".join(wanted)),
        tuple(rows),
        tuple(faults),
    )


def _utf8(data: bytes) -> bytes:
    """Give a document that claims to be UTF-8 as UTF-8: names of senders are whatever they sent."""
    head = data[:200].lower()
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or (
        b"encoding" in head and b"utf-8" not in head
    ):
        return data
    return data.decode("utf-8", "replace").encode()


def _parse(data: bytes, reader: _Reader) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ExternalEntityRefHandler = _refuse
    data = data.lstrip(b" \t\r\n")
    try:
        for start in range(0, len(data), _CHUNK):
            parser.Parse(data[start : start + _CHUNK], False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise Unreadable(f"its XML is broken: {clean(str(error))}") from None
    except (LookupError, ValueError, UnicodeError) as error:  # an encoding nobody knows
        raise Unreadable(f"its XML cannot be read: {clean(str(error))}") from None


def _refuse(*_: object) -> int:
    raise Unreadable("its XML has a DOCTYPE or an entity of its own, which no report needs")


def _mail(node: Node) -> Mail:
    row, names = _child(node, "row"), _child(node, "identifiers")
    found, evaluated = _child(node, "auth_results"), _child(row, "policy_evaluated")
    reasons = (_text(reason, "type") for reason in _children(evaluated, "reason"))
    return Mail(
        address(_text(row, "source_ip")) or "-",
        domain(_text(names, "header_from")),
        count_of(_text(row, "count")),
        word(_text(evaluated, "disposition")),
        word(_text(evaluated, "dkim")),
        word(_text(evaluated, "spf")),
        _passed(found, "dkim"),
        _passed(found, "spf"),
        tuple(dict.fromkeys(word(each) for each in reasons if each)),
    )


def _passed(found: Node, method: str) -> tuple[str, ...]:
    names = (
        domain(_text(each, "domain"))
        for each in _children(found, method)
        if word(_text(each, "result")) == "pass"
    )
    return tuple(dict.fromkeys(name for name in names if name))[:10]


def _children(node: Node, name: str) -> list[Node]:
    return [each for each in node.get(name, ()) if isinstance(each, dict)]


def _child(node: Node, name: str) -> Node:
    return next(iter(_children(node, name)), {})


def _text(node: Node, name: str) -> str:
    return next((each for each in node.get(name, ()) if isinstance(each, str)), "").strip()


def _seconds(text: str) -> float:
    """Read a time: seconds since 1970; 0.0 for what is none."""
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0.0
