"""The order of POP3: which command is legal in which state, and what is said otherwise.

The rows are those of `Pop3Server` (server.py).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Flag, auto
from typing import Any, NamedTuple


class State(Flag):
    """RFC 1939's states; UPDATE is no more than the answer to QUIT."""

    AUTHORIZATION = auto()
    TRANSACTION = auto()


class Command(NamedTuple):
    """A row of the table: where a command is legal, its arguments at least and at most, its method.

    A command of -1 arguments takes the rest of the line as one, with its spaces.
    """

    states: State
    least: int
    most: int
    method: Callable[[Any, list[str]], None]
    """Of the engine; of any, so that the table knows none."""


ORDER = {
    State.AUTHORIZATION: "log in first",
    State.TRANSACTION: "you are logged in already",
}
