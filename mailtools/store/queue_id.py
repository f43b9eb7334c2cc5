"""Queue IDs: `SECONDS.MmicrosecondsPpidRrandom`, unique without asking anybody.

An ID is the name of an entry's file and the time it arrived; IDs sort by arrival.
"""

import os
import re
import time

_id = re.compile(r"([0-9]{1,12})\.M([0-9]{1,6})P[0-9]+R[0-9A-Za-z]+\Z")


def make_id(now: float | None = None) -> str:
    """Make an ID for a message that arrives now."""
    seconds, micros = divmod(time.time_ns() // 1000 if now is None else int(now * 1e6), 1_000_000)
    return f"{seconds}.M{micros:06}P{os.getpid()}R{os.urandom(4).hex()}"


def is_id(name: str) -> bool:
    """Whether a file name is an ID."""
    return _id.match(name) is not None


def arrival(id_: str) -> float:
    """When an entry arrived, in seconds since 1970; raise ValueError for what is no ID."""
    match = _id.match(id_)
    if not match:
        raise ValueError(f"not a queue ID: {id_!r}")
    return int(match[1]) + int(match[2]) / 1e6
