"""Reading received reports, from files, Maildirs and streams: faults are named, the rest counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from mailtools.services.reports import read_dmarc, read_feedback, read_tls
from mailtools.services.reports.read_unpack import INPUT_MOST, Piece, Unreadable, pieces
from mailtools.services.reports.read_values import MAGIC, Fault, Incoming, from_json

LINE_MOST = INPUT_MOST  # octets of a line that --append wrote
NO_REPORT = "there is no report in it"


def of_bytes(name: str, data: bytes, *, must: bool = True) -> Iterator[Incoming | Fault]:
    """Yield the reports in what a file or message holds; never raises.

    `must`: that there is none is a fault.
    """
    found = False
    for piece in pieces(name, data):
        found = True
        if isinstance(piece, Unreadable):
            yield Fault(name, str(piece))
            continue
        try:
            report = _of_piece(piece)
        except Unreadable as fault:
            yield Fault(piece.name, str(fault))
            continue
        yield report
        yield from (Fault(piece.name, text) for text in report.faults)
    if must and not found:
        yield Fault(name, NO_REPORT)


def _of_piece(piece: Piece) -> Incoming:
    match piece.form:
        case "xml":
            return read_dmarc.read(piece.data)
        case "json":
            return read_tls.read(piece.data)
    return read_feedback.read(piece.data, piece.message)


def of_stream(name: str, stream: BinaryIO, *, must: bool = True) -> Iterator[Incoming | Fault]:
    """Yield the reports in an open file: one report or message, or lines that --append wrote."""
    start = stream.read(len(MAGIC) + 3)
    if start != f'{{"{MAGIC}"'.encode():
        yield from of_bytes(name, start + stream.read(INPUT_MOST + 1), must=must)
        return
    number = 1
    line = start + stream.readline(LINE_MOST)
    while line:
        report = from_json(line)
        if report is not None:
            yield report
            yield from (Fault(f"{name}:{number}", text) for text in report.faults)
        elif line.strip():
            yield Fault(f"{name}:{number}", "the line is no report, or was cut short")
        line = stream.readline(LINE_MOST)
        number += 1


def of_paths(paths: Iterable[str]) -> Iterator[Incoming | Fault]:
    """Yield the reports in files, and in the messages of Maildirs and the files of folders."""
    for path in paths:
        if os.path.isdir(path):
            maildir = all(os.path.isdir(f"{path}/{name}") for name in ("new", "cur"))
            try:
                names = _files(path, maildir=maildir)
            except OSError as error:
                yield Fault(path, f"it cannot be read: {error.strerror}")
                continue
            for name in names:
                yield from _of_file(name, must=not maildir)
        else:
            yield from _of_file(path)


def _files(folder: str, *, maildir: bool) -> list[str]:
    folders = [f"{folder}/new", f"{folder}/cur"] if maildir else [folder]
    found = []
    for each in folders:
        with os.scandir(each) as items:
            found += [item.path for item in items if item.is_file() and item.name[:1] != "."]
    return sorted(found, key=os.path.basename)


def _of_file(path: str, *, must: bool = True) -> Iterator[Incoming | Fault]:
    try:
        with open(path, "rb") as file:
            yield from of_stream(path, file, must=must)
    except FileNotFoundError:
        if must:  # a reader of the Maildir may have moved or removed it
            yield Fault(path, "there is no such file")
    except OSError as error:
        yield Fault(path, f"it cannot be read: {error.strerror}")


def once(found: Iterable[Incoming | Fault]) -> Iterator[Incoming | Fault]:
    """Pass each report on once: many come twice."""
    seen: set[int] = set()
    for each in found:
        if isinstance(each, Incoming):
            key = hash(each.key)
            if key in seen:
                continue
            seen.add(key)
        yield each
