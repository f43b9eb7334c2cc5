"""Stands in the door of `mailtools.store.disk`: every change of the file system passes here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mailtools.store import disk

Call = Callable[..., Any]


@contextmanager
def standing(guard: Callable[..., Any]) -> Iterator[None]:
    """Have `guard(function, *arguments)` make the system calls of `disk` for a while."""
    before = disk._call
    disk._call = guard
    try:
        yield
    finally:
        disk._call = before
